import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RegistryError } from '../../oci/errors.ts';
import { parseContentRange, parseRange } from './ranges.ts';

// RFC 9110 section 14.2 lets a server ignore such a range or reject it; the OCI conformance program counts the first as not supported.
test.each(['bytes=500-0', 'bytes=1-0'])('%s ends before it begins and is refused', (header) => {
  expect(() => parseRange(header, 1000)).toThrow(expect.objectContaining({ kind: 'rangeInvalid' }) as RegistryError);
});

test.each([undefined, 'bytes=-', 'lines=0-1', 'bytes=0-1,5-6', 'bytes=a-b'])(
  '%s is not understood, and all is sent',
  (header) => {
    expect(parseRange(header, 1000)).toBeNull();
  },
);

const size = fc.integer({ min: 0, max: 5000 });
const position = fc.integer({ min: 0, max: 10_000 });

test('whatever range is asked for, what is sent lies within the content', () => {
  const header = fc.oneof(
    fc.tuple(position, fc.option(position)).map(([start, end]) => `bytes=${start}-${end ?? ''}`),
    position.map((length) => `bytes=-${length}`),
    fc.stringMatching(/^bytes=\d{0,30}-\d{0,30}$/),
    fc.string(),
  );
  fc.assert(
    fc.property(header, size, (text, of) => {
      let range;
      try {
        range = parseRange(text, of);
      } catch (error) {
        expect(error).toBeInstanceOf(RegistryError);
        return;
      }
      if (range === null) return;
      expect(range.length).toBeGreaterThan(0);
      expect(range.start).toBeGreaterThanOrEqual(0);
      expect(range.start + range.length).toBeLessThanOrEqual(of);
    }),
  );
});

test('a range within the content is sent as asked, from the end as from the beginning', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(), fc.nat(), (of, a, b) => {
      const [start, end] = [a % of, b % of].toSorted((x, y) => x - y) as [number, number];
      const length = end - start + 1;
      expect(parseRange(`bytes=${start}-${end}`, of)).toEqual({ start, length });
      expect(parseRange(`bytes=${start}-`, of)).toEqual({ start, length: of - start });
      expect(parseRange(`bytes=-${length}`, of)).toEqual({ start: of - length, length });
      expect(parseRange(`bytes=${start}-${of + b}`, of)).toEqual({ start, length: of - start });
    }),
  );
});

test('a Content-Range is read in each of its forms, and must be as long as the chunk', () => {
  fc.assert(
    fc.property(position, fc.nat(10_000), (start, more) => {
      const end = start + more;
      for (const text of [`${start}-${end}`, `bytes ${start}-${end}/*`, `bytes ${start}-${end}/${end + 1}`]) {
        for (const length of [null, more + 1]) expect(parseContentRange(text, length)).toEqual({ start, end });
        for (const length of [more, more + 2])
          expect(() => parseContentRange(text, length)).toThrow(
            expect.objectContaining({ kind: 'sizeInvalid' }) as RegistryError,
          );
      }
    }),
  );
});
