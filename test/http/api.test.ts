/** `/api/v1/repositories/NAME/-`: who sees a repository, and who may say so. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import supertest from 'supertest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { tracesOf } from '../support/traces.ts';

let berth: TestBerth;
let alice: Login;
let bob: Login;
const address = (name: string): string => `/api/v1/repositories/${name}/-`;
beforeAll(async () => {
  berth = await startTestBerth();
  alice = await berth.addUser('alice');
  bob = await berth.addUser('bob');
  await clientOf(berth.url, bob).pushImage('bob/app', 'v1', makeImage());
  await clientOf(berth.url, bob).pushImage('bob/public', 'v1', makeImage());
  await clientOf(berth.url, bob).request('patch', address('bob/public')).send({ visibility: 'public' });
});
afterAll(() => berth.stop());

const change = (name: string, body: unknown, login?: Login) =>
  clientOf(berth.url, login)
    .request('patch', address(name))
    .send(body as object);

const problem = (status: number, type: string, detail: unknown) => ({
  type: `urn:berth:problem:${type}`,
  title: expect.any(String) as string,
  status,
  detail,
  next: expect.stringMatching(/\w/) as string,
  requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
});

describe('changing who sees a repository', () => {
  test('its owner may, and an administrator; it holds with the next request', async () => {
    const seenByAll = async () =>
      (await clientOf(berth.url, alice).request('get', '/v2/bob/app/manifests/v1')).status === 200;
    for (const login of [bob, berth.admin]) {
      const opened = await change('bob/app', { visibility: 'public' }, login);
      expect(opened.status).toBe(200);
      expect(opened.body).toMatchObject({ name: 'bob/app', visibility: 'public' });
      expect(await seenByAll()).toBe(true);
      const closed = await change('bob/app', { visibility: 'private' }, login);
      expect(closed.body).toMatchObject({ name: 'bob/app', visibility: 'private' });
      expect(await seenByAll()).toBe(false);
    }
  });

  test('an access token of the registry is for images: not even a wide one does', async () => {
    for (const scope of ['repository:bob/app:*', 'repository:bob/app:pull,push']) {
      const token = await tokenFor(berth.url, [scope], bob);
      const refused = await supertest(berth.url)
        .patch(address('bob/app'))
        .auth(token, { type: 'bearer' })
        .send({ visibility: 'private' });
      expect(refused.status).toBe(401);
      expect(refused.body).toEqual(problem(401, 'unauthorized', expect.any(String)));
    }
  });

  test('without credentials: 401, and both ways to show some', async () => {
    const answer = await change('bob/app', { visibility: 'public' });
    expect(answer.status).toBe(401);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(answer.headers['www-authenticate']).toBe('Basic realm="Berth", charset="UTF-8", Bearer realm="Berth"');
    expect(answer.body).toEqual(problem(401, 'unauthorized', 'authentication required; log in first'));
  });

  test('whoever may only read it: 403', async () => {
    const before = await tracesOf(berth);
    const answer = await change('bob/public', { visibility: 'private' }, alice);
    expect(answer.status).toBe(403);
    expect(answer.body).toEqual(problem(403, 'denied', expect.stringMatching(/^your account may pull bob\/public/)));
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('hidden and absent ones: 404, word for word the same', async () => {
    for (const name of ['bob/app', 'bob/absent', 'nobody/app']) {
      const answer = await change(name, { visibility: 'public' }, alice);
      expect(answer.status).toBe(404);
      expect(answer.body).toEqual(
        problem(404, 'name-unknown', `the repository ${name} does not exist, or you may not see it`),
      );
    }
    expect((await change('bob/absent', { visibility: 'public' }, bob)).status).toBe(404);
  });

  test.each([
    ['nothing', {}],
    ['another word', { visibility: 'secret' }],
    ['another type', { visibility: true }],
    ['something else besides', { visibility: 'public', owner: 'alice' }],
    ['a list', [{ visibility: 'public' }]],
    ['a prototype', JSON.parse('{"__proto__":{"visibility":"public"}}') as object],
  ])('%s is no change: 400, and what would be one', async (_what, body) => {
    const before = await tracesOf(berth);
    const answer = await change('bob/app', body, bob);
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(answer.body).toEqual({
      ...problem(400, 'invalid', expect.stringMatching(/^body/)),
      errors: expect.arrayContaining([
        { path: expect.stringMatching(/^body(\.visibility)?$/) as string, message: expect.any(String) as string },
      ]) as unknown,
    });
    expect(await tracesOf(berth)).toEqual(before);
  });

  test.each([
    ['no JSON', 'application/json', '{"visibility":', 400, 'invalid'],
    [
      'a field that is there twice',
      'application/json',
      '{"visibility":"public","visibility":"private"}',
      400,
      'invalid',
    ],
    [
      'another encoding',
      'application/json; charset=nonsense',
      '{"visibility":"public"}',
      415,
      'unsupported-media-type',
    ],
    ['another type', 'text/plain', '{"visibility":"public"}', 415, 'unsupported-media-type'],
  ])('a body of %s is refused', async (_what, contentType, body, status, type) => {
    const answer = await clientOf(berth.url, bob)
      .request('patch', address('bob/app'))
      .set('Content-Type', contentType)
      .send(body);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject(problem(status, type, expect.any(String)));
  });

  test.each(['BOB/app', 'bob/..%2fapp', 'bob/%00', 'bob//app', `bob/${'a'.repeat(300)}`])(
    'the name %s: 400',
    async (name) => {
      const answer = await change(name, { visibility: 'public' }, bob);
      expect(answer.status).toBe(400);
      expect(answer.body).toEqual(problem(400, 'name-invalid', expect.stringMatching(/is not a repository name/)));
    },
  );

  test('what is not percent-encoding: 400', async () => {
    const answer = await change('bob/%zz', { visibility: 'public' }, bob);
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  });
});

describe('looking at a repository', () => {
  const look = (name: string, login?: Login) => clientOf(berth.url, login).request('get', address(name));

  test('whoever may read it sees who else may', async () => {
    expect((await look('bob/public', alice)).body).toMatchObject({ name: 'bob/public', visibility: 'public' });
    expect((await look('bob/app', bob)).body).toMatchObject({ name: 'bob/app', visibility: 'private' });
  });

  test('hidden and absent ones are alike', async () => {
    for (const name of ['bob/app', 'bob/absent']) expect((await look(name, alice)).status).toBe(404);
  });
});

test('an address that is none: 404, in words', async () => {
  const answer = await clientOf(berth.url, bob).request('get', '/api/v1/nothing');
  expect(answer.status).toBe(404);
  expect(answer.body).toEqual(problem(404, 'route-unknown', expect.any(String)));
});
