/**
 * The token protocol: who gets which token, and which tokens count.
 * https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
 */
import { createHmac, createPublicKey, generateKeyPairSync, verify, type webcrypto } from 'node:crypto';
import jwt from 'jsonwebtoken';
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { commandLine } from '../../src/access/actor.ts';
import { hashPassword } from '../../src/access/passwords.ts';
import { rotateSigningKey } from '../../src/access/signing-keys.ts';
import { replacePassword } from '../../src/access/sql/accounts.ts';
import { apiOf } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
let alice: Login;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_DEFAULT_VISIBILITY: 'public' });
  alice = await berth.addUser('alice');
  await berth.addUser('bob');
  await clientOf(berth.url, alice).pushImage('alice/app', 'v1', makeImage());
  await clientOf(berth.url, berth.admin).pushImage('bob/public', 'v1', makeImage());
  await clientOf(berth.url, berth.admin).pushImage('bob/private', 'v1', makeImage());
  await clientOf(berth.url, berth.admin)
    .request('patch', '/api/v1/repositories/bob/private/-')
    .send({ visibility: 'private' });
});
afterAll(() => berth.stop());

interface Scope {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

interface TokenBody {
  readonly token: string;
  readonly access_token: string;
  readonly scope: string;
  readonly expires_in: number;
  readonly issued_at: string;
  readonly refresh_token?: string;
}

/** GET /auth/token, with several `scope` parameters where there are several scopes. */
async function getToken(scopes: readonly string[], login?: Login, more: Record<string, string> = {}) {
  const request = supertest(berth.url)
    .get('/auth/token')
    .query({ service: 'berth', scope: scopes, ...more });
  const answer = await (login === undefined ? request : request.auth(login.username, login.password));
  return { status: answer.status, headers: answer.headers, body: answer.body as TokenBody };
}

async function postToken(form: Record<string, string>) {
  const answer = await supertest(berth.url).post('/auth/token').type('form').send(form);
  return { status: answer.status, headers: answer.headers, body: answer.body as TokenBody & { error: string } };
}

const accessOf = (token: string): readonly Scope[] => (jwt.decode(token) as { access: Scope[] }).access;

/** GET /v2/ or a path with whatever stands in the header. */
async function ask(authorization: string, path = '/v2/') {
  return supertest(berth.url).get(path).set('Authorization', authorization);
}

const bearer = async (token: string, path?: string) => ask(`Bearer ${token}`, path);

const rotateKey = (): Promise<string> =>
  berth.database.transaction((queryer) => rotateSigningKey(queryer, commandLine('test')));

async function disable(username: string, disabled: boolean): Promise<void> {
  await berth.database.query(`UPDATE users SET disabled_at = ${disabled ? 'now()' : 'NULL'} WHERE name = $1`, [
    username,
  ]);
}

async function changePassword(username: string, password: string): Promise<void> {
  const [user] = await berth.database.query<{ id: number }>('SELECT id FROM users WHERE name = $1', [username]);
  await replacePassword(berth.database, user!.id, await hashPassword(password));
}

describe('what is granted', () => {
  const all = ['pull', 'push', 'delete'];
  const cases: readonly (readonly [what: string, scopes: string[], access: Scope[]])[] = [
    ['no scope, as at docker login', [], []],
    [
      'an own repository',
      ['repository:alice/app:pull,push'],
      [{ type: 'repository', name: 'alice/app', actions: ['pull', 'push'] }],
    ],
    [
      'an own one that is not there yet',
      ['repository:alice/new:push,pull'],
      [{ type: 'repository', name: 'alice/new', actions: ['pull', 'push'] }],
    ],
    ['the star', ['repository:alice/app:*'], [{ type: 'repository', name: 'alice/app', actions: all }]],
    [
      "the star on somebody else's public one",
      ['repository:bob/public:*'],
      [{ type: 'repository', name: 'bob/public', actions: ['pull'] }],
    ],
    [
      "a push to somebody else's public one: only the pull",
      ['repository:bob/public:pull,push'],
      [{ type: 'repository', name: 'bob/public', actions: ['pull'] }],
    ],
    ["somebody else's private one: nothing", ['repository:bob/private:pull'], []],
    ['one that is not there: nothing', ['repository:bob/absent:pull'], []],
    [
      'several parameters',
      ['repository:alice/app:push', 'repository:bob/public:pull'],
      [
        { type: 'repository', name: 'alice/app', actions: ['push'] },
        { type: 'repository', name: 'bob/public', actions: ['pull'] },
      ],
    ],
    [
      'several in one parameter',
      ['repository:alice/app:push repository:bob/public:pull'],
      [
        { type: 'repository', name: 'alice/app', actions: ['push'] },
        { type: 'repository', name: 'bob/public', actions: ['pull'] },
      ],
    ],
    [
      'a class in the type',
      ['repository(plugin):alice/app:pull'],
      [{ type: 'repository', name: 'alice/app', actions: ['pull'] }],
    ],
    ['the catalog', ['registry:catalog:*'], [{ type: 'registry', name: 'catalog', actions: ['*'] }]],
    ['something else of the registry', ['registry:secrets:*'], []],
    [
      'unknown types beside a known one',
      ['galaxy:alice/app:pull', 'repository:alice/app:pull'],
      [{ type: 'repository', name: 'alice/app', actions: ['pull'] }],
    ],
    [
      'unknown actions',
      ['repository:alice/app:fly,pull'],
      [{ type: 'repository', name: 'alice/app', actions: ['pull'] }],
    ],
    [
      'what is no scope at all',
      ['', 'repository', '::', 'repository:alice/app', `repository:${'a'.repeat(2000)}:pull`],
      [],
    ],
    [
      'a name that cannot be one',
      ['repository:ALICE/app:pull', 'repository:alice/../bob/private:pull', 'repository:alice/\0:pull'],
      [],
    ],
  ];
  test.each(cases)('%s', async (_what, scopes, access) => {
    const { status, body } = await getToken(scopes, alice);
    expect(status).toBe(200);
    expect(accessOf(body.token)).toEqual(access);
    expect(body.scope).toBe(access.map(({ type, name, actions }) => `${type}:${name}:${actions.join(',')}`).join(' '));
  });

  test('an administrator gets all, anywhere', async () => {
    const { body } = await getToken(['repository:bob/private:*'], berth.admin);
    expect(accessOf(body.token)).toEqual([{ type: 'repository', name: 'bob/private', actions: all }]);
  });

  test('nobody in particular gets the pull of what is public, and nothing else', async () => {
    const scopes = [
      'repository:bob/public:pull,push,delete',
      'repository:bob/private:pull',
      'repository:bob/absent:pull',
    ];
    const { status, body } = await getToken(scopes);
    expect(status).toBe(200);
    expect(accessOf(body.token)).toEqual([{ type: 'repository', name: 'bob/public', actions: ['pull'] }]);
  });

  test('the answer has what every client looks for, and is not kept by caches', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const { body, headers } = await getToken(['repository:alice/app:pull'], alice, {
      account: 'alice',
      client_id: 'docker',
    });
    expect(body.access_token).toBe(body.token);
    expect(body.expires_in).toBe(300);
    expect(Date.parse(body.issued_at)).toBeGreaterThanOrEqual(before);
    expect(body.refresh_token).toBeUndefined();
    expect(headers['cache-control']).toBe('no-store');
    const { header, payload } = jwt.decode(body.token, { complete: true })!;
    const claims = payload as jwt.JwtPayload;
    expect(header).toMatchObject({ alg: 'ES256', typ: 'JWT' });
    expect(claims).toMatchObject({ iss: 'berth', aud: 'berth', sub: 'alice', exp: claims.iat! + 300 });
    expect(claims.jti).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('who gets none', () => {
  const wrong = 'the user name or password is not right';
  const basic = (text: string | Buffer): string => `Basic ${Buffer.from(text as string).toString('base64')}`;
  const headers: readonly (readonly [what: string, header: string, message: string])[] = [
    ['a wrong password', basic('alice:not it'), wrong],
    ['an account that does not exist', basic('nobody:not it'), wrong],
    ['an empty password', basic('alice:'), wrong],
    ['an empty name', basic(':password of alice'), wrong],
    ['no colon', basic('alice'), wrong],
    ['a NUL in the name', basic('alice\0:password of alice'), wrong],
    ['a NUL in the password', basic('alice:password of alice\0'), wrong],
    ['bytes that are not UTF-8', basic(Buffer.from([0xff, 0x3a, 0xfe])), wrong],
    ['another case', basic('Alice:password of alice'), wrong],
    ['a password beyond all bounds', basic(`alice:${'x'.repeat(10_000)}`), wrong],
    ['nothing behind Basic', 'Basic', 'the Authorization header must hold Basic or Bearer credentials'],
    ['nothing behind Bearer', 'Bearer', 'the Authorization header must hold Basic or Bearer credentials'],
    ['no base64', 'Basic !!!', 'the Authorization header must hold Basic or Bearer credentials'],
    ['another scheme', 'Digest username="alice"', 'the Authorization header must hold Basic or Bearer credentials'],
  ];
  test.each(headers)('%s: 401 from the token end-point and from /v2/', async (_what, header, message) => {
    const token = await ask(header, '/auth/token?service=berth');
    expect(token.status).toBe(401);
    expect(token.headers['www-authenticate']).toBe('Basic realm="Berth", charset="UTF-8"');
    expect(token.body).toEqual({ errors: [{ code: 'UNAUTHORIZED', message }] });
    const base = await ask(header);
    expect(base.status).toBe(401);
    expect(base.body).toEqual({ errors: [{ code: 'UNAUTHORIZED', message }] });
    expect(base.headers['www-authenticate']).toBe(`Bearer realm="${berth.url}/auth/token",service="berth"`);
  });

  test.each([
    ['a wrong password', { grant_type: 'password', username: 'alice', password: 'no' }, 401, 'invalid_grant'],
    ['a NUL in the name', { grant_type: 'password', username: 'a\0', password: 'no' }, 401, 'invalid_grant'],
    ['a refresh token that is none', { grant_type: 'refresh_token', refresh_token: 'x\0' }, 401, 'invalid_grant'],
    ['another grant', { grant_type: 'client_credentials' }, 400, 'invalid_request'],
    ['no grant', { username: 'alice' }, 400, 'invalid_request'],
    ['no password', { grant_type: 'password', username: 'alice' }, 400, 'invalid_request'],
  ] as const)('POST with %s: %i %s', async (_what, form, status, error) => {
    const answer = await postToken(form);
    expect(answer.status).toBe(status);
    expect(answer.body.error).toBe(error);
  });

  test('POST of JSON instead of a form: 400', async () => {
    const answer = await supertest(berth.url).post('/auth/token').send({ grant_type: 'password' });
    expect(answer.status).toBe(400);
  });
});

describe('OAuth2', () => {
  const form = (): Record<string, string> => ({
    grant_type: 'password',
    service: 'berth',
    client_id: 'test',
    ...alice,
  });

  test('a password gives an access token, and a refresh token only when it is asked for', async () => {
    const online = await postToken({ ...form(), scope: 'repository:alice/app:pull,push' });
    expect(online.status).toBe(200);
    expect(online.body.scope).toBe('repository:alice/app:pull,push');
    expect(online.body.refresh_token).toBeUndefined();
    expect(online.headers['cache-control']).toBe('no-store');
    expect((await bearer(online.body.access_token)).status).toBe(200);
    const offline = await postToken({ ...form(), access_type: 'offline' });
    expect(offline.body.refresh_token).toMatch(/^bth_[0-9A-Za-z]{42}$/);
  });

  test('a refresh token gives access tokens, again and again, with the rights of this moment', async () => {
    const { body } = await getToken([], alice, { offline_token: 'true' });
    for (let i = 0; i < 2; i += 1) {
      const refreshed = await postToken({
        grant_type: 'refresh_token',
        refresh_token: body.refresh_token!,
        scope: 'repository:alice/app:pull repository:bob/private:pull',
      });
      expect(refreshed.status).toBe(200);
      expect(refreshed.body.scope).toBe('repository:alice/app:pull');
      expect(refreshed.body.refresh_token).toBe(body.refresh_token);
      expect((await bearer(refreshed.body.access_token, '/v2/alice/app/tags/list')).status).toBe(200);
    }
  });

  test('nobody in particular gets no refresh token', async () => {
    const { status, body } = await getToken([], undefined, { offline_token: 'true' });
    expect(status).toBe(200);
    expect(body.refresh_token).toBeUndefined();
  });

  test('a refresh token is no access token, nor the other way round', async () => {
    const { body } = await getToken([], alice, { offline_token: 'true' });
    expect((await bearer(body.refresh_token!)).status).toBe(401);
    expect((await postToken({ grant_type: 'refresh_token', refresh_token: body.token })).status).toBe(401);
  });

  test('the database has no refresh token that could be stolen from it', async () => {
    const { body } = await getToken([], alice, { offline_token: 'true' });
    const rows = await berth.database.query<{ text: string }>('SELECT c::text AS text FROM credentials c');
    expect(rows.filter(({ text }) => text.includes(body.refresh_token!))).toEqual([]);
  });
});

describe('what clients send besides', () => {
  test.each(['berth', 'registry.example.com', ''])(
    'the service %j: the token is for this registry, and no other',
    async (service) => {
      const { status, body } = await getToken(['repository:alice/app:pull'], alice, { service });
      expect(status).toBe(200);
      expect(jwt.decode(body.token)).toMatchObject({ aud: 'berth' });
      const posted = await postToken({ grant_type: 'password', service, client_id: 'x', ...alice });
      expect(posted.status).toBe(200);
      expect(jwt.decode(posted.body.access_token)).toMatchObject({ aud: 'berth' });
    },
  );

  test('nothing but the credentials, by GET and by POST', async () => {
    const got = await supertest(berth.url).get('/auth/token').auth(alice.username, alice.password);
    expect(got.status).toBe(200);
    expect((await postToken({ grant_type: 'password', ...alice })).status).toBe(200);
  });

  test.each(['false', '1', 'TRUE', ''])('offline_token=%s is no wish for a refresh token', async (offline) => {
    expect((await getToken([], alice, { offline_token: offline })).body.refresh_token).toBeUndefined();
  });

  test('a POST with several scopes, a class, a star and nonsense among them', async () => {
    const { body } = await postToken({
      grant_type: 'password',
      ...alice,
      scope: 'repository:alice/app:* repository(plugin):bob/public:pull,push galaxy:x:pull  nonsense',
    });
    expect(body.scope).toBe('repository:alice/app:pull,push,delete repository:bob/public:pull');
    expect(body.issued_at).toMatch(/^\d{4}-\d\d-\d\dT/);
    expect(body.expires_in).toBe(300);
  });

  test('a name with a host and a port in it is split at the last colon, and is no repository of ours', async () => {
    const { status, body } = await getToken(['repository:localhost:5000/alice/app:pull'], alice);
    expect(status).toBe(200);
    expect(body.scope).toBe('');
  });

  test('a refresh asks for the same refresh token again, whatever access it wants', async () => {
    const { body } = await getToken([], alice, { offline_token: 'true' });
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token!, access_type: 'offline' };
    expect((await postToken(form)).body.refresh_token).toBe(body.refresh_token);
  });
});

describe('tokens for tokens and robots', () => {
  interface Made {
    readonly id: number;
    readonly name: string;
    readonly secret: string;
  }
  const pull = [{ repositories: 'alice/app', actions: ['pull'] }];
  const make = async (path: string, name: string): Promise<Made> => {
    const answer = await (await apiOf(berth.url, alice)).post(path, { name, grants: pull });
    expect(answer.status).toBe(201);
    return answer.body as Made;
  };
  const scope = 'repository:alice/app:pull,push repository:bob/public:pull';
  const narrowed = 'repository:alice/app:pull repository:bob/public:pull';

  test.each([
    ['personal access token', '/tokens', () => 'alice'],
    ['robot', '/namespaces/alice/robots', ({ name }: Made) => name],
  ] as const)(
    '%s: its grants and its life bind what came from it, by GET and by POST',
    async (what, path, usernameOf) => {
      const made = await make(path, `identity-${what.length}`);
      const login = { username: usernameOf(made), password: made.secret };
      const got = await getToken(scope.split(' '), login, { offline_token: 'true' });
      const posted = await postToken({ grant_type: 'password', access_type: 'offline', scope, ...login });
      for (const { status, body } of [got, posted]) {
        expect(status).toBe(200);
        expect(body.scope).toBe(narrowed);
        const refreshed = await postToken({ grant_type: 'refresh_token', refresh_token: body.refresh_token!, scope });
        expect(refreshed.body.scope).toBe(narrowed);
        expect(jwt.decode(refreshed.body.access_token)).toMatchObject({ sub: login.username });
        expect((await bearer(refreshed.body.access_token, '/v2/alice/app/tags/list')).status).toBe(200);
      }
      await berth.database.query('UPDATE credentials SET expires_at = now() WHERE id = $1', [made.id]);
      for (const { body } of [got, posted]) {
        expect((await postToken({ grant_type: 'refresh_token', refresh_token: body.refresh_token! })).status).toBe(401);
        expect((await bearer(body.access_token, '/v2/alice/app/tags/list')).status).toBe(401);
      }
    },
  );

  test("a robot whose name is longer than any account's", async () => {
    const repository = `alice/${'a'.repeat(240)}`;
    await clientOf(berth.url, alice).pushImage(repository, 'v1', makeImage());
    const answer = await (
      await apiOf(berth.url, alice)
    ).post(`/repositories/${repository}/-/robots`, { name: 'r'.repeat(64), actions: ['pull'] });
    const { name: username, secret: password } = answer.body as Made;
    expect((await postToken({ grant_type: 'password', username, password })).status).toBe(200);
  });
});

test('what is internal: for whoever is signed in, and for nobody else', async () => {
  await clientOf(berth.url, berth.admin).pushImage('bob/internal', 'v1', makeImage());
  await (await apiOf(berth.url, berth.admin)).patch('/repositories/bob/internal/-', { visibility: 'internal' });
  expect((await getToken(['repository:bob/internal:pull,push'], alice)).body.scope).toBe(
    'repository:bob/internal:pull',
  );
  const nobody = await getToken(['repository:bob/internal:pull']);
  expect(nobody.status).toBe(200);
  expect(nobody.body.scope).toBe('');
  expect((await bearer(nobody.body.token, '/v2/bob/internal/tags/list')).status).toBe(401);
});

describe('a token that does not count', () => {
  let kid: string;
  let privateKey: string;
  let publicKey: string;
  let claims: jwt.JwtPayload;
  beforeEach(async () => {
    const token = await tokenFor(berth.url, ['repository:alice/app:pull'], alice);
    const decoded = jwt.decode(token, { complete: true })!;
    claims = decoded.payload as jwt.JwtPayload;
    kid = decoded.header.kid!;
    const [row] = await berth.database.query<{ private_key: string; public_key: string }>(
      'SELECT private_key, public_key FROM signing_keys WHERE kid = $1',
      [kid],
    );
    privateKey = row!.private_key;
    publicKey = row!.public_key;
  });

  const now = (): number => Math.floor(Date.now() / 1000);
  const sign = (change: Record<string, unknown>, key = privateKey, keyid = kid): string => {
    const payload = Object.fromEntries(
      Object.entries({ ...claims, ...change }).filter(([, value]) => value !== undefined),
    );
    return jwt.sign(payload, key, { algorithm: 'ES256', keyid, noTimestamp: true });
  };
  const base64url = (value: unknown): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
  const unsigned = (header: unknown, payload: unknown, signature = 'AAAA'): string =>
    `${base64url(header)}.${base64url(payload)}.${signature}`;

  async function expectRefused(token: string, message: string | RegExp = /./): Promise<void> {
    const answer = await bearer(token, '/v2/alice/app/tags/list');
    expect(answer.status).toBe(401);
    const { errors } = answer.body as { errors: { code: string; message: string }[] };
    expect(errors[0]).toMatchObject({ code: 'UNAUTHORIZED', message: expect.stringMatching(message) });
    expect(answer.headers['www-authenticate']).toBe(
      `Bearer realm="${berth.url}/auth/token",service="berth",scope="repository:alice/app:pull",error="invalid_token",` +
        `error_description="${errors[0]!.message}"`,
    );
  }

  test('the tokens signed here do count when nothing is wrong with them', async () => {
    expect((await bearer(sign({}), '/v2/alice/app/tags/list')).status).toBe(200);
  });

  test.each([
    ['another audience', { aud: 'other' }],
    ['another issuer', { iss: 'other' }],
    ['no audience', { aud: undefined }],
    ['no end', { exp: undefined }],
    ['no credential', { cid: undefined }],
    ['a credential that is no number', { cid: '1 OR true' }],
    ['a credential beyond all numbers', { cid: 1e300 }],
    ['no access', { access: undefined }],
    ['access of another shape', { access: { 'alice/app': 'pull' } }],
  ])('%s', async (_what, change) => {
    await expectRefused(sign(change), 'the token is not valid');
  });

  test.each([-1, 0.5, Number.MAX_SAFE_INTEGER])('the credential %d', async (cid) => {
    const answer = await bearer(sign({ cid }), '/v2/alice/app/tags/list');
    expect(answer.status).toBe(401);
  });

  test('one that ended counts as long as clocks may differ, and no longer', async () => {
    expect((await bearer(sign({ exp: now() - 30 }))).status).toBe(200);
    await expectRefused(sign({ exp: now() - 90 }), 'the token has expired; ask for a new one');
  });

  test('one from a clock that is ahead counts as long as clocks may differ, and no longer', async () => {
    expect((await bearer(sign({ iat: now() + 30, nbf: now() + 30, exp: now() + 330 }))).status).toBe(200);
    await expectRefused(sign({ iat: now() + 900, nbf: now() + 900, exp: now() + 1200 }), 'the token is not valid');
  });

  test('one whose claims were changed', async () => {
    const [header, , signature] = sign({}).split('.');
    const wider = { ...claims, access: [{ type: 'repository', name: 'bob/private', actions: ['pull'] }] };
    await expectRefused(`${header}.${base64url(wider)}.${signature}`, 'the token is not valid');
  });

  test('one signed with a key of somebody else, under a name of ours', async () => {
    const foreign = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    await expectRefused(sign({}, foreign.export({ type: 'pkcs8', format: 'pem' }) as string), 'the token is not valid');
  });

  test('one signed with nothing, or with the public key as a secret', async () => {
    const header = { typ: 'JWT', kid };
    await expectRefused(unsigned({ ...header, alg: 'none' }, claims, ''));
    const [head, body] = unsigned({ ...header, alg: 'HS256' }, claims).split('.');
    const mac = createHmac('sha256', publicKey).update(`${head}.${body}`).digest('base64url');
    await expectRefused(`${head}.${body}.${mac}`, 'the token is not valid');
  });

  test.each([
    ['a word', 'token'],
    ['three words', 'a.b.c'],
    ['a header without a key', unsigned({ alg: 'ES256' }, {})],
    ['an unknown key', unsigned({ alg: 'ES256', kid: 'unknown' }, {})],
    ['a key with a NUL', unsigned({ alg: 'ES256', kid: 'a\0b' }, {})],
    ['a key that is an object', unsigned({ alg: 'ES256', kid: { a: 1 } }, {})],
    ['a key that is a path', unsigned({ alg: 'ES256', kid: '../../etc/passwd' }, {})],
    ['claims that are no JSON', unsigned({ alg: 'ES256', typ: 'JWT', kid: 'x' }, '{nope')],
    ['claims that are null', unsigned({ alg: 'ES256', typ: 'JWT', kid: 'x' }, 'null')],
    ['a header that is null', unsigned('null', {})],
    ['more than any token has', 'x'.repeat(20_000)],
  ])('%s', async (_what, token) => {
    await expectRefused(token, 'the token is not one of this registry');
  });
});

describe('keys', () => {
  test('the published keys verify a token', async () => {
    const token = await tokenFor(berth.url, ['repository:alice/app:pull'], alice);
    const answer = await supertest(berth.url).get('/auth/jwks');
    expect(answer.status).toBe(200);
    const { keys } = answer.body as { keys: (webcrypto.JsonWebKey & { kid: string })[] };
    const { header } = jwt.decode(token, { complete: true })!;
    const jwk = keys.find(({ kid }) => kid === header.kid)!;
    expect(jwk).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' });
    expect(Object.keys(jwk)).not.toContain('d');
    const [head, claims, signature] = token.split('.');
    const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' } as const;
    expect(verify('sha256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature!, 'base64url'))).toBe(true);
  });

  test('a new key signs from the next token on, without a restart; tokens of the old one go on', async () => {
    const old = await tokenFor(berth.url, [], alice);
    const kid = await rotateKey();
    const fresh = await tokenFor(berth.url, [], alice);
    expect(jwt.decode(fresh, { complete: true })!.header.kid).toBe(kid);
    expect((await bearer(fresh)).status).toBe(200);
    expect((await bearer(old)).status).toBe(200);
    const { keys } = (await supertest(berth.url).get('/auth/jwks')).body as { keys: { kid: string }[] };
    expect(keys.map((key) => key.kid)).toContain(jwt.decode(old, { complete: true })!.header.kid);
    expect(keys.map((key) => key.kid)).toContain(kid);
  });

  test('a revoked key: its tokens end with the next request, and the next token is signed with another', async () => {
    const revoked = await rotateKey();
    const token = await tokenFor(berth.url, ['repository:bob/public:pull'], alice);
    expect((await bearer(token, '/v2/bob/public/tags/list')).status).toBe(200);
    await berth.database.query('UPDATE signing_keys SET revoked_at = now() WHERE kid = $1', [revoked]);
    expect((await bearer(token)).status).toBe(401);
    expect((await bearer(token, '/v2/bob/public/tags/list')).status).toBe(401);
    const fresh = await tokenFor(berth.url, [], alice);
    expect(jwt.decode(fresh, { complete: true })!.header.kid).not.toBe(revoked);
    const { keys } = (await supertest(berth.url).get('/auth/jwks')).body as { keys: { kid: string }[] };
    expect(keys.map((key) => key.kid)).not.toContain(revoked);
  });
});

describe('what ends with the next request', () => {
  test('everything of an account that was disabled, until it is enabled again', async () => {
    const carol = await berth.addUser('carol');
    const { body } = await getToken([], carol, { offline_token: 'true' });
    const basic = clientOf(berth.url, carol);
    expect((await bearer(body.token)).status).toBe(200);
    expect((await basic.request('get', '/v2/')).status).toBe(200);
    const refresh = { grant_type: 'refresh_token', refresh_token: body.refresh_token! };

    await disable('carol', true);
    expect((await bearer(body.token)).status).toBe(401);
    expect((await basic.request('get', '/v2/')).status).toBe(401);
    // Also what anybody may pull: these credentials are those of nobody.
    expect((await basic.request('get', '/v2/bob/public/tags/list')).status).toBe(401);
    expect((await getToken([], carol)).status).toBe(401);
    expect((await postToken(refresh)).status).toBe(401);

    await disable('carol', false);
    expect((await bearer(body.token)).status).toBe(200);
    expect((await postToken(refresh)).status).toBe(200);
  });

  test('what came from a password that was changed', async () => {
    const dave = await berth.addUser('dave');
    const { body } = await getToken([], dave, { offline_token: 'true' });
    const refresh = { grant_type: 'refresh_token', refresh_token: body.refresh_token! };
    const refreshed = await postToken(refresh);
    expect((await bearer(refreshed.body.access_token)).status).toBe(200);
    expect((await clientOf(berth.url, dave).request('get', '/v2/')).status).toBe(200);

    await changePassword('dave', 'another password');
    expect((await bearer(body.token)).status).toBe(401);
    expect((await bearer(refreshed.body.access_token)).status).toBe(401);
    expect((await postToken(refresh)).status).toBe(401);
    expect((await clientOf(berth.url, dave).request('get', '/v2/')).status).toBe(401);
    expect((await getToken([], dave)).status).toBe(401);
    const now = { username: 'dave', password: 'another password' };
    expect((await clientOf(berth.url, now).request('get', '/v2/')).status).toBe(200);
    expect((await getToken([], now)).status).toBe(200);
  });

  test('an old password counts again from the moment it is set again', async () => {
    const erin = await berth.addUser('erin');
    const basic = (password: string) => ask(`Basic ${Buffer.from(`erin:${password}`).toString('base64')}`);
    expect((await basic(erin.password)).status).toBe(200);
    await changePassword('erin', 'another password');
    expect((await basic(erin.password)).status).toBe(401);
    expect((await basic('another password')).status).toBe(200);
    await changePassword('erin', erin.password);
    expect((await basic(erin.password)).status).toBe(200);
    expect((await basic('another password')).status).toBe(401);
  });

  test('a credential whose time is over', async () => {
    const { body } = await getToken([], alice, { offline_token: 'true' });
    const refreshed = await postToken({ grant_type: 'refresh_token', refresh_token: body.refresh_token! });
    await berth.database.query(`UPDATE credentials SET expires_at = now() WHERE kind = 'refresh_token'`);
    expect((await bearer(refreshed.body.access_token)).status).toBe(401);
    expect((await postToken({ grant_type: 'refresh_token', refresh_token: body.refresh_token! })).status).toBe(401);
    expect((await bearer(body.token)).status).toBe(200);
  });
});

test('no password, token or header is ever in the log', async () => {
  const { body } = await getToken(['repository:alice/app:pull'], alice, { offline_token: 'true' });
  await bearer(body.token, '/v2/alice/app/tags/list');
  await bearer(body.token, '/v2/alice/other/tags/list');
  await ask('Basic bm9ib2R5OnNlY3JldC1wYXNzd29yZA==');
  await ask('Bearer some-secret-token');
  await postToken({ grant_type: 'password', username: 'alice', password: 'secret-password' });
  await postToken({ grant_type: 'password', password: 'secret-password' });
  await postToken({ grant_type: 'refresh_token', refresh_token: body.refresh_token! });
  const secrets = [
    alice.password,
    berth.admin.password,
    body.token,
    body.token.split('.')[2]!,
    body.refresh_token!,
    'secret-password',
    'some-secret-token',
    'bm9ib2R5OnNlY3JldC1wYXNzd29yZA',
    Buffer.from(`${alice.username}:${alice.password}`).toString('base64'),
  ];
  expect(berth.logs.length).toBeGreaterThan(10);
  const log = berth.logs.map((line) => JSON.stringify(line)).join('\n');
  for (const secret of secrets) expect(log).not.toContain(secret);
});
