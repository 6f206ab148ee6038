/** What no honest client sends: each refused in words, and with nothing left behind. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-types.ts';
import { makeImage, randomContent, type Content, type TestImage } from '../support/images.ts';
import {
  basicHeader,
  chunked,
  rawBytes,
  rawConnection,
  rawRequest,
  type RawAnswer,
  type RawRequest,
} from '../support/raw.ts';
import { openFiles, storedFiles, tracesOf } from '../support/traces.ts';

let berth: TestBerth;
let admin: Client;
let auth: [string, string];
let image: TestImage;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
  auth = basicHeader(berth.admin);
  image = makeImage();
  await admin.pushImage('acme/app', 'v1', image);
});
afterAll(() => berth.stop());

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string | RegExp;
}

function expectRefusal(answer: RawAnswer, { status, code, message }: Refusal): void {
  const { errors } = JSON.parse(answer.body.toString()) as { errors: { code: string; message: string }[] };
  expect({ status: answer.status, code: errors[0]!.code }).toEqual({ status, code });
  if (typeof message === 'string') expect(errors[0]!.message).toBe(message);
  else expect(errors[0]!.message).toMatch(message);
}

/** Sends a request as the administrator and expects that it is refused and nothing has changed. */
async function refused(request: RawRequest, refusal: Refusal): Promise<RawAnswer> {
  const before = await tracesOf(berth);
  const answer = await rawRequest(berth.port, { ...request, headers: [auth, ...(request.headers ?? [])] });
  expectRefusal(answer, refusal);
  expect(await tracesOf(berth)).toEqual(before);
  expect(await openFiles(berth)).toEqual([]);
  return answer;
}

const long = (length: number): string => 'a'.repeat(length);
const grammar =
  'use lower case letters and digits, one of . _ __ or dashes between them, and single slashes between components';

describe('repository names', () => {
  const names: readonly (readonly [what: string, sent: string, reason: string])[] = [
    ['a parent folder', 'acme/../etc', `"acme/../etc" is not a repository name: ${grammar}`],
    ['only dots', '..', `".." is not a repository name: ${grammar}`],
    ['encoded dots', '%2e%2e/etc', `"%2e%2e/etc" is not a repository name: ${grammar}`],
    ['an encoded slash', 'acme%2fapp', `"acme%2fapp" is not a repository name: ${grammar}`],
    ['an encoded NUL', 'acme/app%00', `"acme/app%00" is not a repository name: ${grammar}`],
    ['a leading slash', '/acme', `"/acme" is not a repository name: ${grammar}`],
    ['a trailing slash', 'acme/', `"acme/" is not a repository name: ${grammar}`],
    ['two slashes', 'acme//app', `"acme//app" is not a repository name: ${grammar}`],
    ['a backslash', 'acme\\app', `"acme\\\\app" is not a repository name: ${grammar}`],
    ['encoded UTF-8', 'acm%C3%A9', `"acm%C3%A9" is not a repository name: ${grammar}`],
    ['upper case', 'Acme/app', '"Acme/app" is not a repository name: it must be lower case'],
    ['a leading dot', '.acme', `".acme" is not a repository name: ${grammar}`],
    ['two dots within', 'ac..me', `"ac..me" is not a repository name: ${grammar}`],
    ['a trailing dash', 'acme-', `"acme-" is not a repository name: ${grammar}`],
    ['a control character', 'acme%1b[31m', `"acme%1b[31m" is not a repository name: ${grammar}`],
    [
      '256 characters',
      long(256),
      `"${long(80)}"... (256 characters) is not a repository name: it has more than 255 characters`,
    ],
  ];
  const uses = (name: string): RawRequest[] => [
    { target: `/v2/${name}/tags/list` },
    { target: `/v2/${name}/manifests/v1` },
    { target: `/v2/${name}/blobs/${image.config.digest}` },
    { target: `/v2/${name}/referrers/${image.digest}` },
    { method: 'POST', target: `/v2/${name}/blobs/uploads/` },
    { method: 'DELETE', target: `/v2/${name}/manifests/v1` },
    {
      method: 'PUT',
      target: `/v2/${name}/manifests/v1`,
      headers: [['Content-Length', String(image.bytes.length)]],
      body: image.bytes,
    },
  ];

  test.each(names)('%s is refused wherever a name stands', async (_what, sent, message) => {
    const before = await tracesOf(berth);
    for (const request of uses(sent)) {
      const answer = await rawRequest(berth.port, { ...request, headers: [auth, ...(request.headers ?? [])] });
      expectRefusal(answer, { status: 400, code: 'NAME_INVALID', message });
    }
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('a name of 255 characters does', async () => {
    const name = `acme/${long(250)}`;
    await admin.pushImage(name, 'v1', image);
    const answer = await admin.request('get', `/v2/${name}/manifests/v1`);
    expect(answer.status).toBe(200);
  });

  test.each([
    ['a NUL', 'ac\0me'],
    ['UTF-8', Buffer.from('acmé').toString('latin1')],
    ['a line feed', 'ac\nme'],
  ])('%s as it is never becomes a request', async (_what, name) => {
    const answer = await rawRequest(berth.port, { target: `/v2/${name}/tags/list`, headers: [auth] });
    expectRefusal(answer, { status: 400, code: 'UNSUPPORTED', message: 'this is not a valid HTTP request' });
    expect(answer.headers['connection']).toBe('close');
  });

  test.each(['/v2//tags/list', '/v2//blobs/uploads/'])('%s has an empty one', async (target) => {
    const method = target.endsWith('list') ? 'GET' : 'POST';
    await refused(
      { method, target },
      { status: 400, code: 'NAME_INVALID', message: '"" is not a repository name: it is empty' },
    );
  });

  test('a mount from a name that cannot be one is an upload like any other', async () => {
    for (const from of ['..%2f..', '%00', 'Acme', long(300)]) {
      const answer = await admin.request(
        'post',
        `/v2/acme/mounts/blobs/uploads/?mount=${image.config.digest}&from=${from}`,
      );
      expect(answer.status).toBe(202);
    }
  });
});

describe('tags and digests', () => {
  const tagRule = 'use 1 to 128 letters, digits, _ . and -, not beginning with . or -';
  test.each([
    ['a leading dot', '.v1', `".v1" is not a tag: ${tagRule}`],
    ['a leading dash', '-v1', `"-v1" is not a tag: ${tagRule}`],
    ['an encoded slash', 'v%2f1', `"v/1" is not a tag: ${tagRule}`],
    ['a parent folder', '..', `".." is not a tag: ${tagRule}`],
    ['a NUL', 'v%00', `"v\\u0000" is not a tag: ${tagRule}`],
    ['UTF-8', '%C3%BC', `"\\u00fc" is not a tag: ${tagRule}`],
    ['a space', 'v%201', `"v 1" is not a tag: ${tagRule}`],
    ['129 characters', long(129), `"${long(80)}"... (129 characters) is not a tag: ${tagRule}`],
  ])('a tag with %s is refused', async (_what, sent, message) => {
    const target = `/v2/acme/app/manifests/${sent}`;
    for (const method of ['PUT', 'DELETE'])
      await refused({ method, target }, { status: 400, code: 'MANIFEST_INVALID', message });
    // "If the manifest is not found in the repository, the response code MUST be 404 Not Found."
    await refused({ target }, { status: 404, code: 'MANIFEST_UNKNOWN', message });
  });

  test('a tag of 128 characters does', async () => {
    const tag = `_${long(127)}`;
    await admin.pushManifest('acme/app', tag, image);
    expect((await admin.request('head', `/v2/acme/app/manifests/${tag}`)).status).toBe(200);
  });

  test('what is not percent-encoding is no address', async () => {
    await refused(
      { target: '/v2/acme/app/manifests/%zz' },
      {
        status: 404,
        code: 'UNSUPPORTED',
        message: 'no such address in the registry API: /v2/acme/app/manifests/%zz',
      },
    );
  });

  const hex = long(64);
  const digests: readonly (readonly [what: string, sent: string, message: string])[] = [
    ['an unknown algorithm', `md5:${long(32)}`, 'algorithm "md5" is not supported, use sha256 or sha512'],
    ['upper case', `sha256:${hex.toUpperCase()}`, 'its hexadecimal digits must be lower case'],
    ['one digit less', `sha256:${long(63)}`, 'sha256 has 64 hexadecimal digits, this has 63 characters'],
    ['the length of the other', `sha512:${hex}`, 'sha512 has 128 hexadecimal digits, this has 64 characters'],
    ['other letters', `sha256:${'g'.repeat(64)}`, 'it holds characters that are no hexadecimal digits'],
    ['a path', `sha256:${'../'.repeat(21)}x`, 'it holds characters that are no hexadecimal digits'],
    ['nothing behind the colon', 'sha256:', 'sha256 has 64 hexadecimal digits, this has 0 characters'],
  ];
  test.each(digests)('a digest with %s is refused', async (_what, digest, reason) => {
    const sent = encodeURIComponent(digest);
    const refusal = { status: 400, code: 'DIGEST_INVALID', message: new RegExp(`is not a digest: ${reason}$`) };
    for (const request of [
      { target: `/v2/acme/app/manifests/${sent}` },
      { method: 'PUT', target: `/v2/acme/app/manifests/${sent}` },
      { target: `/v2/acme/app/blobs/${sent}` },
      { method: 'DELETE', target: `/v2/acme/app/blobs/${sent}` },
      { target: `/v2/acme/app/referrers/${sent}` },
      { method: 'POST', target: `/v2/acme/app/blobs/uploads/?digest=${sent}` },
      { method: 'POST', target: `/v2/acme/app/blobs/uploads/?mount=${sent}&from=acme/app` },
    ])
      await refused(request, refusal);
  });

  test.each(['digest', 'mount'])('the parameter %s given twice is refused', async (parameter) => {
    const { digest } = image.config;
    await refused(
      { method: 'POST', target: `/v2/acme/app/blobs/uploads/?${parameter}=${digest}&${parameter}=${digest}` },
      { status: 400, code: 'UNSUPPORTED', message: `the parameter ${parameter} is given 2 times` },
    );
  });

  test.each(['nonsense', '..%2f..', '00000000-0000-0000-0000-00000000000G', '00000000-0000-0000-0000-000000000000'])(
    'the upload %s does not exist',
    async (id) => {
      for (const method of ['GET', 'PATCH', 'DELETE'])
        await refused(
          { method, target: `/v2/acme/app/blobs/uploads/${id}` },
          {
            status: 404,
            code: 'BLOB_UPLOAD_UNKNOWN',
            message: 'this upload does not exist, was finished or has expired; start a new one',
          },
        );
    },
  );
});

describe('manifests', () => {
  const put = (bytes: Buffer, reference = 'bad'): RawRequest => ({
    method: 'PUT',
    target: `/v2/acme/app/manifests/${reference}`,
    headers: [
      ['Content-Type', mediaTypes.ociManifest],
      ['Content-Length', String(bytes.length)],
    ],
    body: bytes,
  });
  const invalid = (message: string | RegExp): Refusal => ({ status: 400, code: 'MANIFEST_INVALID', message });

  test('a key that is there twice', async () => {
    const bytes = Buffer.from(image.bytes.toString().replace('{', '{"layers":[],'));
    await refused(put(bytes), invalid(/not valid JSON: the key "layers" is there twice at position \d+$/));
  });

  test('a key that is there twice, once in disguise', async () => {
    const bytes = Buffer.from(image.bytes.toString().replace('{', String.raw`{"\u006cayers":[],`));
    await refused(put(bytes), invalid(/not valid JSON: the key "layers" is there twice at position \d+$/));
  });

  test('nested deeper than allowed', async () => {
    const bytes = Buffer.from(
      image.bytes.toString().replace('{', `{"x":${'['.repeat(100_000)}${']'.repeat(100_000)},`),
    );
    await refused(
      put(bytes),
      invalid('the manifest is not valid JSON: more than 64 nested objects and arrays at position 68'),
    );
  });

  test('not UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
    await refused(put(bytes), invalid('the manifest is not valid JSON: the text is not UTF-8'));
  });

  test('a byte order mark', async () => {
    const bytes = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), image.bytes]);
    await refused(
      put(bytes),
      invalid('the manifest is not valid JSON: a byte order mark is not allowed at position 0'),
    );
  });

  test('a NUL in what is kept', async () => {
    const bytes = Buffer.from(image.bytes.toString().replace('{', String.raw`{"annotations":{"a":"\u0000"},`));
    await refused(put(bytes), invalid(/^annotations/));
  });

  test.each([
    ['nothing', ''],
    ['half of one', '{"schemaVersion":2,'],
    ['text behind it', '{}{}'],
    ['a number too many', '{"schemaVersion":2,}'],
  ])('%s', async (_what, text) => {
    await refused(put(Buffer.from(text)), invalid(/^the manifest is not valid JSON: /));
  });

  test.each(['[]', 'null', '"text"', '7'])('%s instead of an object', async (text) => {
    await refused(put(Buffer.from(text)), invalid(/^the manifest must be an object, not /));
  });

  test('other bytes than the digest says', async () => {
    const { digest } = randomContent();
    await refused(put(image.bytes, digest), {
      status: 400,
      code: 'DIGEST_INVALID',
      message: `the digest does not match: ${digest} was announced, but the ${image.bytes.length} bytes received have ${image.digest}`,
    });
  });

  test('content that is not in the repository: all of it is named', async () => {
    const other = makeImage({ layers: [randomContent(), randomContent()] });
    const answer = await refused(put(other.bytes), {
      status: 404,
      code: 'MANIFEST_BLOB_UNKNOWN',
      message: /which is not in this repository; push it first$/,
    });
    const { errors } = JSON.parse(answer.body.toString()) as { errors: { detail: { digest: string } }[] };
    expect(errors.map(({ detail }) => detail.digest)).toEqual([
      other.config.digest,
      ...other.layers.map(({ digest }) => digest),
    ]);
  });
});

/** Opens a session and returns its path. */
async function session(name: string): Promise<string> {
  const answer = await admin.request('post', `/v2/${name}/blobs/uploads/`);
  expect(answer.status).toBe(202);
  return new URL(answer.headers['location']!, berth.url).pathname;
}

async function offsetOf(path: string): Promise<string | undefined> {
  const answer = await admin.request('get', path);
  expect(answer.status).toBe(204);
  return answer.headers['range'];
}

/** A PATCH or PUT that announces its own length. */
function chunk(
  path: string,
  bytes: Buffer,
  headers: readonly (readonly [string, string])[] = [],
  method = 'PATCH',
): RawRequest {
  return { method, target: path, headers: [['Content-Length', String(bytes.length)], ...headers], body: bytes };
}

describe('uploads', () => {
  const blob: Content = randomContent(10_000);
  let path: string;
  beforeAll(async () => {
    path = await session('acme/sessions');
    const answer = await rawRequest(berth.port, {
      ...chunk(path, blob.bytes.subarray(0, 4000)),
      headers: [auth, ['Content-Length', '4000']],
    });
    expect(answer.status).toBe(202);
  });

  test('a whole blob whose digest is another', async () => {
    const { digest } = randomContent();
    await refused(chunk(`/v2/acme/app/blobs/uploads/?digest=${digest}`, blob.bytes, [], 'POST'), {
      status: 400,
      code: 'DIGEST_INVALID',
      message: `the digest does not match: ${digest} was announced, but the 10000 bytes received have ${blob.digest}`,
    });
  });

  test('a closing PUT whose digest is another: the session stays as it was', async () => {
    await refused(
      { method: 'PUT', target: `${path}?digest=${blob.digest}`, headers: [['Content-Length', '0']] },
      {
        status: 400,
        code: 'DIGEST_INVALID',
        message: `the digest does not match: ${blob.digest} was announced, but the 4000 bytes received have ${digestOf(blob.bytes.subarray(0, 4000))}`,
      },
    );
  });

  test('a closing PUT without a digest', async () => {
    await refused(
      { method: 'PUT', target: path, headers: [['Content-Length', '0']] },
      {
        status: 400,
        code: 'DIGEST_INVALID',
        message: 'the closing PUT needs the digest of the whole blob as the parameter digest',
      },
    );
  });

  test.each([
    ['too early', '0-99', 0],
    ['too late', '5000-5099', 5000],
  ])('a chunk %s: the answer says where the upload stands', async (_what, range, start) => {
    const answer = await refused(chunk(path, blob.bytes.subarray(0, 100), [['Content-Range', range]]), {
      status: 416,
      code: 'BLOB_UPLOAD_INVALID',
      message: `the chunk begins at byte ${start}, but the upload stands at 4000; send on from there`,
    });
    expect(answer.headers).toMatchObject({ range: '0-3999', location: path });
  });

  test('a Content-Range that disagrees with the Content-Length', async () => {
    await refused(chunk(path, blob.bytes.subarray(4000, 4100), [['Content-Range', '4000-4100']]), {
      status: 400,
      code: 'SIZE_INVALID',
      message: 'the Content-Range announces 101 bytes, the Content-Length 100',
    });
  });

  test.each([99, 101])('a Content-Range of 100 bytes over %i in chunks', async (length) => {
    const before = await tracesOf(berth);
    const answer = await rawRequest(berth.port, {
      method: 'PATCH',
      target: path,
      headers: [auth, ['Transfer-Encoding', 'chunked'], ['Content-Range', '4000-4099']],
      body: chunked(blob.bytes.subarray(4000, 4000 + length)),
    });
    expectRefusal(answer, {
      status: 400,
      code: 'SIZE_INVALID',
      message: `the Content-Range announces 100 bytes, but ${length} came`,
    });
    // What came lies behind the end that the session knows, and the next chunk is written over it.
    const after = await tracesOf(berth);
    expect({ rows: after.rows, files: Object.keys(after.files) }).toEqual({
      rows: before.rows,
      files: Object.keys(before.files),
    });
  });

  test('two Content-Ranges', async () => {
    await refused(
      chunk(path, blob.bytes.subarray(4000, 4100), [
        ['Content-Range', '4000-4099'],
        ['Content-Range', '0-99'],
      ]),
      { status: 400, code: 'UNSUPPORTED', message: 'the header content-range is given 2 times' },
    );
  });

  test.each(['', 'x', '4000', '4000-', '-4000', '4099-4000', '4000-4099,5000-5099', '4000-4099/x', '-1-98'])(
    'the Content-Range "%s"',
    async (range) => {
      await refused(chunk(path, blob.bytes.subarray(4000, 4100), [['Content-Range', range]]), {
        status: 400,
        code: 'BLOB_UPLOAD_INVALID',
        message: `the Content-Range "${range}" is not of the form START-END, both in bytes and END included`,
      });
    },
  );

  test.each([
    ['announced', [['Content-Length', '0']] as const, ''],
    ['in chunks', [['Transfer-Encoding', 'chunked']] as const, chunked()],
  ])('a chunk of no bytes, %s, is taken and changes nothing', async (_what, headers, body) => {
    const { rows } = await tracesOf(berth);
    const answer = await rawRequest(berth.port, {
      method: 'PATCH',
      target: path,
      headers: [auth, ...headers],
      body,
    });
    expect(answer).toMatchObject({ status: 202, headers: { range: '0-3999' } });
    expect((await tracesOf(berth)).rows).toEqual(rows);
  });

  test('another repository knows nothing of the session', async () => {
    await refused(
      { target: path.replace('acme/sessions', 'acme/app') },
      {
        status: 404,
        code: 'BLOB_UPLOAD_UNKNOWN',
        message: 'this upload does not exist, was finished or has expired; start a new one',
      },
    );
  });

  test('after all that the session can still be finished', async () => {
    const rest = blob.bytes.subarray(4000);
    const answer = await rawRequest(berth.port, {
      ...chunk(`${path}?digest=${blob.digest}`, rest, [], 'PUT'),
      headers: [auth, ['Content-Length', String(rest.length)], ['Content-Range', '4000-9999']],
    });
    expect(answer.status).toBe(201);
  });
});

describe('a client that leaves half-way', () => {
  const blob = randomContent(1_000_000);

  /** Announces the whole blob, sends a part and is gone. Resolves when the server has noticed. */
  async function leave(method: string, target: string, part: Buffer, how: 'reset' | 'end'): Promise<void> {
    const left = () => berth.logs.filter(({ msg, url }) => msg === 'the client left' && url === target).length;
    const before = left();
    await using connection = await rawConnection(berth.port);
    await connection.send(rawBytes({ method, target, headers: [auth, ['Content-Length', '1000000']], body: part }));
    if (how === 'reset') connection.socket.resetAndDestroy();
    else connection.socket.end();
    await vi.waitFor(() => expect(left()).toBe(before + 1), { timeout: 10_000, interval: 20 });
    // The line is written when all is done: no file is open by then.
    expect(await openFiles(berth)).toEqual([]);
  }

  test('a chunk: what came is kept, and the session goes on from there', async () => {
    const path = await session('acme/left');
    await leave('PATCH', path, blob.bytes.subarray(0, 300_000), 'end');
    expect(await offsetOf(path)).toBe('0-299999');
    const id = path.split('/').at(-1)!;
    const files = Object.entries(await storedFiles(berth)).filter(([file]) => file.includes(id));
    expect(files.map(([, size]) => size)).toEqual([300_000]);

    const sent = await admin
      .request('patch', path)
      .set({ 'Content-Type': 'application/octet-stream', 'Content-Range': '300000-999999' })
      .send(blob.bytes.subarray(300_000));
    expect(sent.status).toBe(202);
    const closed = await admin.request('put', `${path}?digest=${blob.digest}`);
    expect(closed.status).toBe(201);
    expect(Object.keys(await storedFiles(berth)).filter((file) => file.includes(id))).toEqual([]);
  });

  test('a chunk, with a reset: the session stands where its file ends', async () => {
    const path = await session('acme/left');
    await leave('PATCH', path, blob.bytes.subarray(0, 300_000), 'reset');
    const id = path.split('/').at(-1)!;
    // A reset may overtake what was sent before it.
    const range = await offsetOf(path);
    const offset = range === '0-0' ? 0 : Number(range!.split('-')[1]) + 1;
    const files = Object.entries(await storedFiles(berth)).filter(([file]) => file.includes(id));
    expect(files.map(([, size]) => size)).toEqual(offset === 0 ? [] : [offset]);
  });

  test('a closing PUT: the session stays as it was', async () => {
    const path = await session('acme/left');
    const patched = await admin
      .request('patch', path)
      .set('Content-Type', 'application/octet-stream')
      .send(blob.bytes.subarray(0, 1000));
    expect(patched.status).toBe(202);
    await leave('PUT', `${path}?digest=${blob.digest}`, blob.bytes.subarray(1000, 5000), 'end');
    expect(await offsetOf(path)).toBe('0-999');
  });

  test('a whole blob: nothing is left', async () => {
    const before = await tracesOf(berth);
    await leave('POST', `/v2/acme/app/blobs/uploads/?digest=${blob.digest}`, blob.bytes.subarray(0, 300_000), 'end');
    expect(await tracesOf(berth)).toEqual(before);
  });

  test('a manifest: nothing is left', async () => {
    const before = await tracesOf(berth);
    await leave('PUT', '/v2/acme/app/manifests/half', image.bytes.subarray(0, 100), 'end');
    expect(await tracesOf(berth)).toEqual(before);
  });
});

describe('lengths that lie', () => {
  const invalid: Refusal = { status: 400, code: 'UNSUPPORTED', message: 'this is not a valid HTTP request' };
  test.each([
    [
      'two of them',
      [
        ['Content-Length', '5'],
        ['Content-Length', '6'],
      ] as const,
    ],
    ['two alike in one', [['Content-Length', '5, 5']] as const],
    ['negative', [['Content-Length', '-5']] as const],
    ['in hexadecimal', [['Content-Length', '0x5']] as const],
    ['beyond all numbers', [['Content-Length', '9'.repeat(40)]] as const],
    [
      'beside chunks',
      [
        ['Content-Length', '5'],
        ['Transfer-Encoding', 'chunked'],
      ] as const,
    ],
    ['chunks within something else', [['Transfer-Encoding', 'chunked, identity']] as const],
  ])('%s', async (_what, headers) => {
    const target = `/v2/acme/app/blobs/uploads/?digest=${image.config.digest}`;
    const answer = await refused({ method: 'POST', target, headers, body: '5\r\nhello\r\n0\r\n\r\n' }, invalid);
    expect(answer.headers['connection']).toBe('close');
  });

  test('a chunk whose size is no number', async () => {
    await refused(
      {
        method: 'POST',
        target: `/v2/acme/app/blobs/uploads/?digest=${image.config.digest}`,
        headers: [['Transfer-Encoding', 'chunked']],
        body: 'zz\r\nhello\r\n0\r\n\r\n',
      },
      invalid,
    );
  });

  test('shorter than what comes: the rest is no request', async () => {
    const { bytes } = randomContent(100);
    const path = await session('acme/short');
    await using connection = await rawConnection(berth.port);
    const headers = [auth, ['Content-Length', '60'] as const];
    await connection.send(rawBytes({ method: 'PATCH', target: path, headers, body: bytes }));
    expect(await connection.answer()).toMatchObject({ status: 202, headers: { range: '0-59' } });
    expectRefusal(await connection.answer(), invalid);
    await connection.closed();
  });
});

describe('ranges of a blob', () => {
  const blob = randomContent(1000);
  beforeAll(() => admin.pushBlob('acme/ranges', blob));
  const get = (...ranges: string[]): Promise<RawAnswer> =>
    rawRequest(berth.port, {
      target: `/v2/acme/ranges/blobs/${blob.digest}`,
      headers: [auth, ...ranges.map((range) => ['Range', range] as const)],
    });

  test.each(['bytes=1000-', 'bytes=1000-1001', 'bytes=99999999999999999999-', 'bytes=-0', 'bytes=5-1'])(
    '%s lies outside',
    async (range) => {
      const answer = await get(range);
      expectRefusal(answer, {
        status: 416,
        code: 'SIZE_INVALID',
        message: `the range ${range} lies outside of the 1000 bytes of this content`,
      });
    },
  );

  test.each(['bytes=0-1,5-6', 'bytes=', 'bytes=-', 'bytes=a-b', 'lines=0-1', 'bytes 0-1'])(
    '%s is not understood, and all is sent',
    async (range) => {
      const answer = await get(range);
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual(blob.bytes);
    },
  );

  test.each([
    ['bytes=990-99999999999999999999', 990, 1000],
    ['bytes=-99999999999999999999', 0, 1000],
    ['bytes=-1', 999, 1000],
  ])('%s is cut to what there is', async (range, start, end) => {
    const answer = await get(range);
    expect(answer).toMatchObject({ status: 206, headers: { 'content-range': `bytes ${start}-${end - 1}/1000` } });
    expect(answer.body).toEqual(blob.bytes.subarray(start, end));
  });

  test('two Range headers are refused', async () => {
    expectRefusal(await get('bytes=0-1', 'bytes=5-6'), {
      status: 400,
      code: 'UNSUPPORTED',
      message: 'the header range is given 2 times',
    });
  });
});
