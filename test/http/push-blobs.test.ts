/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { expectErrors, getBytes, pathOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { content, randomContent, type Content } from '../support/images.ts';
import { closeUpload, openUpload, rangeOf, sendChunk, sendStream } from '../support/uploads.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/push';
const uploads = `/v2/${name}/blobs/uploads/`;
const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

/** The same bytes under the other algorithm. */
function sha512(blob: Content): Content {
  return { bytes: blob.bytes, digest: digestOf(blob.bytes, 'sha512') };
}

async function expectPullable(blob: Content, location: string | undefined): Promise<void> {
  const pulled = await getBytes(admin, pathOf(location));
  expect(pulled.status).toBe(200);
  expect(pulled.headers['docker-content-digest']).toBe(blob.digest);
  expect(blob.bytes.equals(pulled.body)).toBe(true);
}

async function expectAbsent(blob: Content): Promise<void> {
  expect((await admin.request('head', `/v2/${name}/blobs/${blob.digest}`)).status).toBe(404);
}

const unusable = [
  'sha256:abc',
  `sha256:${'A'.repeat(64)}`,
  `md5:${'0'.repeat(32)}`,
  `sha384:${'0'.repeat(96)}`,
  `sha512:${'0'.repeat(64)}`,
  'latest',
  '',
];

describe('Pushing blobs', () => {
  test.each(unusable)('a digest that is invalid or of an unsupported algorithm is 400: "%s"', async (digest) => {
    const body = Buffer.from('some bytes');
    const whole = await admin.request('post', `${uploads}?digest=${digest}`).type('bin').send(body);
    expectErrors(whole, 400, 'DIGEST_INVALID');
    const session = await openUpload(admin, name);
    expectErrors(await closeUpload(admin, session, digest, body), 400, 'DIGEST_INVALID');
    expectErrors(await admin.request('post', `${uploads}?mount=${digest}&from=acme/other`), 400, 'DIGEST_INVALID');
  });
});

const sizes = [
  ['an empty one', 0],
  ['a byte', 1],
  ['a small one', 1000],
  ['one of several writes to the disk', 3 * 1024 * 1024 + 5],
] as const;

describe('POST then PUT', () => {
  test('a POST is 202 with a Location that holds a UUID of its own', async () => {
    const seen = new Set<string>();
    for (const path of [uploads, uploads.slice(0, -1)]) {
      const answer = await admin.request('post', path);
      expect(answer.status).toBe(202);
      expect(answer.headers['range']).toBe('0-0');
      seen.add(uuid.exec(answer.headers['location']!)![0]);
    }
    expect(seen.size).toBe(2);
  });

  describe.each([
    ['sha256', (blob: Content) => blob],
    ['sha512', sha512],
  ] as const)('%s', (_, under) => {
    test.each(sizes)('a PUT is 201 with a Location from which the blob can be pulled: %s', async (_name, size) => {
      const blob = under(randomContent(size));
      const answer = await closeUpload(admin, await openUpload(admin, name), blob.digest, blob.bytes);
      expect(answer.status).toBe(201);
      expect(answer.headers['docker-content-digest']).toBe(blob.digest);
      await expectPullable(blob, answer.headers['location']);
    });
  });

  test('a PUT whose length is not announced is taken as well', async () => {
    const blob = randomContent(200_000);
    const session = await openUpload(admin, name);
    const pieces = [blob.bytes.subarray(0, 70_000), blob.bytes.subarray(70_000)];
    const answer = await sendStream(berth.url, berth.admin, 'PUT', `${session}?digest=${blob.digest}`, pieces);
    expect(answer.status).toBe(201);
    await expectPullable(blob, answer.headers.get('location')!);
  });

  test('a PUT with a digest that the bytes do not have is 400, stores nothing, and leaves the session as it was', async () => {
    const [blob, other] = [randomContent(), randomContent()];
    const session = await openUpload(admin, name);
    const [error] = expectErrors(await closeUpload(admin, session, blob.digest, other.bytes), 400, 'DIGEST_INVALID');
    expect(error!.detail).toEqual({ expected: blob.digest, actual: other.digest, size: other.bytes.length });
    await expectAbsent(blob);
    await expectAbsent(other);
    expect((await closeUpload(admin, session, blob.digest, blob.bytes)).status).toBe(201);
  });

  test('a PUT without a digest is 400', async () => {
    const session = await openUpload(admin, name);
    expectErrors(await admin.request('put', session).type('bin').send(Buffer.from('x')), 400, 'DIGEST_INVALID');
  });

  test('a session ends with its PUT', async () => {
    const blob = randomContent();
    const session = await openUpload(admin, name);
    await closeUpload(admin, session, blob.digest, blob.bytes);
    expectErrors(await closeUpload(admin, session, blob.digest, blob.bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
    expectErrors(await admin.request('get', session), 404, 'BLOB_UPLOAD_UNKNOWN');
    expectErrors(await sendChunk(admin, session, blob.bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
    expectErrors(await admin.request('delete', session), 404, 'BLOB_UPLOAD_UNKNOWN');
  });

  test('a session belongs to its repository', async () => {
    const blob = randomContent();
    const session = await openUpload(admin, name);
    const elsewhere = session.replace(name, 'acme/elsewhere');
    expectErrors(await closeUpload(admin, elsewhere, blob.digest, blob.bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
    expect((await closeUpload(admin, session, blob.digest, blob.bytes)).status).toBe(201);
  });

  test.each(['not-a-uuid', '00000000-0000-0000-0000-000000000000', 'sha256:abc'])(
    'a session that nobody opened is 404: %s',
    async (id) => {
      const blob = randomContent();
      expectErrors(await closeUpload(admin, uploads + id, blob.digest, blob.bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
      expectErrors(await sendChunk(admin, uploads + id, blob.bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
      expectErrors(await admin.request('get', uploads + id), 404, 'BLOB_UPLOAD_UNKNOWN');
    },
  );

  test('the digest is the same parameter with an encoded colon', async () => {
    const blob = randomContent();
    const session = await openUpload(admin, name);
    expect((await closeUpload(admin, session, encodeURIComponent(blob.digest), blob.bytes)).status).toBe(201);
  });

  test('a blob may be pushed again, and to another repository', async () => {
    const blob = randomContent();
    await admin.pushBlob(name, blob);
    await admin.pushBlob(name, blob);
    await admin.pushBlob('acme/second', blob);
    await expectPullable(blob, `/v2/acme/second/blobs/${blob.digest}`);
    await expectPullable(blob, `/v2/${name}/blobs/${blob.digest}`);
  });
});

describe('Single POST', () => {
  test.each(sizes)('201 with a Location from which the blob can be pulled: %s', async (_, size) => {
    for (const blob of [randomContent(size), sha512(randomContent(size))]) {
      const answer = await admin.request('post', `${uploads}?digest=${blob.digest}`).type('bin').send(blob.bytes);
      expect(answer.status).toBe(201);
      expect(answer.headers['docker-content-digest']).toBe(blob.digest);
      await expectPullable(blob, answer.headers['location']);
    }
  });

  test('a digest that the bytes do not have is 400 and stores nothing', async () => {
    const [blob, other] = [randomContent(), randomContent()];
    const answer = await admin.request('post', `${uploads}?digest=${blob.digest}`).type('bin').send(other.bytes);
    expectErrors(answer, 400, 'DIGEST_INVALID');
    await expectAbsent(blob);
    await expectAbsent(other);
  });
});

describe('Pushing a blob with a digest algorithm other than sha256', () => {
  test.each(['sha256', 'sha512'])('digest-algorithm=%s opens a session', async (algorithm) => {
    const bytes = randomContent(5000).bytes;
    const digest = digestOf(bytes, algorithm === 'sha256' ? 'sha256' : 'sha512');
    const session = await openUpload(admin, name, `?digest-algorithm=${algorithm}`);
    await sendChunk(admin, session, bytes.subarray(0, 2000), 0);
    const answer = await closeUpload(admin, session, digest, bytes.subarray(2000), 2000);
    expect(answer.status).toBe(201);
    await expectPullable({ bytes, digest }, answer.headers['location']);
  });

  test.each(['md5', 'SHA256', ''])('an algorithm that is not supported is 400: "%s"', async (algorithm) => {
    const answer = await admin.request('post', `${uploads}?digest-algorithm=${algorithm}`);
    expectErrors(answer, 400, 'DIGEST_INVALID');
  });

  describe.each([
    ['sha256', 'sha512'],
    ['sha512', 'sha256'],
  ] as const)('begun as %s, closed as %s', (begun, closed) => {
    test.each([
      ['everything came before', true],
      ['the last chunk comes with the PUT', false],
    ])('the closing PUT decides, and it is 201: %s', async (_, before) => {
      const bytes = randomContent(1_500_000).bytes;
      const digest = digestOf(bytes, closed);
      const session = await openUpload(admin, name, `?digest-algorithm=${begun}`);
      const first = before ? bytes : bytes.subarray(0, 1_200_000);
      await sendChunk(admin, session, first, 0);
      const rest = before ? undefined : bytes.subarray(first.length);
      const answer = await closeUpload(admin, session, digest, rest, before ? undefined : first.length);
      expect(answer.status).toBe(201);
      await expectPullable({ bytes, digest }, answer.headers['location']);
    });

    test('a wrong digest under the other algorithm is 400, and the session goes on', async () => {
      const bytes = randomContent(4000).bytes;
      const session = await openUpload(admin, name, `?digest-algorithm=${begun}`);
      await sendChunk(admin, session, bytes, 0);
      const wrong = digestOf('something else', closed);
      expectErrors(await closeUpload(admin, session, wrong), 400, 'DIGEST_INVALID');
      expect(await rangeOf(admin, session)).toBe('0-3999');
      expect((await closeUpload(admin, session, digestOf(bytes, closed))).status).toBe(201);
    });
  });

  test('the same bytes can be had under both digests', async () => {
    const blob = content('the same bytes twice');
    for (const each of [blob, sha512(blob)]) {
      await admin.pushBlob(name, each);
      await expectPullable(each, `/v2/${name}/blobs/${each.digest}`);
    }
  });
});
