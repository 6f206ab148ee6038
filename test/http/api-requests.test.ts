/** What the framework of /api/v1 asks of every request, and promises of every answer; shown with operations made for it. */
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, type Api } from '../support/api.ts';
import { bodyBytesMax, startApiServer, type ApiServer } from '../support/api-server.ts';
import { rawRequest } from '../support/raw.ts';

let server: ApiServer;
let alice: Api;
beforeAll(async () => {
  server = await startApiServer();
  alice = await apiOf(server.url, { token: 'alice' });
});
afterAll(() => server.stop());
beforeEach(async () => {
  await server.database.query('DELETE FROM things');
  server.denied.length = 0;
});

const namesOf = async (): Promise<string[]> =>
  (await server.database.query<{ name: string }>('SELECT name FROM things ORDER BY name')).map(({ name }) => name);
const add = (name: string, note = '') =>
  server.database.query('INSERT INTO things (name, note) VALUES ($1, $2)', [name, note]);
const errorsOf = (answer: { body: unknown }) =>
  (answer.body as { errors?: { path: string; message: string }[] }).errors;

describe('addresses', () => {
  test.each([
    ['/places/acme/-', { name: 'acme' }],
    ['/places/acme/deep/app/-', { name: 'acme/deep/app' }],
    ['/places/acme/app/-/parts/one', { name: 'acme/app', part: 'one' }],
    ['/places/acme/app/-/parts/a%2Fb%20c', { name: 'acme/app', part: 'a/b c' }],
    ['/places/acme%2Fapp/-', { name: 'acme/app' }],
  ])('%s', async (path, body) => {
    const answer = await alice.get(path);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(body);
  });

  test('the end of a name may be left out where nothing follows it', async () => {
    const answer = await supertest(server.url).get('/api/v1/places/acme/app').auth('alice', { type: 'bearer' });
    expect(answer.body).toEqual({ name: 'acme/app' });
  });

  test('a literal one comes before one with a parameter', async () => {
    expect((await alice.get('/things/sample')).body).toEqual({ name: 'sample', note: '' });
  });

  test.each(['/nothing', '/things/', '/things/a/b', '/places/', '/places/-', '/places/a/-/none', ''])(
    '%s is none: 404 as a problem',
    async (path) => {
      const answer = await alice.get(path);
      expect(answer.status).toBe(404);
      expect(answer.body).toMatchObject({ type: 'urn:berth:problem:route-unknown', status: 404 });
    },
  );

  test('another method: 405, and those that there are', async () => {
    const answer = await alice.put('/things', {});
    expect(answer.status).toBe(405);
    expect(answer.headers['allow']).toBe('GET, HEAD, POST');
    expect(answer.body).toMatchObject({
      type: 'urn:berth:problem:method-not-allowed',
      next: expect.any(String) as string,
    });
  });

  test('HEAD is like GET, without the body', async () => {
    await add('one');
    const [head, whole] = [await alice.head('/things/one'), await alice.get('/things/one')];
    expect(head.status).toBe(200);
    for (const name of ['etag', 'content-type', 'content-length', 'cache-control'])
      expect(head.headers[name]).toBe(whole.headers[name]);
    const raw = await rawRequest(server.port, {
      method: 'HEAD',
      target: '/api/v1/things/none',
      headers: [['Authorization', 'Bearer alice']],
    });
    expect(raw.status).toBe(404);
  });
});

describe('what a request holds', () => {
  test('all problems are named at once', async () => {
    const body = { name: '', tags: [{ key: 'ab' }, { key: 'too long' }], note: 7, owner: 'eve' };
    const answer = await alice.post('/things?x=1', body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:invalid', requestId: answer.headers['x-request-id'] });
    const paths = errorsOf(answer)!.map(({ path }) => path);
    expect(paths.toSorted()).toEqual(['body', 'body.name', 'body.note', 'body.tags.1.key', 'query']);
    expect(errorsOf(answer)!.map(({ message }) => message)).toContain('"owner" is not known here');
    expect(await namesOf()).toEqual([]);
  });

  test('many problems make no long answer', async () => {
    const answer = await alice.post('/things', Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i])));
    expect(answer.status).toBe(400);
    expect(errorsOf(answer)).toHaveLength(20);
    expect(answer.text.length).toBeLessThan(3000);
  });

  test.each([
    ['an unknown field', { name: 'a', role: 'admin' }],
    ['a prototype', JSON.parse('{"name":"a","__proto__":{"role":"admin"}}') as object],
    ['a constructor', { name: 'a', constructor: { prototype: { role: 'admin' } } }],
    ['a NUL', { name: 'a', note: 'x\0y' }],
    ['a NUL in a key', { name: 'a', 'x\0y': 1 }],
    ['half a surrogate pair', { name: 'a', note: '\ud800' }],
    ['no object', ['a']],
    ['null', null],
  ])('%s is refused', async (_what, body) => {
    const answer = await alice.post('/things', body);
    expect(answer.status).toBe(400);
    expect(errorsOf(answer)!.every(({ path }) => path.startsWith('body'))).toBe(true);
    expect(await namesOf()).toEqual([]);
  });

  test.each([
    ['repeated key', '{"name":"a","name":"b"}'],
    ['broken end', '{"name":"a"'],
    ['byte order mark', '\ufeff{"name":"a"}'],
    ['nested too deep', `{"name":"a","tags":${'['.repeat(40)}${']'.repeat(40)}}`],
  ])('JSON with a %s is refused', async (_what, text) => {
    const answer = await alice.post('/things').set('Content-Type', 'application/json').send(text);
    expect(answer.status).toBe(400);
    expect(errorsOf(answer)![0]!.path).toBe('body');
  });

  test('a body that is needed and is not there is refused', async () => {
    expect(errorsOf(await alice.post('/things'))![0]!.path).toBe('body');
  });

  test('a body where none belongs is refused', async () => {
    await add('one');
    const answer = await alice.delete('/things/one').set('If-Match', '*').send({ force: true });
    expect(answer.status).toBe(400);
    expect(await namesOf()).toEqual(['one']);
  });

  test.each([
    [{ 'Content-Type': 'text/plain' }, 415],
    [{ 'Content-Type': 'application/x-www-form-urlencoded' }, 415],
    [{ 'Content-Type': 'application/json; charset=latin1' }, 415],
    [{ 'Content-Type': 'application/merge-patch+json' }, 415],
    [{ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }, 415],
    [{ 'Content-Type': 'Application/JSON; charset=UTF-8' }, 201],
  ])('%j: %d', async (headers, status) => {
    const body = JSON.stringify({ name: 'a' });
    expect((await alice.post('/things').set(headers).send(body)).status).toBe(status);
  });

  test('a body over the limit: 413', async () => {
    const answer = await alice.post('/things', { name: 'a', note: 'x'.repeat(bodyBytesMax) });
    expect(answer.status).toBe(413);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:size-invalid' });
  });

  test.each([
    '?limit=0',
    '?limit=101',
    '?limit=ten',
    '?limit=1e1',
    '?limit=+5',
    '?limit=1&limit=2',
    '?unknown=1',
    '?__proto__=1',
    '?note=%00',
  ])('the query %s is refused', async (query) => {
    const answer = await alice.get(`/things${query}`);
    expect(answer.status).toBe(400);
    expect(errorsOf(answer)![0]!.path).toMatch(/^query/);
  });

  test.each(['/things/%00', '/things/%ff', '/things/%zz'])('the path %s is refused', async (path) => {
    expect((await alice.get(path)).status).toBe(400);
  });
});

describe('who may ask', () => {
  test('nobody: 401, with every way to sign in; from a script in a page without a window for passwords', async () => {
    const api = await apiOf(server.url);
    const answer = await api.get('/things');
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Basic realm="Berth", charset="UTF-8", Bearer realm="Berth"');
    const inPage = await api.get('/things').set('Sec-Fetch-Mode', 'cors');
    expect(inPage.headers['www-authenticate']).toBe('Bearer realm="Berth"');
  });

  test('with a token that is none: 401, also where nobody needs one', async () => {
    const api = await apiOf(server.url, { token: 'eve' });
    expect((await api.get('/things')).status).toBe(401);
    expect((await api.post('/session')).status).toBe(401);
  });

  test('with a token made for other parts of the API: 403, and which one is needed', async () => {
    const answer = await (await apiOf(server.url, { token: 'limited' })).get('/things');
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({
      type: 'urn:berth:problem:forbidden',
      next: 'Make a token with the API scope things.',
    });
  });

  test('before anything is read of what is sent', async () => {
    const answer = await (await apiOf(server.url)).post('/things', { note: 'x'.repeat(bodyBytesMax) });
    expect(answer.status).toBe(401);
  });
});

describe('a change', () => {
  test('that is refused leaves nothing, and the refusal is told on', async () => {
    const answer = await alice.post('/things', { name: 'one', note: 'forbidden' });
    expect(answer.status).toBe(403);
    expect(await namesOf()).toEqual([]);
    expect(server.denied).toMatchObject([
      {
        actor: { credentialId: 101, name: 'alice', address: '127.0.0.1' },
        operation: { id: 'createThing' },
        params: {},
      },
    ]);
    expect(server.denied[0]!.actor.requestId).toBe(answer.headers['x-request-id']);
  });

  test('that is only wrong, or comes from nobody, is not told on', async () => {
    await alice.post('/things', { name: '' });
    await (await apiOf(server.url)).post('/things', { name: 'one' });
    await alice.get('/things/none');
    expect(server.denied).toEqual([]);
    await alice.patch('/things/none', { note: '' });
    expect(server.denied).toMatchObject([{ operation: { id: 'changeThing' }, params: { name: 'none' } }]);
  });

  test('that fails leaves nothing, and says nothing of why but to the log', async () => {
    const answer = await alice.post('/things', { name: 'one', note: 'broken' });
    expect(answer.status).toBe(500);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:internal' });
    expect(answer.text).not.toMatch(/detail of a failure/);
    expect(await namesOf()).toEqual([]);
    expect(JSON.stringify(server.logs)).toMatch(/the detail of a failure/);
  });

  test('is logged by its operation, without what it holds', async () => {
    await alice.post('/things', { name: 'visible-in-the-log' });
    await alice.get('/things/visible-in-the-log');
    expect(server.logs.filter(({ operation }) => operation === 'createThing')).not.toEqual([]);
    expect(JSON.stringify(server.logs)).not.toMatch(/visible-in-the-log/);
  });

  test('a refusal that cannot be told on is still answered, and logged', async () => {
    await using broken = await brokenAudit();
    const answer = await (
      await apiOf(broken.url, { token: 'alice' })
    ).post('/things', { name: 'a', note: 'forbidden' });
    expect(answer.status).toBe(403);
    expect(JSON.stringify(broken.logs)).toMatch(/no room for an audit row/);
  });
});

async function brokenAudit(): Promise<ApiServer & AsyncDisposable> {
  const other = await startApiServer({ onDenied: () => Promise.reject(new Error('no room for an audit row')) });
  return { ...other, [Symbol.asyncDispose]: () => other.stop() };
}

describe('the check of answers', () => {
  test('finds a field that was not declared', async () => {
    await expect(alice.get('/wrong')).rejects.toThrow(/GET \/api\/v1\/wrong -> 200: the body is not what/);
  });
});
