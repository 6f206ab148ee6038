import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatScope, parseScope, parseScopes, scopesCover, type Scope } from './scopes.ts';

const word = fc.stringMatching(/^[a-z0-9]{1,10}$/);
const scope = fc.record<Scope>({
  type: word,
  name: fc.stringMatching(/^[a-z0-9][a-z0-9:./_-]{0,60}$/),
  actions: fc.uniqueArray(fc.constantFrom('pull', 'push', 'delete', '*'), { maxLength: 4 }),
});

describe('reading a scope', () => {
  test('gives back what was written', () => {
    fc.assert(
      fc.property(scope, (each) => {
        expect(parseScope(formatScope(each))).toEqual(each);
      }),
    );
  });

  test('of several, in one parameter or in many, gives them in their order', () => {
    fc.assert(
      fc.property(fc.array(fc.array(scope, { maxLength: 3 }), { maxLength: 3 }), (groups) => {
        const parameters = groups.map((group) => group.map(formatScope).join(' '));
        expect(parseScopes(parameters)).toEqual(groups.flat());
      }),
    );
  });

  test('of any text at all never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseScopes([text])));
  });

  test.each([
    ['repository:localhost:5000/a:pull', { type: 'repository', name: 'localhost:5000/a', actions: ['pull'] }],
    ['repository(plugin):a/b:pull,push', { type: 'repository', name: 'a/b', actions: ['pull', 'push'] }],
    ['repository:a/b:pull,pull', { type: 'repository', name: 'a/b', actions: ['pull'] }],
    ['repository:a/b:', { type: 'repository', name: 'a/b', actions: [] }],
    ['registry:catalog:*', { type: 'registry', name: 'catalog', actions: ['*'] }],
  ])('%s', (text, expected) => {
    expect(parseScope(text)).toEqual(expected);
  });

  test.each([
    '',
    'repository',
    'repository:a',
    ':a:pull',
    'Repository:a:pull',
    'repository:a:PULL',
    'repository:a:pull,',
  ])('"%s" is none', (text) => {
    expect(parseScope(text)).toBeUndefined();
  });
});

test('a list covers what one of its scopes covers, and nothing else', () => {
  fc.assert(
    fc.property(fc.array(scope), scope, fc.constantFrom('pull', 'push', 'delete'), (list, asked, action) => {
      const one = list.some((each) => scopesCover([each], asked.type, asked.name, action));
      expect(scopesCover(list, asked.type, asked.name, action)).toBe(one);
      expect(scopesCover([...list, asked], asked.type, asked.name, action)).toBe(
        one || asked.actions.includes(action) || asked.actions.includes('*'),
      );
    }),
  );
});
