/** Everything that comes in has a limit, and who meets one hears which. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { content, makeImage, randomContent, type TestImage } from '../support/images.ts';
import { basicHeader, chunked, rawBytes, rawConnection, rawRequest, type RawAnswer } from '../support/raw.ts';
import { openFiles, storedFiles, tracesOf } from '../support/traces.ts';

const MIB = 1024 * 1024;
const limits = {
  headerBytes: 16_384,
  manifestBytes: 65_536,
  manifestDepth: 8,
  references: 128,
  tags: 10,
  blobBytes: MIB,
  uploads: 3,
  page: 4,
  bodyBytes: 1024,
};

let berth: TestBerth;
let admin: Client;
let auth: [string, string];
let image: TestImage;
beforeAll(async () => {
  berth = await startTestBerth({
    BERTH_HEADER_BYTES_MAX: String(limits.headerBytes),
    BERTH_MANIFEST_BYTES_MAX: String(limits.manifestBytes),
    BERTH_MANIFEST_DEPTH_MAX: String(limits.manifestDepth),
    BERTH_MANIFEST_REFERENCES_MAX: String(limits.references),
    BERTH_TAGS_PER_PUSH_MAX: String(limits.tags),
    BERTH_BLOB_BYTES_MAX: String(limits.blobBytes),
    BERTH_UPLOADS_PER_ACCOUNT_MAX: String(limits.uploads),
    BERTH_PAGE_SIZE_MAX: String(limits.page),
    BERTH_REQUEST_BODY_BYTES_MAX: String(limits.bodyBytes),
  });
  admin = clientOf(berth.url, berth.admin);
  auth = basicHeader(berth.admin);
  image = makeImage();
  await admin.pushImage('acme/app', 'v1', image);
});
afterAll(() => berth.stop());

interface ErrorBody {
  readonly errors: readonly { readonly code: string; readonly message: string; readonly detail?: unknown }[];
}

const errorOf = (answer: { body: unknown }): ErrorBody['errors'][number] => {
  const body = Buffer.isBuffer(answer.body) ? (JSON.parse(answer.body.toString()) as ErrorBody) : answer.body;
  return (body as ErrorBody).errors[0]!;
};

describe('headers', () => {
  const tooLarge = { code: 'UNSUPPORTED', message: 'the headers of the request are larger than this registry accepts' };

  test.each([
    ['one long header', [['X-Long', 'x'.repeat(limits.headerBytes)] as const]],
    ['many headers', Array.from({ length: 1500 }, (_, i) => [`X-Header-${i}`, 'x'] as const)],
    ['a header that goes on for megabytes', [['X-Long', 'x'.repeat(5 * MIB)] as const]],
  ])('%s: 431, and the connection ends', async (_what, headers) => {
    await using connection = await rawConnection(berth.port);
    // The server stops reading somewhere in the middle.
    const sent = connection.send(rawBytes({ target: '/v2/', headers })).catch(() => undefined);
    const answer = await connection.answer();
    expect(answer).toMatchObject({ status: 431, headers: { connection: 'close' } });
    expect(errorOf(answer)).toEqual(tooLarge);
    await connection.closed();
    connection.socket.destroy();
    await sent;
  });

  test('an address longer than all headers may be: 431', async () => {
    const answer = await rawRequest(berth.port, { target: `/v2/${'a'.repeat(limits.headerBytes)}/tags/list` });
    expect(answer.status).toBe(431);
    expect(errorOf(answer)).toEqual(tooLarge);
  });

  test('an address that is merely long is read, and its name refused in a short answer', async () => {
    const answer = await rawRequest(berth.port, {
      target: `/v2/${'a'.repeat(limits.headerBytes / 2)}/tags/list`,
      headers: [auth],
    });
    expect(answer.status).toBe(400);
    expect(errorOf(answer).code).toBe('NAME_INVALID');
    expect(answer.body.length).toBeLessThan(1000);
  });

  test('however many headers there are, none is lost: they are read, or the request is refused', async () => {
    for (const count of [500, 990, 1000, 1010, 1990, 2000, 2010, 3000]) {
      const many = Array.from({ length: count }, () => ['a', ''] as const);
      const answer = await rawRequest(berth.port, { target: '/v2/', headers: [...many, auth] });
      expect([200, 431], `${count} headers`).toContain(answer.status);
    }
  });
});

describe('manifests', () => {
  const put = (bytes: Buffer, headers: readonly (readonly [string, string])[]): Promise<RawAnswer> =>
    rawRequest(berth.port, {
      method: 'PUT',
      target: '/v2/acme/app/manifests/big',
      headers: [auth, ...headers],
      body: bytes,
    });
  /** The image's manifest, filled up to a length. */
  const ofLength = (length: number): Buffer =>
    Buffer.concat([image.bytes, Buffer.alloc(length - image.bytes.length, ' ')]);

  test('of the largest size does, in chunks too', async () => {
    const bytes = ofLength(limits.manifestBytes);
    expect((await put(bytes, [['Content-Length', String(bytes.length)]])).status).toBe(201);
    expect((await put(chunked(bytes), [['Transfer-Encoding', 'chunked']])).status).toBe(201);
  });

  test('one byte larger: 413, and nothing has changed', async () => {
    const before = await tracesOf(berth);
    const bytes = ofLength(limits.manifestBytes + 1);
    for (const answer of [
      await put(bytes, [['Content-Length', String(bytes.length)]]),
      await put(chunked(bytes), [['Transfer-Encoding', 'chunked']]),
    ]) {
      expect(answer.status).toBe(413);
      expect(errorOf(answer)).toEqual({
        code: 'SIZE_INVALID',
        message: `the body is larger than the ${limits.manifestBytes} bytes that this registry takes`,
        detail: { limitBytes: limits.manifestBytes },
      });
    }
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('nested as deep as allowed does, one deeper does not', async () => {
    const nested = (depth: number): Buffer => {
      const inner = `${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}`;
      return Buffer.from(image.bytes.toString().replace('{', `{"x":${inner},`));
    };
    const send = (bytes: Buffer) => put(bytes, [['Content-Length', String(bytes.length)]]);
    expect((await send(nested(limits.manifestDepth))).status).toBe(201);
    const answer = await send(nested(limits.manifestDepth + 1));
    expect(answer.status).toBe(400);
    expect(errorOf(answer).message).toMatch(/more than 8 nested objects and arrays/);
  });

  test('naming as many contents as allowed does, one more does not', async () => {
    const layer = randomContent(8);
    await admin.pushBlob('acme/app', layer);
    const config = content('{}');
    await admin.pushBlob('acme/app', config);
    const naming = (count: number) => ({ ...makeImage({ layers: Array.from({ length: count - 1 }, () => layer) }) });
    const push = (count: number) => {
      const manifest = JSON.parse(naming(count).bytes.toString()) as Record<string, unknown>;
      manifest['config'] = { mediaType: 'application/vnd.oci.image.config.v1+json', size: 2, digest: config.digest };
      const bytes = Buffer.from(JSON.stringify(manifest));
      return put(bytes, [['Content-Length', String(bytes.length)]]);
    };
    expect((await push(limits.references)).status).toBe(201);
    const answer = await push(limits.references + 1);
    expect(answer.status).toBe(400);
    expect(errorOf(answer)).toMatchObject({
      code: 'MANIFEST_INVALID',
      message: `the manifest names ${limits.references + 1} contents, this registry takes ${limits.references}`,
    });
  });

  test('as many tags as allowed in one push do, one more does not', async () => {
    const push = (count: number) => {
      const tags = Array.from({ length: count }, (_, i) => `tag=t${i}`).join('&');
      return admin
        .request('put', `/v2/acme/app/manifests/${image.digest}?${tags}`)
        .set('Content-Type', image.mediaType)
        .send(image.bytes.toString());
    };
    expect((await push(limits.tags)).status).toBe(201);
    const before = await tracesOf(berth);
    const answer = await push(limits.tags + 1);
    expect(answer.status).toBe(400);
    expect(errorOf(answer)).toEqual({ code: 'UNSUPPORTED', message: '11 tags in one push; this registry takes 10' });
    expect(await tracesOf(berth)).toEqual(before);
  });
});

describe('blobs', () => {
  const tooLarge = {
    code: 'SIZE_INVALID',
    message: 'the blob is larger than this registry accepts',
    detail: { limitBytes: limits.blobBytes },
  };
  const whole = (bytes: Buffer) => ({ headers: [['Content-Length', String(bytes.length)]] as const, body: bytes });
  const pieces = (bytes: Buffer) => ({ headers: [['Transfer-Encoding', 'chunked']] as const, body: chunked(bytes) });

  test.each([
    ['announced', whole],
    ['in chunks', pieces],
  ])('the largest blob does, one byte more does not, %s', async (_what, framed) => {
    const post = async (size: number): Promise<RawAnswer> => {
      const { bytes, digest } = randomContent(size);
      const { headers, body } = framed(bytes);
      return rawRequest(berth.port, {
        method: 'POST',
        target: `/v2/acme/app/blobs/uploads/?digest=${digest}`,
        headers: [auth, ...headers],
        body,
      });
    };
    expect((await post(limits.blobBytes)).status).toBe(201);
    const before = await tracesOf(berth);
    const answer = await post(limits.blobBytes + 1);
    expect(answer.status).toBe(413);
    expect(errorOf(answer)).toEqual(tooLarge);
    expect(await tracesOf(berth)).toEqual(before);
    expect(await openFiles(berth)).toEqual([]);
  });

  test.each([
    ['announced', whole],
    ['in chunks', pieces],
  ])('a chunk too many is refused to its sender, and the session stays as it was, %s', async (_what, framed) => {
    const blob = randomContent(limits.blobBytes);
    const opened = await admin.request('post', '/v2/acme/app/blobs/uploads/');
    const path = new URL(opened.headers['location'] as string, berth.url).pathname;
    const send = async (method: string, target: string, bytes: Buffer): Promise<RawAnswer> => {
      const { headers, body } = framed(bytes);
      return rawRequest(berth.port, { method, target, headers: [auth, ...headers], body });
    };
    expect((await send('PATCH', path, blob.bytes.subarray(0, 1000))).status).toBe(202);
    const { rows, files } = await tracesOf(berth);

    // Far more than the sockets hold on the way: the sender must be heard out to get its answer.
    const tooMuch = Buffer.alloc(16 * MIB);
    for (const [method, target] of [
      ['PATCH', path],
      ['PUT', `${path}?digest=${digestOf(tooMuch)}`],
    ] as const) {
      await using connection = await rawConnection(berth.port);
      connection.socket.pause();
      const { headers, body } = framed(tooMuch);
      await connection.send(rawBytes({ method, target, headers: [auth, ...headers], body }));
      connection.socket.resume();
      const answer = await connection.answer();
      expect(answer.status).toBe(413);
      expect(errorOf(answer)).toEqual(tooLarge);
      expect((await tracesOf(berth)).rows).toEqual(rows);
      expect(Object.keys(await storedFiles(berth))).toEqual(Object.keys(files));
      expect(await openFiles(berth)).toEqual([]);
    }

    expect((await send('PUT', `${path}?digest=${blob.digest}`, blob.bytes.subarray(1000))).status).toBe(201);
  });
});

describe('uploads of one account', () => {
  test('no more than allowed are open at once; finishing or cancelling makes room', async () => {
    const login = await berth.addUser('busy');
    const client = clientOf(berth.url, login);
    const open = () => client.request('post', '/v2/busy/app/blobs/uploads/');
    const paths: string[] = [];
    for (let i = 0; i < limits.uploads; i += 1) {
      const answer = await open();
      expect(answer.status).toBe(202);
      paths.push(new URL(answer.headers['location'] as string, berth.url).pathname);
    }
    const refused = await open();
    expect(refused.status).toBe(429);
    expect(refused.headers['retry-after']).toMatch(/^\d+$/);
    expect(errorOf(refused)).toEqual({
      code: 'TOOMANYREQUESTS',
      message: 'this account has 3 unfinished uploads; finish or cancel some',
    });
    // Nobody else is touched, and what needs no session still goes.
    expect((await admin.request('post', '/v2/acme/app/blobs/uploads/')).status).toBe(202);

    const blob = randomContent();
    const closed = await client
      .request('put', `${paths[0]}?digest=${blob.digest}`)
      .set('Content-Type', 'application/octet-stream')
      .send(blob.bytes);
    expect(closed.status).toBe(201);
    expect((await open()).status).toBe(202);
    expect((await client.request('delete', paths[1]!)).status).toBe(204);
    expect((await open()).status).toBe(202);
    expect((await open()).status).toBe(429);
  });
});

describe('pages', () => {
  test('hold no more than the registry allows, whatever is asked for, and link to the next', async () => {
    for (let i = 0; i < 6; i += 1) await admin.pushManifest('acme/app', `page${i}`, image);
    for (const asked of ['', '?n=1000', '?n=9999999999']) {
      const answer = await admin.request('get', `/v2/acme/app/tags/list${asked}`);
      expect((answer.body as { tags: string[] }).tags).toHaveLength(limits.page);
      expect(answer.headers['link']).toMatch(/^<\/v2\/acme\/app\/tags\/list\?n=4&last=[^>]+>; rel="next"$/);
    }
  });

  test.each(['-1', '1.5', 'x', '', '1e3', '0x10', '99999999999', ' 1'])(
    '"%s" is not a number of entries',
    async (n) => {
      for (const listing of ['acme/app/tags/list', '_catalog', `acme/app/referrers/${image.digest}`]) {
        const answer = await admin.request('get', `/v2/${listing}?n=${encodeURIComponent(n)}`);
        expect(answer.status).toBe(400);
        expect(errorOf(answer)).toEqual({
          code: 'UNSUPPORTED',
          message: `n must be a whole number, not "${n}"`,
          detail: { n },
        });
      }
    },
  );
});

describe('bodies beside the data plane', () => {
  test('a token request that is too large: 413', async () => {
    const body = `grant_type=password&username=a&password=${'x'.repeat(limits.bodyBytes)}`;
    const answer = await rawRequest(berth.port, {
      method: 'POST',
      target: '/auth/token',
      headers: [
        ['Content-Type', 'application/x-www-form-urlencoded'],
        ['Content-Length', String(body.length)],
      ],
      body,
    });
    expect(answer.status).toBe(413);
    expect(JSON.parse(answer.body.toString())).toEqual({
      error: 'invalid_request',
      error_description: 'the request body is larger than this registry accepts',
      errors: [{ code: 'SIZE_INVALID', message: 'the request body is larger than this registry accepts' }],
    });
  });

  test('a change of settings that is too large: 413', async () => {
    const answer = await admin
      .request('patch', '/api/v1/repositories/acme/app/-')
      .send({ visibility: 'public', x: 'x'.repeat(limits.bodyBytes) });
    expect(answer.status).toBe(413);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:size-invalid', status: 413 });
  });

  test('more scopes than anybody needs: 400', async () => {
    const scopes = (count: number) => Array.from({ length: count }, (_, i) => `repository:a/r${i}:pull`);
    const ask = (scope: string[]) => admin.request('get', '/auth/token').query({ scope });
    expect((await ask(scopes(64))).status).toBe(200);
    const answer = await ask(scopes(65));
    expect(answer.status).toBe(400);
    expect(errorOf(answer).message).toBe('65 scopes in one request; this registry takes 64');
  });
});
