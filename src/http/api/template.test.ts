import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { apiPrefix, compareTemplates, parseTemplate } from './template.ts';

function read(template: string, path: string): Record<string, string> | undefined {
  const match = parseTemplate(template).pattern.exec(apiPrefix + path);
  return match === null ? undefined : { ...match.groups };
}

describe('an address by its template', () => {
  test.each([
    ['/users', '/users', {}],
    ['/users/{user}', '/users/ada', { user: 'ada' }],
    ['/users/{user}/keys/{key}', '/users/ada/keys/1', { user: 'ada', key: '1' }],
    ['/repositories/{name+}/-', '/repositories/app', { name: 'app' }],
    ['/repositories/{name+}/-', '/repositories/acme/deep/app/-', { name: 'acme/deep/app' }],
    ['/repositories/{name+}/-/tags', '/repositories/a/b/-/tags', { name: 'a/b' }],
    ['/repositories/{name+}/-/tags/{tag}', '/repositories/a-b/-c/-/tags/-', { name: 'a-b/-c', tag: '-' }],
    ['/openapi.json', '/openapi.json', {}],
  ])('%s reads %s', (template, path, values) => {
    expect(read(template, path)).toEqual(values);
  });

  test.each([
    ['/users/{user}', '/users/'],
    ['/users/{user}', '/users/a/b'],
    ['/repositories/{name+}/-', '/repositories/-'],
    ['/repositories/{name+}/-', '/repositories/a/-/tags'],
    ['/repositories/{name+}/-', '/repositories/a/-/-'],
    ['/repositories/{name+}/-/tags', '/repositories/a/-/b/-/tags'],
    ['/openapi.json', '/openapiXjson'],
  ])('%s does not read %s', (template, path) => {
    expect(read(template, path)).toBeUndefined();
  });

  test('gives every name back that a repository can have, whatever follows it', () => {
    const component = fc.stringMatching(/^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}$/);
    const name = fc.array(component, { minLength: 1, maxLength: 5 }).map((components) => components.join('/'));
    fc.assert(
      fc.property(name, component, (whole, tag) => {
        expect(read('/repositories/{name+}/-/tags/{tag}', `/repositories/${whole}/-/tags/${tag}`)).toEqual({
          name: whole,
          tag,
        });
        expect(read('/repositories/{name+}/-', `/repositories/${whole}`)).toEqual({ name: whole });
        expect(read('/repositories/{name+}/-', `/repositories/${whole}/-`)).toEqual({ name: whole });
      }),
    );
  });

  test('takes linear time, however the path was chosen', () => {
    const { pattern } = parseTemplate('/repositories/{name+}/-/tags/{tag}');
    const started = performance.now();
    for (const piece of ['/', '/-', '/-/', 'a/', '/-/tags/'])
      expect(pattern.test(`${apiPrefix}/repositories/${piece.repeat(20_000)}\n`)).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

test('OpenAPI sees the same path', () => {
  const template = parseTemplate('/repositories/{name+}/-/tags/{tag}');
  expect(template.openApiPath).toBe('/api/v1/repositories/{name}/-/tags/{tag}');
  expect(template.names).toEqual(['name', 'tag']);
  expect(template.manySegments).toEqual(['name']);
});

test('literal segments come before parameters', () => {
  const texts = ['/a/{b+}', '/a/{b}/c', '/a/{b}', '/a/b', '/a/b/{c}'];
  const sorted = texts.map(parseTemplate).toSorted(compareTemplates);
  expect(sorted.map(({ text }) => text)).toEqual(['/a/b', '/a/b/{c}', '/a/{b}', '/a/{b}/c', '/a/{b+}']);
});

test.each(['users', '/', '/users//keys', '/{user', '/{1}', '/users/{a b}', '/us*rs'])('%s is no template', (text) => {
  expect(() => parseTemplate(text)).toThrow(TypeError);
});
