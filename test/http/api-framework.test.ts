/** What holds for every operation of /api/v1, seen on the ones that are there. */
import { Validator } from '@seriousme/openapi-schema-validator';
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiOf } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
let bob: Login;
const address = '/repositories/bob/deep/app/-';
beforeAll(async () => {
  berth = await startTestBerth();
  bob = await berth.addUser('bob');
  await clientOf(berth.url, bob).pushImage('bob/deep/app', 'v1', makeImage());
});
afterAll(() => berth.stop());

describe('the OpenAPI document', () => {
  const read = () => supertest(berth.url).get('/api/v1/openapi.json');

  test('is valid OpenAPI 3.1, for everybody, and may be kept', async () => {
    const answer = await read();
    expect(answer.status).toBe(200);
    expect(answer.headers['cache-control']).toBe('public, no-cache');
    const validator = new Validator();
    const result = await validator.validate(answer.body as Record<string, unknown>);
    expect(result).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
    const again = await read().set('If-None-Match', answer.headers['etag']!);
    expect(again.status).toBe(304);
    expect(again.text).toBe('');
  });

  test('no body and no answer takes fields that it does not name', async () => {
    const { body } = await read();
    const open: string[] = [];
    const look = (value: unknown, at: string): void => {
      if (typeof value !== 'object' || value === null) return;
      if ('properties' in value && 'type' in value && !('additionalProperties' in value)) open.push(at);
      for (const [key, each] of Object.entries(value)) look(each, `${at}/${key}`);
    };
    const { paths, components } = body as Record<'paths' | 'components', unknown>;
    look(paths, 'paths');
    look(components, 'components');
    expect(open).toEqual([]);
  });

  test('names every scheme, parameter and problem that its operations refer to', async () => {
    const { body, text } = await read();
    const document = body as Record<string, unknown>;
    const references = [...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, pointer]) => pointer!);
    expect(references.length).toBeGreaterThan(10);
    for (const pointer of new Set(references)) {
      const target = pointer.split('/').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
      expect(target, pointer).toBeDefined();
    }
  });
});

describe('every answer', () => {
  test('is declared in the document', async () => {
    const api = await apiOf(berth.url, bob);
    const seen = await api.get(address);
    expect(seen.body).toMatchObject({ name: 'bob/deep/app', visibility: 'private' });
    expect((await api.get('/repositories/bob/none/-')).status).toBe(404);
    expect((await (await apiOf(berth.url)).get(address)).status).toBe(401);
    expect((await api.get('/nothing')).status).toBe(404);
    expect((await api.patch(address, { visibility: 'everybody' })).status).toBe(400);
  });

  test('says that it is private', async () => {
    const answers = [await (await apiOf(berth.url, bob)).get(address), await (await apiOf(berth.url)).get(address)];
    for (const answer of answers) expect(answer.headers['cache-control']).toBe('no-store');
  });
});
