/** Access tokens that somebody made or changed themselves: none of them opens anything. */
import { createHmac, createPublicKey, generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { anonymousCredentialId } from '../../src/access/caller.ts';
import { generateKey } from '../../src/access/keys.ts';
import { addressOf, bodyFor, declaredOperations } from '../support/declared.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { rawRequest } from '../support/raw.ts';
import { createSender, type Sender } from '../support/sender.ts';

let berth: TestBerth;
let alice: Login;
let sender: Sender;
/** A good token of alice's, and all that it was made with. */
let good: string;
let kid: string;
let privateKey: string;
let publicKey: string;
let claims: jwt.JwtPayload;

const secretRepository = 'bob/private';
const wide = ['alice/app', secretRepository, 'admin/new', 'alice/new'].map((name) => ({
  type: 'repository',
  name,
  actions: ['*', 'pull', 'push', 'delete', 'settings', 'members', 'admin'],
}));
const everything = [...wide, { type: 'registry', name: 'catalog', actions: ['*'] }];

beforeAll(async () => {
  berth = await startTestBerth();
  alice = await berth.addUser('alice');
  const bob = await berth.addUser('bob');
  await clientOf(berth.url, alice).pushImage('alice/app', 'v1', makeImage());
  await clientOf(berth.url, bob).pushImage(secretRepository, 'v1', makeImage());
  await clientOf(berth.url, bob).pushImage('bob/public', 'v1', makeImage());
  await clientOf(berth.url, bob).request('patch', '/api/v1/repositories/bob/public/-').send({ visibility: 'public' });
  sender = createSender(berth.url);
  good = await tokenFor(berth.url, ['repository:alice/app:pull,push,delete', 'registry:catalog:*'], alice);
  const decoded = jwt.decode(good, { complete: true })!;
  kid = decoded.header.kid!;
  claims = decoded.payload as jwt.JwtPayload;
  [{ private_key: privateKey, public_key: publicKey }] = (await berth.database.query(
    'SELECT private_key, public_key FROM signing_keys WHERE kid = $1',
    [kid],
  )) as [{ private_key: string; public_key: string }];
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

const base64url = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const partsOf = (token: string): [string, string, string] => token.split('.') as [string, string, string];
const now = (): number => Math.floor(Date.now() / 1000);

/** Header and claims with a signature of this key, as JWS has it. */
function es256(header: object, payload: unknown, key: string | KeyObject = privateKey): string {
  const input = `${base64url({ alg: 'ES256', typ: 'JWT', kid, ...header })}.${base64url(payload)}`;
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' } as never);
  return `${input}.${signature.toString('base64url')}`;
}
const signed = (changes: Readonly<Record<string, unknown>>): string => es256({}, { ...claims, ...changes });

function hmac(alg: 'HS256' | 'HS384' | 'HS512', secret: string | Buffer): string {
  const input = `${base64url({ alg, typ: 'JWT', kid })}.${base64url({ ...claims, access: everything })}`;
  return `${input}.${createHmac(alg.replace('HS', 'sha'), secret).update(input).digest('base64url')}`;
}

/** What a token could open: something of alice's own, something that she may not see, a push, and the API. */
const doors: readonly (readonly [method: string, path: string])[] = [
  ['GET', '/v2/'],
  ['GET', '/v2/_catalog'],
  ['GET', '/v2/alice/app/tags/list'],
  ['GET', '/v2/alice/app/manifests/v1'],
  ['GET', `/v2/${secretRepository}/manifests/v1`],
  // What anybody may pull is not for a token that is none.
  ['GET', '/v2/bob/public/manifests/v1'],
  ['POST', '/v2/alice/app/blobs/uploads/'],
  ['GET', '/api/v1/repositories/alice/app/-'],
];

async function expectNoDoorOpens(token: string): Promise<void> {
  for (const [method, path] of doors) {
    const { status, headers, text } = await sender.send(path, {
      method,
      headers: { Authorization: `Bearer ${token}` },
    });
    expect({ method, path, status, text }).toMatchObject({ status: 401 });
    expect(headers['www-authenticate']).toMatch(/Bearer realm="/);
    if (path.startsWith('/v2/')) expect(headers['www-authenticate']).toContain('error="invalid_token"');
    // The answer is no help to whoever tries, and repeats nothing of what was shown.
    expect(text).not.toContain(token.slice(0, 40));
    expect(text).not.toMatch(/ECONN|syntax|stack|node_modules|\.ts:/);
  }
}

test('the tokens made by this test open the doors when nothing is wrong with them', async () => {
  for (const token of [good, signed({}), es256({}, claims)]) {
    for (const [method, path] of doors.filter(([, at]) => !at.includes('bob/'))) {
      const { status } = await sender.send(path, { method, headers: { Authorization: `Bearer ${token}` } });
      expect([200, 202]).toContain(status);
    }
  }
});

describe('another algorithm than ours', () => {
  const unsigned = (alg: unknown, signature = ''): string =>
    `${base64url({ alg, typ: 'JWT', kid })}.${base64url({ ...claims, access: everything })}.${signature}`;

  test.each(['none', 'None', 'NONE', 'nOnE', '', null, ['none'], 'ES256, none'])('alg %j', async (alg) => {
    await expectNoDoorOpens(unsigned(alg));
    await expectNoDoorOpens(unsigned(alg, partsOf(good)[2]));
  });

  test.each(['HS256', 'HS384', 'HS512'] as const)('%s with the public key as its secret', async (alg) => {
    const key = createPublicKey(publicKey);
    const jwk = key.export({ format: 'jwk' });
    const secrets = [
      publicKey,
      publicKey.trim(),
      publicKey.replaceAll('\n', '\r\n'),
      publicKey.replaceAll(/-----.*-----|\s/g, ''),
      key.export({ type: 'spki', format: 'der' }),
      JSON.stringify(jwk),
      JSON.stringify({ ...jwk, kid, alg: 'ES256', use: 'sig' }),
      Buffer.concat([Buffer.from(jwk.x!, 'base64url'), Buffer.from(jwk.y!, 'base64url')]),
      '',
      kid,
    ];
    for (const secret of secrets) await expectNoDoorOpens(hmac(alg, secret));
  });

  test.each(['RS256', 'PS256'] as const)('%s with a key of their own', async (algorithm) => {
    const own = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    await expectNoDoorOpens(jwt.sign(claims, own, { algorithm, keyid: kid }));
  });

  test.each(['ES384', 'ES512'] as const)('%s with a key of their own', async (algorithm) => {
    const own = generateKeyPairSync('ec', { namedCurve: algorithm === 'ES384' ? 'P-384' : 'P-521' }).privateKey;
    await expectNoDoorOpens(jwt.sign(claims, own, { algorithm, keyid: kid }));
  });
});

describe('another key than ours', () => {
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const ownJwk = { ...own.publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' };

  test('under the name of ours', () => expectNoDoorOpens(es256({}, claims, own.privateKey)));

  test.each([
    ['of nobody', 'AAAAAAAAAAAAAAAA'],
    ['empty', ''],
    ['missing', undefined],
    ['null', null],
    ['a number', 0],
    ['a list with ours in it', ['KID']],
    ['an object', { KID: 'KID' }],
    ['a path', '../../../../dev/null'],
    ['an absolute path', '/proc/sys/kernel/randomize_va_space'],
    ['an address', 'http://127.0.0.1:1/key'],
    ['SQL', `' UNION SELECT private_key FROM signing_keys --`],
    ['SQL around ours', `KID' OR '1'='1`],
    ['a pattern', '%'],
    ['ours with a space behind it', 'KID '],
    ['ours in other letters', 'kid'],
    ['ours with a NUL', 'KID\0'],
    ['a shell', '|cat /etc/passwd'],
    ['a property of every object', '__proto__'],
    ['another one', 'constructor'],
    ['longer than any', 'k'.repeat(5000)],
  ])('a kid that is %s', async (_what, given) => {
    // Whose signature it is does not matter: by that name there is no key.
    const named = typeof given === 'string' ? given.replaceAll('KID', kid).replaceAll('kid', kid.toLowerCase()) : given;
    const header = { kid: Array.isArray(named) ? [kid] : named };
    if (named === kid) throw new Error('the kid of this run has no other form');
    await expectNoDoorOpens(es256(header, claims, own.privateKey));
    await expectNoDoorOpens(es256(header, claims));
  });

  test.each([
    ['in the header', { jwk: ownJwk }],
    ['in the header, under our name', { jwk: { ...ownJwk, kid: 'KID' } }],
    ['by the address of a set', { jku: 'http://127.0.0.1:1/jwks' }],
    ['by the address of a certificate', { x5u: 'http://127.0.0.1:1/cert' }],
    ['in a certificate', { x5c: [own.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')] }],
    ['with a header that must be understood', { crit: ['jwk'], jwk: ownJwk }],
  ])('that comes along %s', async (_what, header) => {
    await expectNoDoorOpens(es256(header, claims, own.privateKey));
    await expectNoDoorOpens(es256({ ...header, kid: 'AAAAAAAAAAAAAAAA' }, claims, own.privateKey));
  });

  test('one of ours that was revoked, and the one before it under its name', async () => {
    const dropped = generateKey();
    await berth.database.query(
      'INSERT INTO signing_keys (kid, private_key, public_key, replaced_at, revoked_at) VALUES ($1, $2, $3, now(), now())',
      [dropped.kid, dropped.private_key, dropped.public_key],
    );
    await expectNoDoorOpens(es256({ kid: dropped.kid }, claims, dropped.private_key));
    await expectNoDoorOpens(es256({}, claims, dropped.private_key));
    await expectNoDoorOpens(es256({ kid: dropped.kid }, claims));
  });
});

describe('a signature that is none', () => {
  /** The order of P-256. */
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
  const hex = (value: bigint): string => value.toString(16).padStart(64, '0');
  const withSignature = (bytes: Buffer): string => {
    const [header] = partsOf(good);
    return `${header}.${base64url({ ...claims, access: everything })}.${bytes.toString('base64url')}`;
  };
  const pair = (r: bigint, s: bigint): Buffer => Buffer.from(hex(r) + hex(s), 'hex');

  // CVE-2022-21449: zero times anything is zero.
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['two zeroes', pair(0n, 0n)],
    ['a zero and a one', pair(0n, 1n)],
    ['a one and a zero', pair(1n, 0n)],
    ['two ones', pair(1n, 1n)],
    ['twice the order', pair(order, order)],
    ['the order and a one', pair(order, 1n)],
    ['all ones', Buffer.alloc(64, 0xff)],
    ['one byte', Buffer.alloc(1)],
    ['63 bytes', Buffer.alloc(63, 1)],
    ['65 bytes', Buffer.alloc(65, 1)],
    ['ten thousand bytes', Buffer.alloc(10_000, 1)],
    ['two zeroes in DER', Buffer.from('3006020100020100', 'hex')],
  ])('%s', (_what, bytes) => expectNoDoorOpens(withSignature(bytes)));

  test('of another token of the same caller', async () => {
    const [header, , signature] = partsOf(signed({ access: [], jti: randomUUID() }));
    await expectNoDoorOpens(`${header}.${partsOf(good)[1]}.${signature}`);
  });

  test('one of ours in DER, or doubled, or with another bit', async () => {
    const [header, payload, signature] = partsOf(good);
    const der = sign('sha256', Buffer.from(`${header}.${payload}`), privateKey).toString('base64url');
    await expectNoDoorOpens(`${header}.${payload}.${der}`);
    await expectNoDoorOpens(`${header}.${payload}.${signature}${signature}`);
    await expectNoDoorOpens(`${header}.${payload}.${signature}.${signature}`);
    for (const at of [0, 31, 32, 63]) {
      const bytes = Buffer.from(signature, 'base64url');
      bytes[at]! ^= 1;
      await expectNoDoorOpens(`${header}.${payload}.${bytes.toString('base64url')}`);
    }
  });

  test('the other signature that follows from one of ours says the same, and dies with it', async () => {
    const token = signed({ jti: randomUUID() });
    const [header, payload, signature] = partsOf(token);
    const bytes = Buffer.from(signature, 'base64url').toString('hex');
    const mirrored = pair(BigInt(`0x${bytes.slice(0, 64)}`), order - BigInt(`0x${bytes.slice(64)}`));
    const twin = `${header}.${payload}.${mirrored.toString('base64url')}`;
    const ask = async (path: string): Promise<number> =>
      (await sender.send(path, { headers: { Authorization: `Bearer ${twin}` } })).status;
    expect(await ask('/v2/alice/app/tags/list')).toBe(200);
    expect(await ask(`/v2/${secretRepository}/tags/list`)).toBe(404);
    await berth.database.query('UPDATE signing_keys SET revoked_at = now() WHERE kid = $1', [kid]);
    expect(await ask('/v2/alice/app/tags/list')).toBe(401);
    await berth.database.query('UPDATE signing_keys SET revoked_at = NULL WHERE kid = $1', [kid]);
  });
});

describe('claims that somebody changed, below a signature of ours', () => {
  test.each([
    ['wider access', () => ({ access: everything })],
    ['another credential', () => ({ cid: (claims['cid'] as number) + 1 })],
    ['the credential of the administrator', () => ({ cid: 2 })],
    ['another name', () => ({ sub: 'admin' })],
    ['a later end', () => ({ exp: now() + 100_000 })],
    ['nothing, in another order', () => ({})],
  ])('%s', async (_what, changes) => {
    const [header, payload, signature] = partsOf(good);
    const changed = Object.fromEntries(Object.entries({ ...claims, ...changes() }).toReversed());
    expect(base64url(changed)).not.toBe(payload);
    await expectNoDoorOpens(`${header}.${base64url(changed)}.${signature}`);
  });

  test('another header', async () => {
    const [, payload, signature] = partsOf(good);
    await expectNoDoorOpens(`${base64url({ typ: 'JWT', alg: 'ES256', kid, extra: 1 })}.${payload}.${signature}`);
  });
});

describe('claims that are not for here, or not for now, signed with our key', () => {
  test.each<[string, () => Readonly<Record<string, unknown>>]>([
    ['another audience', () => ({ aud: 'registry.example.com' })],
    ['no audience', () => ({ aud: undefined })],
    ['an audience that begins alike', () => ({ aud: 'berth.example.com' })],
    ['another issuer', () => ({ iss: 'auth.docker.io' })],
    ['no issuer', () => ({ iss: undefined })],
    ['an end that is over', () => ({ iat: now() - 1000, nbf: now() - 1000, exp: now() - 400 })],
    ['an end in 1970', () => ({ exp: 0 })],
    ['no end', () => ({ exp: undefined })],
    ['an end that is text', () => ({ exp: String(now() + 300) })],
    ['a beginning that is not yet', () => ({ nbf: now() + 400, exp: now() + 900 })],
    ['a beginning that is text', () => ({ nbf: 'tomorrow' })],
    ['a credential that is text', () => ({ cid: '1' })],
    ['a credential with a fraction', () => ({ cid: 1.5 })],
    ['a credential that is SQL', () => ({ cid: '1 OR true' })],
    ['a credential that is not there', () => ({ cid: 2_000_000_000 })],
    ['no credential', () => ({ cid: undefined })],
    ['access that is text', () => ({ access: '*' })],
    ['no access at all', () => ({ access: undefined })],
    ['access to no actions', () => ({ access: [{ type: 'repository', name: 'alice/app' }] })],
  ])('%s', (_what, changes) => expectNoDoorOpens(signed(changes())));

  test.each([['null'], ['[]'], ['"text"'], ['7'], ['{']])('claims that are %s', (text) =>
    expectNoDoorOpens(es256({}, text)),
  );
});

describe('a good token of nobody, or of somebody else, with all the access in the world', () => {
  const ask = async (token: string, path: string, method = 'GET'): Promise<number> =>
    (await sender.send(path, { method, headers: { Authorization: `Bearer ${token}` } })).status;

  test('nobody may still only pull what is public', async () => {
    const token = signed({ cid: anonymousCredentialId, sub: '', access: [...everything, ...publicAccess] });
    expect(await ask(token, '/v2/bob/public/manifests/v1')).toBe(200);
    for (const path of ['/v2/alice/app/manifests/v1', `/v2/${secretRepository}/manifests/v1`, '/v2/alice/no/tags/list'])
      expect(await ask(token, path)).toBe(401);
    for (const name of ['alice/app', 'bob/public', 'alice/new'])
      expect([401, 403]).toContain(await ask(token, `/v2/${name}/blobs/uploads/`, 'POST'));
    const catalog = await sender.send('/v2/_catalog', { headers: { Authorization: `Bearer ${token}` } });
    expect(catalog.json).toEqual({ repositories: ['bob/public'] });
    expect(await ask(token, '/api/v1/repositories/alice/app/-')).toBe(401);
  });
  const publicAccess = [{ type: 'repository', name: 'bob/public', actions: ['pull', 'push', 'delete'] }];

  test("alice may still not see what is somebody else's", async () => {
    const token = signed({ sub: 'admin', is_admin: true, admin: true, role: 4, access: everything });
    expect(await ask(token, '/v2/alice/app/manifests/v1')).toBe(200);
    expect(await ask(token, `/v2/${secretRepository}/manifests/v1`)).toBe(404);
    expect(await ask(token, `/v2/${secretRepository}/blobs/uploads/`, 'POST')).toBe(403);
    expect(await ask(token, '/v2/admin/new/blobs/uploads/', 'POST')).toBe(403);
    const catalog = await sender.send('/v2/_catalog', { headers: { Authorization: `Bearer ${token}` } });
    expect(catalog.json).toEqual({ repositories: ['alice/app', 'bob/public'] });
  });
});

describe('a token in the wrong place', () => {
  test.each(['token', 'access_token', 'bearer', 'authorization', 'jwt'])('?%s= is nothing', async (name) => {
    for (const path of ['/v2/', '/v2/alice/app/tags/list', '/v2/_catalog', '/api/v1/tokens'])
      expect((await sender.send(`${path}?${name}=${good}`)).status).toBe(401);
  });

  test.each(['X-Access-Token', 'X-Auth-Token', 'Proxy-Authorization', 'X-Registry-Auth', 'Authorization-Token'])(
    'the header %s is nothing',
    async (name) => {
      for (const path of ['/v2/', '/v2/alice/app/tags/list', '/api/v1/tokens'])
        expect((await sender.send(path, { headers: { [name]: `Bearer ${good}` } })).status).toBe(401);
    },
  );

  test('the cookie of a session, the password of an account, a refresh token: it is none of them', async () => {
    const cookie = `berth_session=${good}; __Host-berth_session=${good}; token=${good}`;
    expect((await sender.send('/api/v1/tokens', { headers: { Cookie: cookie } })).status).toBe(401);
    const basic = `Basic ${Buffer.from(`alice:${good}`).toString('base64')}`;
    for (const path of ['/v2/', '/auth/token?service=berth', '/api/v1/tokens'])
      expect((await sender.send(path, { headers: { Authorization: basic } })).status).toBe(401);
    const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: good }).toString();
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
    expect((await sender.send('/auth/token', { method: 'POST', headers, body: form })).status).toBe(401);
  });

  test('two Authorization headers are refused, whichever of them is good', async () => {
    const [right, wrong] = [`Bearer ${good}`, 'Bearer wrong'];
    for (const target of ['/v2/', '/v2/alice/app/tags/list', '/auth/token', '/api/v1/tokens', '/api/v1/nothing']) {
      for (const values of [
        [right, wrong],
        [wrong, right],
        [right, right],
      ]) {
        // prettier-ignore
        const headers = values.map((value) => ['Authorization', value] as const);
        const { status } = await rawRequest(berth.port, { target, headers });
        expect({ target, status }).toEqual({ target, status: 400 });
      }
    }
  });

  test('several schemes or tokens in one header are none', async () => {
    const headers = [`Bearer ${good}, Bearer ${good}`, `Bearer ${good} ${good}`, `Bearer Bearer ${good}`, good];
    for (const Authorization of [...headers, `Token ${good}`, `Bearer: ${good}`, `Bearer "${good}"`])
      expect((await sender.send('/v2/', { headers: { Authorization } })).status).toBe(401);
  });
});

test('a huge token costs nothing and opens nothing', async () => {
  await expectNoDoorOpens(signed({ padding: 'x'.repeat(12_500) }));
  await expectNoDoorOpens(`${'x'.repeat(20_000)}.${'y'.repeat(20_000)}.z`);
  await expectNoDoorOpens('.'.repeat(30_000));
  const tooLarge = await rawRequest(berth.port, {
    target: '/v2/',
    headers: [['Authorization', `Bearer ${'x'.repeat(200_000)}`]],
  });
  expect(tooLarge.status).toBe(431);
});

/** The answers of a change that was not made. */
const refusals = [400, 401, 403, 404, 422, 428];

test('an access token changes nothing at the API, whatever its account may do', async () => {
  const scopes = ['alice/app', 'alice', 'acme/app', 'alice/new'].map((name) => `repository:${name}:*`);
  const token = await tokenFor(berth.url, [...scopes, 'registry:catalog:*'], berth.admin);
  const facts = async (): Promise<unknown> =>
    berth.database.query(`SELECT (SELECT count(*) FROM users) AS users,
      (SELECT count(*) FROM credentials WHERE revoked_at IS NULL) AS credentials,
      (SELECT count(*) FROM namespaces) AS namespaces, (SELECT count(*) FROM teams) AS teams,
      (SELECT count(*) FROM signing_keys WHERE revoked_at IS NULL) AS keys,
      (SELECT count(*) FROM granted_roles) AS roles, (SELECT count(*) FROM invitations) AS invitations,
      (SELECT string_agg(name || visibility, ',' ORDER BY id) FROM repositories) AS repositories`);
  const before = await facts();
  const changing = (await declaredOperations(berth.url)).filter(
    ({ method, access }) => method !== 'GET' && access === 'signed-in',
  );
  expect(changing.length).toBeGreaterThan(10);
  for (const operation of changing) {
    const name = operation.template.includes('/repositories/') ? 'alice/app' : 'alice';
    const address = addressOf(operation, { path: { name, namespace: 'alice', user: 'alice', kid } });
    for (const headers of [{}, { 'If-Match': '*' }]) {
      const { status, text } = await sender.send(address, {
        method: operation.method,
        headers: { Authorization: `Bearer ${token}`, ...headers },
        body: bodyFor(operation),
      });
      expect(refusals, `${operation.id}: ${text}`).toContain(status);
    }
  }
  expect(await facts()).toEqual(before);
});
