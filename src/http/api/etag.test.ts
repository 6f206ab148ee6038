import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../../oci/problem.ts';
import { canonicalJson, checkIfMatch, etagOf } from './etag.ts';

describe('canonical JSON', () => {
  test('says the same value, and the same text for it in any order of fields', () => {
    const shuffled = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(shuffled);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([key, each]) => [key, shuffled(each)]),
      );
    };
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(shuffled(value))).toBe(canonicalJson(value));
      }),
    );
  });

  test('tells the order of lists, and dates by their text', () => {
    expect(canonicalJson([1, 2])).not.toBe(canonicalJson([2, 1]));
    expect(canonicalJson({ at: new Date(0) })).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
  });
});

describe('If-Match', () => {
  const current = { name: 'app', visibility: 'public' };
  const etag = etagOf(current);

  test.each([undefined, '*', ' * ', etag, `"other", ${etag}`, `${etag},"other"`])('%s passes', (header) => {
    expect(() => checkIfMatch(header, { visibility: 'public', name: 'app' })).not.toThrow();
  });

  test.each(['', '"other"', `W/${etag}`, etag.replaceAll('"', ''), etagOf({ ...current, visibility: 'private' })])(
    '%s does not',
    (header) => {
      expect(() => checkIfMatch(header, current)).toThrow(ApiError);
    },
  );
});
