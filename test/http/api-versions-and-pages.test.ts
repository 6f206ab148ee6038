/** Versions and pages at /api/v1; shown with operations made for it. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startApiServer, type ApiServer } from '../support/api-server.ts';

let server: ApiServer;
let alice: Api;
beforeAll(async () => {
  server = await startApiServer();
  alice = await apiOf(server.url, { token: 'alice' });
});
afterAll(() => server.stop());
beforeEach(() => server.database.query('DELETE FROM things'));

const namesOf = async (): Promise<string[]> =>
  (await server.database.query<{ name: string }>('SELECT name FROM things ORDER BY name')).map(({ name }) => name);
const add = (name: string, note = '') =>
  server.database.query('INSERT INTO things (name, note) VALUES ($1, $2)', [name, note]);
const errorsOf = (answer: { body: unknown }) =>
  (answer.body as { errors?: { path: string; message: string }[] }).errors;

describe('entity tags', () => {
  beforeEach(() => add('one', 'first'));
  const etagOf = async (): Promise<string> => (await alice.get('/things/one')).headers['etag']!;

  test('GET of what has not changed: 304', async () => {
    const etag = await etagOf();
    expect(etag).toMatch(/^"[\w-]{22}"$/);
    const same = await alice.get('/things/one').set('If-None-Match', `"other", ${etag}`);
    expect({ status: same.status, text: same.text, etag: same.headers['etag'] }).toEqual({
      status: 304,
      text: '',
      etag,
    });
    await alice.patch('/things/one', { note: 'second' });
    expect((await alice.get('/things/one').set('If-None-Match', etag)).status).toBe(200);
  });

  test('a change of what was read is done, and its answer has the next tag', async () => {
    const answer = await alice.patch('/things/one', { note: 'second' }).set('If-Match', await etagOf());
    expect(answer.status).toBe(200);
    expect(answer.headers['etag']).toBe(await etagOf());
  });

  test.each(['"other"', 'W/"other"', '"a", "b"', 'nonsense', ''])(
    'a change with If-Match: %s is refused with 412',
    async (header) => {
      const answer = await alice.patch('/things/one', { note: 'second' }).set('If-Match', header);
      expect(answer.status).toBe(412);
      expect(answer.body).toMatchObject({ type: 'urn:berth:problem:precondition-failed' });
      expect((await alice.get('/things/one')).body).toEqual({ name: 'one', note: 'first' });
    },
  );

  test('a weak tag equals nothing, * everything that is there', async () => {
    const weak = await alice.patch('/things/one', { note: 'x' }).set('If-Match', `W/${await etagOf()}`);
    expect(weak.status).toBe(412);
    expect((await alice.patch('/things/one', { note: 'x' }).set('If-Match', '*')).status).toBe(200);
    expect((await alice.patch('/things/none', { note: 'x' }).set('If-Match', '*')).status).toBe(404);
  });

  test('of two edits of one version one is done', async () => {
    const etag = await etagOf();
    const edits = ['left', 'right'].map(async (note) => alice.patch('/things/one', { note }).set('If-Match', etag));
    const statuses = (await Promise.all(edits)).map(({ status }) => status);
    expect(statuses.toSorted((a, b) => a - b)).toEqual([200, 412]);
  });

  test('where it is required, a change without one: 428', async () => {
    expect((await alice.delete('/things/one')).status).toBe(428);
    expect((await alice.delete('/things/one').set('If-Match', '"other"')).status).toBe(412);
    expect((await alice.delete('/things/one').set('If-Match', await etagOf())).status).toBe(204);
    expect(await namesOf()).toEqual([]);
  });

  test('a condition that nobody would look at is refused', async () => {
    expect((await alice.post('/things', { name: 'two' }).set('If-Match', '*')).status).toBe(400);
    expect(await namesOf()).toEqual(['one']);
  });

  test('an operation that forgets the condition fails and changes nothing', async () => {
    const answer = await alice.patch('/things/one', { note: 'unchecked' }).set('If-Match', '"other"');
    expect(answer.status).toBe(500);
    expect((await alice.get('/things/one')).body).toEqual({ name: 'one', note: 'first' });
  });
});

describe('pages', () => {
  const names = Array.from({ length: 7 }, (_, i) => `t${i}`);
  beforeEach(async () => {
    for (const name of names) await add(name, name < 't5' ? 'red & blue' : '');
  });

  test.each([1, 2, 3, 6, 7, 8, 100])('of %d: everything once, in order', async (limit) => {
    const items = await itemsOf<{ name: string }>(alice, `/things?limit=${limit}`);
    expect(items.map(({ name }) => name)).toEqual(names);
  });

  test('the link keeps what was asked for', async () => {
    const first = await alice.get('/things?note=red+%26+blue&limit=2');
    expect(first.headers['link']).toMatch(
      /^<\/api\/v1\/things\?note=red\+%26\+blue&limit=2&cursor=[\w-]+>; rel="next"$/,
    );
    expect(await itemsOf(alice, '/things?note=red+%26+blue&limit=2')).toHaveLength(5);
  });

  test('the last page has no link', async () => {
    expect((await alice.get('/things?limit=7')).headers['link']).toBeUndefined();
  });

  test('what is deleted meanwhile moves no page', async () => {
    const first = await alice.get('/things?limit=3');
    await server.database.query(`DELETE FROM things WHERE name IN ('t0', 't2')`);
    const next = /<\/api\/v1([^>]+)>/.exec(first.headers['link']!)![1]!;
    const second = await alice.get(next);
    expect((second.body as { items: { name: string }[] }).items.map(({ name }) => name)).toEqual(['t3', 't4', 't5']);
  });

  const cursor = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  test.each([
    'x',
    '%00',
    cursor('t1'),
    cursor([]),
    cursor([1]),
    cursor(['t1', 't2']),
    cursor(['\0']),
    cursor({ 0: 't1' }),
    `${cursor(['t1'])}=`,
    cursor(['x'.repeat(2000)]),
  ])('what is no cursor is refused (%#)', async (text) => {
    const answer = await alice.get(`/things?cursor=${text}`);
    expect(answer.status).toBe(400);
    expect(errorsOf(answer)![0]!.path).toBe('query.cursor');
  });
});
