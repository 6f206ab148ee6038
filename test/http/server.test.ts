/** HTTP itself: what RFC 9110 and 9112 ask of any server, asked on a raw socket. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';
import { basicHeader, chunked, rawBytes, rawConnection, rawRequest, type RawRequest } from '../support/raw.ts';

let berth: TestBerth;
let admin: Client;
let auth: [string, string];
let image: TestImage;
const blob = randomContent(3_000_000);
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_MANIFEST_BYTES_MAX: '65536' });
  admin = clientOf(berth.url, berth.admin);
  auth = basicHeader(berth.admin);
  image = makeImage({ layers: [blob] });
  await admin.pushImage('acme/app', 'v1', image);
});
afterAll(() => berth.stop());

const codeOf = (body: Buffer): string =>
  (JSON.parse(body.toString()) as { errors: { code: string }[] }).errors[0]!.code;
const manifestPath = '/v2/acme/app/manifests/v1';

describe('requests of unusual form', () => {
  test('an absolute target is served as if it had no host', async () => {
    for (const target of [`http://berth.test${manifestPath}`, `HTTPS://other.test:5000${manifestPath}`]) {
      const answer = await rawRequest(berth.port, { target, headers: [auth] });
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual(image.bytes);
    }
    const bare = await rawRequest(berth.port, { target: 'http://berth.test?x' });
    expect(bare.status).toBe(404);
  });

  test('HTTP/1.0 without Host: the challenge names the address that was reached', async () => {
    const answer = await rawRequest(berth.port, { target: '/v2/', version: '1.0' });
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe(
      `Bearer realm="http://127.0.0.1:${berth.port}/auth/token",service="berth"`,
    );
    expect(answer.headers['connection']).toBe('close');
  });

  test('a Host that is none does not get into the challenge', async () => {
    const answer = await rawRequest(berth.port, { target: '/v2/', headers: [['Host', 'evil",scope="x']] });
    expect(answer.headers['www-authenticate']).toBe(
      `Bearer realm="http://127.0.0.1:${berth.port}/auth/token",service="berth"`,
    );
  });

  test('HTTP/1.1 without Host is refused', async () => {
    await using connection = await rawConnection(berth.port);
    await connection.send('GET /v2/ HTTP/1.1\r\n\r\n');
    expect((await connection.answer()).status).toBe(400);
  });

  test('two Hosts are refused', async () => {
    const headers = [
      ['Host', 'one.test'],
      ['Host', 'two.test'],
    ] as const;
    expect((await rawRequest(berth.port, { target: '/v2/', headers })).status).toBe(400);
  });

  test.each([
    [
      'websocket',
      [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'websocket'],
      ] as const,
    ],
    [
      'HTTP/2',
      [
        ['Connection', 'Upgrade, HTTP2-Settings'],
        ['Upgrade', 'h2c'],
        ['HTTP2-Settings', 'AAMAAABkAAQAAP__'],
      ] as const,
    ],
  ])('an offer to upgrade to %s is not taken up, and the request answered', async (_what, headers) => {
    const answer = await rawRequest(berth.port, { target: manifestPath, headers: [auth, ...headers] });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(image.bytes);
  });

  test('CONNECT is no way through', async () => {
    await using connection = await rawConnection(berth.port);
    await connection.send(rawBytes({ method: 'CONNECT', target: '127.0.0.1:22' }));
    expect((await connection.closed()).toString()).not.toMatch(/^HTTP\/1\.1 2/);
  });

  test('a method that the address does not take: 405, and Allow says which it does', async () => {
    const cases: readonly [target: string, allow: string][] = [
      ['/v2/', 'GET, HEAD'],
      ['/v2/_catalog', 'GET, HEAD'],
      ['/v2/acme/app/tags/list', 'GET, HEAD'],
      [`/v2/acme/app/referrers/${image.digest}`, 'GET, HEAD'],
      ['/v2/acme/app/blobs/uploads/', 'POST'],
      ['/v2/acme/app/blobs/uploads/some-id', 'GET, HEAD, PATCH, PUT, DELETE'],
      [`/v2/acme/app/blobs/${blob.digest}`, 'GET, HEAD, DELETE'],
      [manifestPath, 'GET, HEAD, PUT, DELETE'],
    ];
    for (const [target, allow] of cases) {
      const answer = await rawRequest(berth.port, { method: 'PROPFIND', target, headers: [auth] });
      expect({ target, status: answer.status, allow: answer.headers['allow'] }).toEqual({ target, status: 405, allow });
      expect(codeOf(answer.body)).toBe('UNSUPPORTED');
    }
  });

  test('a method that HTTP does not know: 400', async () => {
    const answer = await rawRequest(berth.port, { method: 'FOO', target: '/v2/', headers: [auth] });
    expect(answer.status).toBe(400);
    expect(codeOf(answer.body)).toBe('UNSUPPORTED');
  });

  test('a method whose name is a property of every object is just as unknown', async () => {
    const answer = await rawRequest(berth.port, { method: 'constructor', target: '/v2/', headers: [auth] });
    expect(answer.status).toBe(400);
  });
});

describe('Expect: 100-continue', () => {
  const { bytes, digest } = randomContent(100_000);
  const upload = `/v2/acme/app/blobs/uploads/?digest=${digest}`;
  const expecting = [
    ['Expect', '100-continue'],
    ['Content-Length', String(bytes.length)],
  ] as const;

  test('the body is invited once it is wanted, and the connection goes on', async () => {
    await using connection = await rawConnection(berth.port);
    for (const [method, target, body, status] of [
      ['POST', upload, bytes, 201],
      ['PUT', manifestPath, image.bytes, 201],
    ] as const) {
      const headers = [auth, expecting[0], ['Content-Length', String(body.length)] as const];
      await connection.send(rawBytes({ method, target, headers }));
      expect((await connection.answer()).status).toBe(100);
      await connection.send(body);
      const answer = await connection.answer();
      expect(answer.status).toBe(status);
      expect(answer.headers['connection']).not.toBe('close');
    }
  });

  test.each([
    ['nobody', 401, 'POST', upload, false],
    ['a name that cannot be one', 400, 'POST', '/v2/ACME/blobs/uploads/', true],
    ['a manifest that is too large', 413, 'PUT', manifestPath, true],
    ['an address that is none', 404, 'PUT', '/v2/nothing', true],
  ] as const)('%s is refused without it, and the connection ends', async (_what, status, method, target, signedIn) => {
    await using connection = await rawConnection(berth.port);
    await connection.send(rawBytes({ method, target, headers: [...expecting, ...(signedIn ? [auth] : [])] }));
    const answer = await connection.answer();
    expect(answer).toMatchObject({ status, headers: { connection: 'close' } });
    expect(await connection.closed()).toHaveLength(0);
  });

  test('the token end-point invites too', async () => {
    const { username, password } = berth.admin;
    const body = new URLSearchParams({ grant_type: 'password', username, password }).toString();
    await using connection = await rawConnection(berth.port);
    const headers = [
      ['Content-Type', 'application/x-www-form-urlencoded'],
      ['Content-Length', String(body.length)],
      ['Expect', '100-continue'],
    ] as const;
    await connection.send(rawBytes({ method: 'POST', target: '/auth/token', headers }));
    expect((await connection.answer()).status).toBe(100);
    await connection.send(body);
    expect((await connection.answer()).status).toBe(200);
  });

  test('another expectation is not met: 417', async () => {
    const answer = await rawRequest(berth.port, { target: '/v2/', headers: [auth, ['Expect', 'tea']] });
    expect(answer.status).toBe(417);
  });
});

describe('HEAD', () => {
  test('has no body, whatever the answer is', async () => {
    const targets: readonly [string, boolean, number][] = [
      ['/v2/', true, 200],
      ['/v2/', false, 401],
      [manifestPath, true, 200],
      [manifestPath, false, 401],
      ['/v2/acme/app/manifests/none', true, 404],
      [`/v2/acme/app/blobs/${blob.digest}`, true, 200],
      [`/v2/acme/app/blobs/sha256:${'0'.repeat(64)}`, true, 404],
      ['/v2/acme/app/tags/list', true, 200],
      ['/v2/_catalog', true, 200],
      [`/v2/acme/app/referrers/${image.digest}`, true, 200],
      ['/v2/ACME/manifests/v1', true, 400],
      ['/v2/acme/app/blobs/uploads/', true, 405],
      ['/v2/nothing', true, 404],
      ['/healthz', false, 200],
      ['/nothing', false, 404],
    ];
    // On one connection: a body would be taken for the beginning of the next answer.
    await using connection = await rawConnection(berth.port);
    for (const [target, signedIn, status] of targets) {
      await connection.send(rawBytes({ method: 'HEAD', target, headers: signedIn ? [auth] : [] }));
      const answer = await connection.answer({ method: 'HEAD' });
      expect({ target, status: answer.status }).toEqual({ target, status });
    }
    await connection.send(rawBytes({ target: '/healthz', headers: [['Connection', 'close']] }));
    expect((await connection.answer()).body.toString()).toBe('ok\n');
    expect(await connection.closed()).toHaveLength(0);
  });

  test('announces the length that GET has', async () => {
    for (const target of [manifestPath, `/v2/acme/app/blobs/${blob.digest}`, '/v2/acme/app/tags/list']) {
      const head = await rawRequest(berth.port, { method: 'HEAD', target, headers: [auth] });
      const get = await rawRequest(berth.port, { target, headers: [auth] });
      expect(head.headers['content-length']).toBe(String(get.body.length));
    }
  });
});

describe('pipelined requests', () => {
  test('are answered in their order, each with its own bytes', async () => {
    const other = randomContent(3_000_000);
    await admin.pushBlob('acme/app', other);
    const targets = [blob, image.config, other, blob].map(({ digest, bytes }) => ({ digest, bytes }));
    await using connection = await rawConnection(berth.port);
    await connection.send(
      Buffer.concat(targets.map(({ digest }) => rawBytes({ target: `/v2/acme/app/blobs/${digest}`, headers: [auth] }))),
    );
    for (const { bytes } of targets) {
      const answer = await connection.answer();
      expect(answer.status).toBe(200);
      expect(answer.body.equals(bytes)).toBe(true);
    }
  });

  test('a body that was refused is not taken for the next request', async () => {
    const inner = rawBytes({ method: 'DELETE', target: manifestPath, headers: [auth] });
    const post: RawRequest = {
      method: 'POST',
      target: '/v2/acme/app/blobs/uploads/?digest=nonsense',
      headers: [auth, ['Content-Length', String(inner.length)]],
      body: inner,
    };
    await using connection = await rawConnection(berth.port);
    await connection.send(Buffer.concat([rawBytes(post), rawBytes({ target: manifestPath, headers: [auth] })]));
    expect((await connection.answer()).status).toBe(400);
    expect((await connection.answer()).status).toBe(200);
  });

  test('nonsense behind a request does not disturb its answer', async () => {
    await using connection = await rawConnection(berth.port);
    const get = rawBytes({ target: `/v2/acme/app/blobs/${blob.digest}`, headers: [auth] });
    await connection.send(Buffer.concat([get, Buffer.from('nonsense\r\n\r\n')]));
    const answer = await connection.answer();
    expect(answer.status).toBe(200);
    expect(answer.body.equals(blob.bytes)).toBe(true);
    expect((await connection.answer()).status).toBe(400);
    expect(await connection.closed()).toHaveLength(0);
  });
});

/** A client that reads nothing before it has sent everything. */
async function sendAllThenRead(request: RawRequest): Promise<{ status: number; next: number }> {
  await using connection = await rawConnection(berth.port);
  connection.socket.pause();
  await connection.send(rawBytes(request));
  connection.socket.resume();
  const { status } = await connection.answer();
  // The connection is as good as before.
  await connection.send(rawBytes({ target: manifestPath, headers: [auth] }));
  return { status, next: (await connection.answer()).status };
}

describe('a large body that is refused reaches its end, and its sender the answer', () => {
  const bytes = Buffer.alloc(20_000_000, 'x');
  const whole = [['Content-Length', String(bytes.length)]] as const;
  const pieces = [['Transfer-Encoding', 'chunked']] as const;
  const digest = `sha256:${'0'.repeat(64)}`;
  const upload = `/v2/acme/app/blobs/uploads/?digest=${digest}`;
  test.each([
    ['without credentials', 401, 'POST', upload, false, whole],
    ['without credentials, in chunks', 401, 'POST', upload, false, pieces],
    ['to a name that cannot be one', 400, 'POST', '/v2/ACME/blobs/uploads/', true, whole],
    ['a manifest that is too large', 413, 'PUT', manifestPath, true, whole],
    ['a manifest that is too large, in chunks', 413, 'PUT', manifestPath, true, pieces],
    ['a blob with another digest', 400, 'POST', upload, true, whole],
    ['a chunk for an upload that is not there', 404, 'PATCH', '/v2/acme/app/blobs/uploads/x', true, pieces],
    ['to an address that is none', 404, 'PUT', '/v2/nothing', true, pieces],
    ['a change of settings', 413, 'PATCH', '/api/v1/repositories/acme/app/-', true, whole],
    ['a change of settings, in chunks', 413, 'PATCH', '/api/v1/repositories/acme/app/-', true, pieces],
  ] as const)('%s', async (_what, status, method, target, signedIn, length) => {
    const json = target.startsWith('/api') ? [['Content-Type', 'application/json'] as const] : [];
    const answer = await sendAllThenRead({
      method,
      target,
      headers: [...length, ...json, ...(signedIn ? [auth] : [])],
      body: length === pieces ? chunked(bytes) : bytes,
    });
    expect(answer).toEqual({ status, next: 200 });
  });
});

describe('HTTPS', () => {
  let folder: string;
  let secure: TestBerth;
  let ca: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'berth-tls-'));
    const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
    const selfSigned = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
    const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    await promisify(execFile)('openssl', [...selfSigned.split(' '), ...names, '-keyout', key, '-out', cert]);
    ca = await readFile(cert, 'utf8');
    secure = await startTestBerth({ BERTH_TLS_CERT: cert, BERTH_TLS_KEY: key });
  });
  afterAll(async () => {
    await secure.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function get(target: string, headers: Record<string, string> = {}) {
    const request = httpsRequest({ host: '127.0.0.1', port: secure.port, path: target, ca, headers, agent: false });
    request.end();
    const [answer] = (await once(request, 'response')) as [import('node:http').IncomingMessage];
    return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
  }

  test('the challenge sends clients to https, and the token from there does', async () => {
    const challenged = await get('/v2/');
    expect(challenged.status).toBe(401);
    expect(challenged.headers['www-authenticate']).toBe(
      `Bearer realm="https://127.0.0.1:${secure.port}/auth/token",service="berth"`,
    );
    const [, basic] = basicHeader(secure.admin);
    const { token } = JSON.parse((await get('/auth/token?service=berth', { authorization: basic })).body) as {
      token: string;
    };
    expect(await get('/v2/', { authorization: `Bearer ${token}` })).toMatchObject({ status: 200, body: '{}' });
  });

  test('plain HTTP on that port gets no answer, and does no harm', async () => {
    await using connection = await rawConnection(secure.port);
    await connection.send(rawBytes({ target: '/v2/' }));
    expect((await connection.closed()).toString()).not.toMatch(/^HTTP\/1\.1 [2-4]/);
    expect((await get('/healthz')).status).toBe(200);
  });
});
