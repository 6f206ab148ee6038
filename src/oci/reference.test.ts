import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RegistryError } from './errors.ts';
import { namespaceOf, parseReference, parseRepositoryName, parseTag } from './reference.ts';

/** Copied from the distribution spec, "Pulling manifests", to check our pattern against. */
const specName = new RegExp('^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(\\/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$');
const specTag = new RegExp('^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$');

function kindOf(parse: () => unknown): string {
  try {
    parse();
    return 'accepted';
  } catch (error) {
    if (error instanceof RegistryError) return error.kind;
    throw error;
  }
}

test('a repository name is accepted exactly when the grammar of the spec and the limit of 255 characters allow it', () => {
  const nearlyNames = fc.string({
    unit: fc.constantFrom('a', 'z', '0', '.', '_', '-', '/', 'A', '%', ' ', '\n', 'é'),
    maxLength: 24,
  });
  const names = fc.stringMatching(/^[a-z0-9]+(?:[._/]|__|-{1,3})[a-z0-9]+$/);
  fc.assert(
    fc.property(fc.oneof(nearlyNames, names), (text) => {
      expect(kindOf(() => parseRepositoryName(text))).toBe(
        specName.test(text) && text.length <= 255 ? 'accepted' : 'nameInvalid',
      );
    }),
    { numRuns: 2000 },
  );
  expect(kindOf(() => parseRepositoryName('a'.repeat(255)))).toBe('accepted');
  expect(kindOf(() => parseRepositoryName('a'.repeat(256)))).toBe('nameInvalid');
});

test.each([
  '',
  'a//b',
  '/a',
  'a/',
  '../a',
  'a/../b',
  'a..b',
  'a___b',
  '-a',
  'a-',
  'a%2fb',
  'a\0b',
  'a\n',
  'ä',
  'A',
  '_',
])('the name %j is refused', (text) => {
  expect(kindOf(() => parseRepositoryName(text))).toBe('nameInvalid');
});

test('a refused name says what to change', () => {
  expect(() => parseRepositoryName('Team/App')).toThrow('"Team/App" is not a repository name: it must be lower case');
  expect(() => parseRepositoryName('a'.repeat(300))).toThrow('more than 255 characters');
  expect(() => parseRepositoryName('')).toThrow('it is empty');
  expect(() => parseRepositoryName('a\u001b[31m')).toThrow('"a\\u001b[31m"');
});

test('names chosen to make a regular expression slow are answered in microseconds', () => {
  const tails = ['!', '-', '/', '.', '__-'];
  const bodies = ['a', 'a-', 'a--', 'a_', 'a__', 'a/', 'a-a/', '-', 'ab.'];
  const hostile = bodies.flatMap((body) => tails.map((tail) => body.repeat(255).slice(0, 255 - tail.length) + tail));
  for (const name of hostile) kindOf(() => parseRepositoryName(name));
  const rounds = 20;
  const start = performance.now();
  for (let round = 0; round < rounds; round++) for (const name of hostile) kindOf(() => parseRepositoryName(name));
  // About 10 µs each, errors and their stacks included; exponential matching would take years and even quadratic would show.
  expect((performance.now() - start) / (rounds * hostile.length)).toBeLessThan(0.5);
});

test('a tag is accepted exactly when the grammar of the spec allows it', () => {
  const nearlyTags = fc.string({
    unit: fc.constantFrom('a', 'Z', '9', '_', '.', '-', '/', ':', '\n', 'é'),
    maxLength: 140,
  });
  fc.assert(
    fc.property(fc.oneof(nearlyTags, fc.stringMatching(/^[\w.-]{1,140}$/)), (text) => {
      expect(kindOf(() => parseTag(text))).toBe(specTag.test(text) ? 'accepted' : 'tagInvalid');
    }),
  );
  expect(kindOf(() => parseTag('a'.repeat(128)))).toBe('accepted');
  expect(kindOf(() => parseTag('a'.repeat(129)))).toBe('tagInvalid');
});

test('a reference with a colon is a digest, any other a tag', () => {
  const digest = `sha256:${'0'.repeat(64)}`;
  expect(parseReference(digest)).toEqual({ kind: 'digest', digest });
  expect(parseReference('v1.0')).toEqual({ kind: 'tag', tag: 'v1.0' });
  expect(kindOf(() => parseReference('sha256:abc'))).toBe('digestInvalid');
  expect(kindOf(() => parseReference('.hidden'))).toBe('tagInvalid');
});

test('the namespace is the first component, and "_" for names without a slash', () => {
  expect(namespaceOf(parseRepositoryName('team/project/app'))).toBe('team');
  expect(namespaceOf(parseRepositoryName('alpine'))).toBe('_');
});
