/** Who may do what, and what those hear who may not: DESIGN's "authorize before anything is created". */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';
import { basicHeader, rawRequest, type RawAnswer } from '../support/raw.ts';
import { tracesOf } from '../support/traces.ts';

let berth: TestBerth;
let alice: Login;
let bob: Login;
let image: TestImage;
const blob = randomContent();
beforeAll(async () => {
  berth = await startTestBerth();
  alice = await berth.addUser('alice');
  bob = await berth.addUser('bob');
  image = makeImage();
  const owner = clientOf(berth.url, bob);
  for (const name of ['bob/public', 'bob/private']) {
    await owner.pushImage(name, 'v1', image);
    await owner.pushBlob(name, blob);
  }
  const answer = await owner.request('patch', '/api/v1/repositories/bob/public/-').send({ visibility: 'public' });
  expect(answer.status).toBe(200);
});
afterAll(() => berth.stop());

interface Attempt {
  readonly method: string;
  /** Below the repository. */
  readonly path: string;
  readonly body?: Buffer;
}

const uploadId = '00000000-0000-0000-0000-000000000000';
const reads = (): Attempt[] =>
  [
    '/manifests/v1',
    `/manifests/${image.digest}`,
    '/manifests/absent',
    `/blobs/${blob.digest}`,
    `/blobs/sha256:${'0'.repeat(64)}`,
    '/tags/list',
  ].flatMap((path) => ['GET', 'HEAD'].map((method) => ({ method, path })));
const pushes = (): Attempt[] => [
  { method: 'POST', path: '/blobs/uploads/' },
  { method: 'POST', path: `/blobs/uploads/?digest=${blob.digest}`, body: blob.bytes },
  { method: 'POST', path: `/blobs/uploads/?mount=${blob.digest}&from=bob/public` },
  { method: 'GET', path: `/blobs/uploads/${uploadId}` },
  { method: 'PATCH', path: `/blobs/uploads/${uploadId}`, body: blob.bytes },
  { method: 'PUT', path: `/blobs/uploads/${uploadId}?digest=${blob.digest}` },
  { method: 'DELETE', path: `/blobs/uploads/${uploadId}` },
  { method: 'PUT', path: '/manifests/v2', body: image.bytes },
];
const deletes = (): Attempt[] => [
  { method: 'DELETE', path: '/manifests/v1' },
  { method: 'DELETE', path: `/manifests/${image.digest}` },
  { method: 'DELETE', path: `/blobs/${blob.digest}` },
];

type Header = readonly [string, string];
const bearerHeader = (token: string): Header => ['Authorization', `Bearer ${token}`];

async function attempt(name: string, { method, path, body }: Attempt, ...headers: Header[]): Promise<RawAnswer> {
  const length: Header[] = body === undefined ? [] : [['Content-Length', String(body.length)]];
  return rawRequest(berth.port, {
    method,
    target: `/v2/${name}${path}`,
    headers: [...headers, ...length],
    ...(body !== undefined && { body }),
  });
}

/** Everything that a client could tell two answers apart by. */
function told(answer: RawAnswer, name: string): unknown {
  const { date: _date, 'x-request-id': _id, ...headers } = answer.headers;
  const text = JSON.stringify({ status: answer.status, headers, body: answer.body.toString() });
  // Length and body differ by the name that was asked for, and by nothing else.
  return text.replaceAll(name, 'NAME').replace(/"content-length":"\d+"/, '');
}

const challenge = (name: string, actions: string, error?: string, description?: string): string =>
  `Bearer realm="http://berth.test/auth/token",service="berth",scope="repository:${name}:${actions}"` +
  (error === undefined ? '' : `,error="${error}",error_description="${description}"`);

function expectError(answer: RawAnswer, { method }: Attempt, status: number, code: string, message: string): void {
  expect(answer.status).toBe(status);
  if (method === 'HEAD') expect(answer.body).toHaveLength(0);
  else expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code, message }] });
}

describe('without credentials', () => {
  test('/v2/ is always a challenge', async () => {
    const answer = await rawRequest(berth.port, { target: '/v2/' });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="http://berth.test/auth/token",service="berth"');
  });

  test.each(['bob/public', 'bob/private', 'bob/absent'])('%s: a challenge that names the scope', async (name) => {
    for (const [attempts, actions] of [
      [reads(), 'pull'],
      [pushes(), 'pull,push'],
      [deletes(), 'delete'],
    ] as const)
      for (const each of attempts) {
        const answer = await attempt(name, each);
        expectError(answer, each, 401, 'UNAUTHORIZED', 'authentication required; log in first');
        expect(answer.headers['www-authenticate']).toBe(challenge(name, actions));
      }
  });

  test('the catalog: a challenge that names its scope', async () => {
    const answer = await rawRequest(berth.port, { target: '/v2/_catalog' });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toMatch(/,scope="registry:catalog:\*"$/);
  });
});

describe('with a token of nobody in particular', () => {
  const anonymous = async (...scopes: string[]): Promise<Header> => bearerHeader(await tokenFor(berth.url, scopes));

  test('what is public is read', async () => {
    const header = await anonymous('repository:bob/public:pull');
    for (const path of ['/manifests/v1', `/blobs/${blob.digest}`, '/tags/list', `/referrers/${image.digest}`])
      expect((await attempt('bob/public', { method: 'GET', path }, header)).status).toBe(200);
  });

  test('what is public is not changed: 403, and why', async () => {
    const before = await tracesOf(berth);
    const header = await anonymous('repository:bob/public:pull,push,delete');
    for (const [attempts, action] of [
      [pushes(), 'push'],
      [deletes(), 'delete'],
    ] as const)
      for (const each of attempts) {
        const message = `you are not signed in, and bob/public can only be pulled without an account; sign in to ${action}`;
        expectError(await attempt('bob/public', each, header), each, 403, 'DENIED', message);
      }
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('what is private, or not there, is a challenge, word for word the same', async () => {
    const header = await anonymous('repository:bob/private:pull', 'repository:bob/absent:pull');
    for (const each of [...reads(), ...pushes(), ...deletes()]) {
      const hidden = await attempt('bob/private', each, header);
      expect(hidden.status).toBe(401);
      const absent = await attempt('bob/absent', each, header);
      expect(told(hidden, 'bob/private')).toEqual(told(absent, 'bob/absent'));
    }
  });

  test('the catalog shows what is public', async () => {
    const header = await anonymous('registry:catalog:*');
    const answer = await rawRequest(berth.port, { target: '/v2/_catalog', headers: [header] });
    expect(JSON.parse(answer.body.toString())).toEqual({ repositories: ['bob/public'] });
  });
});

describe('signed in as somebody else', () => {
  const headers = async (): Promise<Header[]> => [
    basicHeader(alice),
    bearerHeader(
      await tokenFor(berth.url, ['repository:bob/private:pull,push', 'repository:bob/absent:pull,push'], alice),
    ),
  ];

  test('what is hidden and what is not there answer alike: reads 404, writes 403', async () => {
    for (const header of await headers()) {
      const before = await tracesOf(berth);
      for (const each of [...reads(), ...pushes(), ...deletes()]) {
        const hidden = await attempt('bob/private', each, header);
        const absent = await attempt('bob/absent', each, header);
        const isRead = reads().some(({ method, path }) => method === each.method && path === each.path);
        if (isRead)
          expectError(
            hidden,
            each,
            404,
            'NAME_UNKNOWN',
            'the repository bob/private does not exist, or you may not see it',
          );
        else {
          const action = deletes().some(({ path }) => path === each.path) ? 'delete' : 'push';
          const verb = action === 'push' ? 'push to' : action;
          const message = `you may not ${verb} bob/private: the namespace bob is not yours, or your role in it does not allow it; ask its owner, or use a namespace of your own`;
          expectError(hidden, each, 403, 'DENIED', message);
        }
        expect(told(hidden, 'bob/private'), `${each.method} ${each.path}`).toEqual(told(absent, 'bob/absent'));
      }
      expect(await tracesOf(berth)).toEqual(before);
    }
  });

  test('the referrers of something hidden are as empty as those of nothing', async () => {
    for (const header of await headers()) {
      const each = { method: 'GET', path: `/referrers/${image.digest}` };
      const hidden = await attempt('bob/private', each, header);
      expect(hidden.status).toBe(200);
      expect(told(hidden, 'bob/private')).toEqual(told(await attempt('bob/absent', each, header), 'bob/absent'));
    }
  });

  test('mounting from something hidden is an upload, as if it were not there', async () => {
    for (const from of ['bob/private', 'bob/absent', 'bob/public']) {
      const answer = await attempt(
        'alice/mounts',
        { method: 'POST', path: `/blobs/uploads/?mount=${blob.digest}&from=${from}` },
        basicHeader(alice),
      );
      expect({ from, status: answer.status }).toEqual({ from, status: from === 'bob/public' ? 201 : 202 });
    }
  });

  test('mounting without a source finds only what may be read', async () => {
    const secret = randomContent();
    await clientOf(berth.url, bob).pushBlob('bob/private', secret);
    const mount = ({ digest }: { digest: string }, name: string) =>
      attempt(name, { method: 'POST', path: `/blobs/uploads/?mount=${digest}` }, basicHeader(alice));
    expect((await mount(secret, 'alice/nosource')).status).toBe(202);
    expect((await mount(blob, 'alice/nosource')).status).toBe(201);
  });

  test("somebody else's public one is read, but not changed: 403, and why", async () => {
    const before = await tracesOf(berth);
    const header = basicHeader(alice);
    expect((await attempt('bob/public', { method: 'GET', path: '/manifests/v1' }, header)).status).toBe(200);
    for (const [attempts, action] of [
      [pushes(), 'push'],
      [deletes(), 'delete'],
    ] as const)
      for (const each of attempts) {
        const message = `your account may pull bob/public, but not ${action}: that takes the role ${action === 'delete' ? 'maintainer' : 'developer'}; ask an owner of the namespace`;
        expectError(await attempt('bob/public', each, header), each, 403, 'DENIED', message);
      }
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('the catalog shows what is public and what is theirs', async () => {
    await clientOf(berth.url, alice).pushImage('alice/own', 'v1', image);
    const answer = await clientOf(berth.url, alice).request('get', '/v2/_catalog');
    expect(answer.body).toEqual({ repositories: ['alice/own', 'bob/public'] });
  });

  test('a name without a slash, and the namespace of nobody, are for administrators', async () => {
    for (const name of ['app', 'nobody/app', 'alicee/app', 'bob']) {
      const answer = await attempt(name, { method: 'POST', path: '/blobs/uploads/' }, basicHeader(alice));
      expect({ name, status: answer.status }).toEqual({ name, status: 403 });
      const asAdmin = await attempt(name, { method: 'POST', path: '/blobs/uploads/' }, basicHeader(berth.admin));
      expect({ name, status: asAdmin.status }).toEqual({ name, status: 202 });
    }
  });
});

describe('with a token that was made for something else', () => {
  const insufficient = async (each: Attempt, actions: string, ...scopes: string[]): Promise<void> => {
    const answer = await attempt('bob/private', each, bearerHeader(await tokenFor(berth.url, scopes, bob)));
    const action = actions === 'pull,push' ? 'push' : actions;
    const message = `the token was not made to ${action} bob/private; ask for one with this scope`;
    expectError(answer, each, 401, 'UNAUTHORIZED', message);
    expect(answer.headers['www-authenticate']).toBe(challenge('bob/private', actions, 'insufficient_scope', message));
  };

  test('no scope at all, as after docker login', async () => {
    for (const each of reads()) await insufficient(each, 'pull');
    for (const each of pushes()) await insufficient(each, 'pull,push');
    for (const each of deletes()) await insufficient(each, 'delete');
  });

  test('another repository, however alike its name', async () => {
    for (const name of ['bob/public', 'bob/privat', 'bob/private2', 'bob/private/x'])
      await insufficient({ method: 'GET', path: '/manifests/v1' }, 'pull', `repository:${name}:*`);
  });

  test('a pull, used to push or delete', async () => {
    const before = await tracesOf(berth);
    for (const each of pushes()) await insufficient(each, 'pull,push', 'repository:bob/private:pull');
    for (const each of deletes()) await insufficient(each, 'delete', 'repository:bob/private:pull,push');
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('a push alone does not pull', async () => {
    for (const each of reads()) await insufficient(each, 'pull', 'repository:bob/private:push');
  });

  test('the catalog needs its own', async () => {
    const header = bearerHeader(await tokenFor(berth.url, ['repository:bob/private:*'], bob));
    const answer = await rawRequest(berth.port, { target: '/v2/_catalog', headers: [header] });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toMatch(/,scope="registry:catalog:\*",error="insufficient_scope",/);
  });
});

describe('what a caller may do is what it may do now', () => {
  test('a wide token of an administrator who is none any more', async () => {
    const eve = await berth.addUser('eve', true);
    const header = bearerHeader(await tokenFor(berth.url, ['repository:bob/private:*'], eve));
    const read = { method: 'GET', path: '/manifests/v1' };
    expect((await attempt('bob/private', read, header)).status).toBe(200);
    await berth.database.query('UPDATE users SET is_admin = false WHERE name = $1', ['eve']);
    expect((await attempt('bob/private', read, header)).status).toBe(404);
    expect((await attempt('bob/private', { method: 'DELETE', path: '/manifests/v1' }, header)).status).toBe(403);
  });

  test('a token of nobody in particular for what has become private, and public again', async () => {
    const owner: Client = clientOf(berth.url, bob);
    await owner.pushImage('bob/turning', 'v1', image);
    const turn = (visibility: string) =>
      owner.request('patch', '/api/v1/repositories/bob/turning/-').send({ visibility });
    await turn('public');
    const header = bearerHeader(await tokenFor(berth.url, ['repository:bob/turning:pull']));
    const status = async () => (await attempt('bob/turning', { method: 'GET', path: '/manifests/v1' }, header)).status;
    expect(await status()).toBe(200);
    await turn('private');
    expect(await status()).toBe(401);
    await turn('public');
    expect(await status()).toBe(200);
  });
});

test('Basic does on /v2/ as well as a token', async () => {
  const client = clientOf(berth.url, alice);
  expect((await client.request('get', '/v2/')).status).toBe(200);
  await client.pushImage('alice/basic', 'v1', makeImage());
  expect((await client.request('head', '/v2/alice/basic/manifests/v1')).status).toBe(200);
  expect((await client.request('delete', '/v2/alice/basic/manifests/v1')).status).toBe(202);
});
