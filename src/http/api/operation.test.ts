import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineOperation } from './operation.ts';

const good = {
  id: 'getThing',
  method: 'get',
  path: '/things/{name}',
  summary: 'Look at a thing',
  tags: ['things'],
  access: 'anyone',
  apiScope: null,
  effect: 'reads',
  params: z.strictObject({ name: z.string() }),
  answers: { 204: null },
  handler: async () => ({ status: 204 }) as const,
} as const;

describe('a declaration', () => {
  test('that fits together is an operation', () => {
    expect(defineOperation(good).template.openApiPath).toBe('/api/v1/things/{name}');
  });

  test.each([
    [
      'parameters that the path does not have',
      () => defineOperation({ ...good, params: z.strictObject({ other: z.string() }) }),
    ],
    ['a path whose parameters are not declared', () => defineOperation({ ...good, path: '/things/{name}/{part}' })],
    ['a GET that changes something', () => defineOperation({ ...good, effect: 'changes' })],
    ['a POST that only reads', () => defineOperation({ ...good, method: 'post' })],
    ['an edit of what is read', () => defineOperation({ ...good, edits: 'ifMatchAllowed' })],
    [
      'parameters that would take anything',
      () => defineOperation({ ...good, params: z.looseObject({ name: z.string() }) }),
    ],
    [
      'a query that would drop what it does not know',
      () => defineOperation({ ...good, query: z.object({ name: z.string() }) }),
    ],
  ])('of %s is refused', (_what, define) => {
    expect(define).toThrow(TypeError);
  });

  test('answers with what it declares, or is not compiled', () => {
    // @ts-expect-error 200 is not among the answers
    defineOperation({ ...good, handler: async () => ({ status: 200 }) as const });
    const answers = { 200: z.strictObject({ name: z.string() }) };
    // @ts-expect-error the name is a text
    defineOperation({ ...good, answers, handler: async () => ({ status: 200, body: { name: 1 } }) as const });
    // @ts-expect-error the body is missing
    defineOperation({ ...good, answers, handler: async () => ({ status: 200 }) as const });
    const typed = defineOperation({ ...good, answers, handler: async () => ({ status: 200, body: { name: 'a' } }) });
    expect(Object.keys(typed.answers)).toEqual(['200']);
  });
});
