/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#api : what every answer says about itself. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Response } from 'supertest';
import { digestOf } from '../../src/oci/digest.ts';
import { expectErrors } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage, makeIndex, randomContent, type TestImage } from '../support/images.ts';
import { openUpload, sendChunk } from '../support/uploads.ts';

const name = 'acme/headers';
let berth: TestBerth;
let admin: Client;
let image: TestImage;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
  image = makeImage();
  await admin.pushImage(name, 'v1', image);
});
afterAll(() => berth.stop());

describe('Determining Support', () => {
  test('GET /v2/ is 200 for a known caller', async () => {
    const token = await tokenFor(berth.url, []);
    for (const path of ['/v2/', '/v2']) {
      expect((await admin.request('get', path)).status).toBe(200);
      expect((await admin.request('head', path)).status).toBe(200);
      expect((await clientOf(berth.url).request('get', path).auth(token, { type: 'bearer' })).status).toBe(200);
    }
  });

  test('without credentials it is 401 with a quoted Bearer challenge, and still says that this is a registry', async () => {
    const answer = await clientOf(berth.url).request('get', '/v2/');
    expectErrors(answer, 401, 'UNAUTHORIZED');
    expect(answer.headers['www-authenticate']).toBe(`Bearer realm="${berth.url}/auth/token",service="berth"`);
    expect(answer.headers['docker-distribution-api-version']).toBe('registry/2.0');
  });
});

/** One answer of each kind: route, method, status. */
const answers: [what: string, status: number, ask: () => PromiseLike<Response>][] = [
  ['the base', 200, () => admin.request('get', '/v2/')],
  ['no credentials', 401, () => clientOf(berth.url).request('get', `/v2/${name}/tags/list`)],
  ['a manifest', 200, () => admin.request('get', `/v2/${name}/manifests/v1`)],
  ['a manifest, by HEAD', 200, () => admin.request('head', `/v2/${name}/manifests/v1`)],
  ['no manifest', 404, () => admin.request('get', `/v2/${name}/manifests/none`)],
  ['a blob', 200, () => admin.request('get', `/v2/${name}/blobs/${image.config.digest}`)],
  ['a part', 206, () => admin.request('get', `/v2/${name}/blobs/${image.config.digest}`).set('Range', 'bytes=0-1')],
  [
    'what the client has',
    304,
    () => admin.request('get', `/v2/${name}/manifests/v1`).set('If-None-Match', `"${image.digest}"`),
  ],
  ['tags', 200, () => admin.request('get', `/v2/${name}/tags/list`)],
  ['referrers', 200, () => admin.request('get', `/v2/${name}/referrers/${image.digest}`)],
  ['the catalog', 200, () => admin.request('get', '/v2/_catalog')],
  ['a session', 202, () => admin.request('post', `/v2/${name}/blobs/uploads/`)],
  [
    'a mount',
    201,
    () => admin.request('post', `/v2/acme/mounts/blobs/uploads/?mount=${image.config.digest}&from=${name}`),
  ],
  ['a wrong name', 400, () => admin.request('get', '/v2/NO/tags/list')],
  ['an unknown route', 404, () => admin.request('get', '/v2/no/such/route')],
  ['a wrong method', 405, () => admin.request('post', `/v2/${name}/tags/list`)],
  ['a deletion of nothing', 404, () => admin.request('delete', `/v2/${name}/blobs/${digestOf('nothing')}`)],
];

describe.each(answers)('Endpoints: %s', (_, status, ask) => {
  test(`${status} says what it speaks, has an id that the log knows, and no parameters in its type`, async () => {
    const answer = await ask();
    expect(answer.status).toBe(status);
    expect(answer.headers['docker-distribution-api-version']).toBe('registry/2.0');
    expect(answer.headers['content-type'] ?? '').not.toContain(';');
    const requestId = answer.headers['x-request-id'];
    expect(requestId).toMatch(/^[0-9a-f-]{36}$/);
    const lines = berth.logs.filter((line) => line['requestId'] === requestId);
    expect(lines).toEqual([expect.objectContaining({ status, method: expect.any(String), url: expect.any(String) })]);
  });
});

describe('Endpoints', () => {
  test.each([
    '/v2/x',
    '/v2/_catalog/x',
    '/v2/manifests/v1',
    `/v2/${name}`,
    `/v2/${name}/`,
    `/v2/${name}/tags`,
    `/v2/${name}/tags/list/`,
    `/v2/${name}/manifest/v1`,
    `/v2/${name}/uploads/x`,
    '/v2//',
  ])('an address that the spec does not know is 404: %s', async (path) => {
    expectErrors(await admin.request('get', path), 404, 'UNSUPPORTED');
  });

  test.each([
    ['/v2/', 'post', 'GET, HEAD'],
    ['/v2/_catalog', 'delete', 'GET, HEAD'],
    [`/v2/${name}/tags/list`, 'put', 'GET, HEAD'],
    [`/v2/${name}/referrers/${digestOf('x')}`, 'post', 'GET, HEAD'],
    [`/v2/${name}/manifests/v1`, 'patch', 'GET, HEAD, PUT, DELETE'],
    [`/v2/${name}/blobs/${digestOf('x')}`, 'put', 'GET, HEAD, DELETE'],
    [`/v2/${name}/blobs/uploads/`, 'get', 'POST'],
    [`/v2/${name}/blobs/uploads/00000000-0000-0000-0000-000000000000`, 'post', 'GET, HEAD, PATCH, PUT, DELETE'],
  ] as const)(
    'a method that an address does not take is 405 with those that it takes: %s',
    async (path, method, allow) => {
      const answer = await admin.request(method, path);
      expectErrors(answer, 405, 'UNSUPPORTED');
      expect(answer.headers['allow']).toBe(allow);
    },
  );

  test('Docker-Content-Digest stands where there is content, and nowhere else', async () => {
    const blob = `/v2/${name}/blobs/${image.config.digest}`;
    const digests = async (...asked: PromiseLike<Response>[]) =>
      (await Promise.all(asked)).map((answer) => answer.headers['docker-content-digest']);
    const tag = `/v2/${name}/manifests/v1`;
    expect(await digests(admin.request('get', tag), admin.request('head', tag))).toEqual([image.digest, image.digest]);
    expect(await digests(admin.request('get', blob), admin.request('get', blob).set('Range', 'bytes=0-0'))).toEqual([
      image.config.digest,
      image.config.digest,
    ]);
    const without = [
      admin.request('get', `/v2/${name}/tags/list`),
      admin.request('get', `/v2/${name}/referrers/${image.digest}`),
      admin.request('get', `/v2/${name}/manifests/none`),
      admin.request('post', `/v2/${name}/blobs/uploads/`),
      admin.request('get', '/v2/'),
    ];
    expect(await digests(...without)).toEqual(without.map(() => undefined));
  });
});

describe('Location and Link', () => {
  /** Every address that a push and a listing answer, by what gave it. */
  async function addressesOf(url: string, headers: Record<string, string> = {}): Promise<Record<string, string>> {
    const client = clientOf(url, berth.admin);
    const [blob, session] = [randomContent(), await openUpload(client, name)];
    const pushed = makeImage({ layers: [] });
    await client.pushBlob(name, pushed.config);
    const addresses: Record<string, string> = {};
    const step = async (what: string, header: string, request: ReturnType<Client['request']>): Promise<void> => {
      const answer = await request.set(headers);
      addresses[what] = answer.headers[header] ?? 'none';
    };
    await step('post', 'location', client.request('post', `/v2/${name}/blobs/uploads/`));
    await step('patch', 'location', sendChunk(client, session, blob.bytes));
    await step('status', 'location', client.request('get', session));
    await step('disorder', 'location', sendChunk(client, session, blob.bytes, 1));
    await step('put', 'location', client.request('put', `${session}?digest=${blob.digest}`));
    const putManifest = client.request('put', `/v2/${name}/manifests/v1`).set('Content-Type', pushed.mediaType);
    await step('manifest', 'location', putManifest.send(pushed.bytes.toString()));
    const second = makeIndex([]);
    await client.pushManifest(name, 'v2', second);
    await step('tags', 'link', client.request('get', `/v2/${name}/tags/list?n=1`));
    const realm = /realm="([^"]*)"/.exec(
      (await clientOf(url).request('get', '/v2/').set(headers)).headers['www-authenticate']!,
    );
    return { ...addresses, realm: realm![1]! };
  }

  /** What all of these begin with. */
  function expectOrigin(addresses: Record<string, string>, origin: string, realm: string): void {
    const { realm: actual, tags, ...locations } = addresses;
    expect(Object.keys(locations)).toEqual(['post', 'patch', 'status', 'disorder', 'put', 'manifest']);
    for (const [what, address] of Object.entries(locations))
      expect(address.slice(0, `${origin}/v2/`.length), what).toBe(`${origin}/v2/`);
    expect(tags).toBe(`<${origin}/v2/${name}/tags/list?n=1&last=v1>; rel="next"`);
    expect(actual).toBe(`${realm}/auth/token`);
  }

  const forwarded = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'registry.example.com' };

  test('are relative by default, whatever a client says about where it came from', async () => {
    expectOrigin(await addressesOf(berth.url), '', berth.url);
    expectOrigin(await addressesOf(berth.url, forwarded), '', berth.url);
    expectOrigin(await addressesOf(berth.url, { Forwarded: 'proto=https;host=x.example' }), '', berth.url);
  });

  test('begin with BERTH_PUBLIC_URL where it is set, whatever a proxy says', async () => {
    const origin = 'https://hub.example.com:8443';
    const other = await startTestBerth({ BERTH_PUBLIC_URL: `${origin}/`, BERTH_TRUSTED_PROXIES: '127.0.0.0/8' });
    try {
      expectOrigin(await addressesOf(other.url), origin, origin);
      expectOrigin(await addressesOf(other.url, forwarded), origin, origin);
    } finally {
      await other.stop();
    }
  });

  describe('behind a trusted proxy', () => {
    let other: TestBerth;
    beforeAll(async () => {
      other = await startTestBerth({ BERTH_TRUSTED_PROXIES: '127.0.0.0/8' });
    });
    afterAll(() => other.stop());

    test('begin with what it says', async () => {
      const origin = 'https://registry.example.com';
      expectOrigin(await addressesOf(other.url, forwarded), origin, origin);
    });

    test('begin with the first of several proxies, and with the Host where only the protocol is told', async () => {
      const several = { 'X-Forwarded-Proto': 'https, http', 'X-Forwarded-Host': 'outer.example:8443, inner' };
      expectOrigin(await addressesOf(other.url, several), 'https://outer.example:8443', 'https://outer.example:8443');
      const only = await addressesOf(other.url, { 'X-Forwarded-Proto': 'https' });
      expectOrigin(only, `https://${other.host}`, `https://${other.host}`);
    });

    test.each([
      ['a protocol that is none', { 'X-Forwarded-Proto': 'gopher', 'X-Forwarded-Host': 'registry.example.com' }],
      ['a host with a path', { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'registry.example.com/path' }],
      ['a host with a quote', { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'a"b' }],
      ['only a host', { 'X-Forwarded-Host': 'registry.example.com' }],
    ])('are relative where it says nothing that can be used: %s', async (_, headers) => {
      expectOrigin(await addressesOf(other.url, headers), '', other.url);
    });

    test('the log names the client that the proxy names, not what the client wrote itself', async () => {
      const answer = await clientOf(other.url, other.admin)
        .request('get', '/v2/')
        .set('X-Forwarded-For', '203.0.113.9, 198.51.100.7, 127.0.0.5');
      const line = other.logs.find((each) => each['requestId'] === answer.headers['x-request-id']);
      expect(line?.['client']).toBe('198.51.100.7');
    });
  });

  test('without a trusted proxy the log names the address of the connection', async () => {
    const answer = await admin.request('get', '/v2/').set('X-Forwarded-For', '203.0.113.9');
    const line = berth.logs.find((each) => each['requestId'] === answer.headers['x-request-id']);
    expect(line?.['client']).toBe('127.0.0.1');
  });
});
