import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JsonError, parseStrictJson } from './json.ts';

const parse = (text: string, depthMax = 100) => parseStrictJson(Buffer.from(text), { depthMax });

test('valid documents are read as JSON.parse reads them, however they are written', () => {
  const space = fc.constantFrom(undefined, 1, '\t', '\n');
  fc.assert(
    fc.property(fc.json({ noUnicodeString: false }), space, (text, indent) => {
      const written = JSON.stringify(JSON.parse(text), null, indent);
      expect(parse(written)).toEqual(JSON.parse(written));
    }),
    { numRuns: 500 },
  );
});

test('any other text is refused exactly when JSON.parse refuses it or an object repeats a key', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '"a"',
    '"b":',
    '"a":',
    '"\\u0061":',
    '\\',
    '\\"',
    '1',
    'true',
    ' ',
    'é',
  );
  // Objects written key by key from few keys, so that many repeat one, some of them in other letters.
  const { value: written } = fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom('1', '"a"', '"{"', '"\\\\"', 'null'),
      fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items.join(', ')}]`),
      fc
        .array(fc.tuple(fc.constantFrom('"a"', '"b"', '"c"', '"\\u0061"', '"{"', '"\\""'), tie('value')), {
          maxLength: 4,
        })
        .map((pairs) => `{${pairs.map((pair) => pair.join(':')).join()}}`),
    ),
  }));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join('')),
        written,
      ),
      (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parse(text)).toThrow(JsonError);
          return;
        }
        if (repeatsKey(text, expected)) expect(() => parse(text)).toThrow('is there twice');
        else expect(parse(text)).toEqual(expected);
      },
    ),
    { numRuns: 10_000 },
  );
});

/** JSON.parse keeps one of the repeated keys, so writing its result again gives fewer of them than the text has colons outside of strings. */
function repeatsKey(text: string, parsed: unknown): boolean {
  const colons = (json: string) => json.replace(/"(?:[^"\\]|\\.)*"/g, '""').split(':').length;
  return colons(text) !== colons(JSON.stringify(parsed));
}

test.each([
  ['{"a":1,"a":1}', 'the key "a" is there twice at position 7'],
  ['{"a":1,"\\u0061":2}', 'the key "a" is there twice'],
  ['[{"x":{"k":1,"l":[{"k":1}],"k":2}}]', 'the key "k" is there twice'],
  ['{"__proto__":1,"__proto__":2}', 'the key "__proto__" is there twice'],
  [`{${Array.from({ length: 50 }, (_, n) => `"k${n}":${n}`).join()},"k3":0}`, 'the key "k3" is there twice'],
  ['{"":1,"":2}', 'the key "" is there twice'],
  ['{"\\"":1,"\\"":2}', 'is there twice'],
])('%s is refused for its repeated key', (text, message) => {
  expect(() => parse(text)).toThrow(message);
});

test('the same key in different objects, and as a value, is no repetition', () => {
  expect(parse('{"a":{"a":["a","a",{"a":1}]},"b":{"a":"a"}}')).toEqual({
    a: { a: ['a', 'a', { a: 1 }] },
    b: { a: 'a' },
  });
});

test('nesting is allowed up to the limit, and refused at once beyond it', () => {
  expect(parse('[{"a":[]}]', 3)).toEqual([{ a: [] }]);
  expect(() => parse('[{"a":[]}]', 2)).toThrow('more than 2 nested objects and arrays at position 6');
  expect(() => parse('['.repeat(1_000_000), 32)).toThrow('more than 32 nested objects and arrays at position 32');
  expect(parse('"[[[[[["', 2)).toBe('[[[[[[');
});

test('an object may have as many keys as the limit says', () => {
  const withKeys = (count: number) =>
    Buffer.from(JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, n]))));
  expect(Object.keys(parseStrictJson(withKeys(20), { depthMax: 2, keysMax: 20 }) as object)).toHaveLength(20);
  expect(() => parseStrictJson(withKeys(21), { depthMax: 2, keysMax: 20 })).toThrow('more than 20 keys in one object');
  expect(() => parseStrictJson(withKeys(10_001), { depthMax: 2 })).toThrow('more than 10000 keys in one object');
});

test('what is not UTF-8, or begins with a byte order mark, is refused', () => {
  expect(() => parseStrictJson(Buffer.from([0x22, 0xff, 0x22]), { depthMax: 1 })).toThrow('the text is not UTF-8');
  expect(() => parseStrictJson(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), { depthMax: 1 })).toThrow(
    'the text is not UTF-8',
  );
  expect(() => parseStrictJson(Buffer.from('{}', 'utf16le'), { depthMax: 1 })).toThrow(JsonError);
  expect(() => parse('\ufeff{}')).toThrow('a byte order mark is not allowed at position 0');
});

test('a __proto__ key stays an ordinary property', () => {
  const value = parse('{"__proto__":{"polluted":true}}') as Record<string, unknown>;
  expect(Object.hasOwn(value, '__proto__')).toBe(true);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});

test('a syntax error says where, in printable characters', () => {
  expect(() => parse('{"a":1 "b"}')).toThrow(expect.objectContaining({ position: 7 }));
  expect(() => parse('{"a"')).toThrow(JsonError);
  expect(() => parse('')).toThrow(expect.objectContaining({ position: 0 }));
  expect(() => parse('{"a":\u001b[31m}')).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^[\x20-\x7e]+$/) as string }),
  );
});

test('4 MiB are read in linear time, also when they were made to be slow', () => {
  const bytes = 4 << 20;
  const slow = [
    '\\'.repeat(bytes - 2),
    '\\"'.repeat(bytes / 2),
    '"a'.repeat(bytes / 2),
    '{"":'.repeat(bytes / 4),
    '[],'.repeat(bytes / 3),
    '"'.repeat(bytes),
  ];
  for (const text of slow) {
    const start = performance.now();
    expect(() => parse(`["${text}`, bytes)).toThrow(JsonError);
    // 5 to 300 ms here; quadratic time would be hours.
    expect(performance.now() - start).toBeLessThan(5000);
  }
});
