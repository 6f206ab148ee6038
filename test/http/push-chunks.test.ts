/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Response } from 'supertest';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { expectErrors, getBytes, pathOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { randomContent, type Content } from '../support/images.ts';
import { basicHeader, rawBytes, rawConnection } from '../support/raw.ts';
import { closeUpload, openUpload, rangeOf, sendChunk, sendStream } from '../support/uploads.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/chunks';

async function expectStored(blob: Content): Promise<void> {
  const pulled = await getBytes(admin, `/v2/${name}/blobs/${blob.digest}`);
  expect(pulled.status).toBe(200);
  expect(blob.bytes.equals(pulled.body)).toBe(true);
}

/** 416 that says where the session really is, so that the client can go on. */
function expectOutOfOrder(answer: Response, session: string, range: string): void {
  expectErrors(answer, 416, 'BLOB_UPLOAD_INVALID');
  expect(answer.headers['range']).toBe(range);
  expect(pathOf(answer.headers['location'])).toBe(session);
}

describe('Pushing a blob in chunks', () => {
  test('each chunk is 202 with the Location of the next and the Range of all so far; the closing PUT is 201', async () => {
    const blob = randomContent(100_000);
    let session = await openUpload(admin, name);
    for (let start = 0; start < blob.bytes.length; start += 30_000) {
      const chunk = blob.bytes.subarray(start, start + 30_000);
      const answer = await sendChunk(admin, session, chunk, start);
      expect(answer.status).toBe(202);
      expect(answer.headers['range']).toBe(`0-${start + chunk.length - 1}`);
      session = pathOf(answer.headers['location']);
    }
    const answer = await closeUpload(admin, session, blob.digest);
    expect(answer.status).toBe(201);
    expect(pathOf(answer.headers['location'])).toBe(`/v2/${name}/blobs/${blob.digest}`);
    await expectStored(blob);
  });

  test('there is no minimum chunk size: chunks of one byte are taken', async () => {
    const blob = randomContent(5);
    const session = await openUpload(admin, name);
    for (let at = 0; at < 5; at += 1)
      expect((await sendChunk(admin, session, blob.bytes.subarray(at, at + 1), at)).status).toBe(202);
    expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
  });

  test('the final chunk may come with the closing PUT, with or without its range', async () => {
    for (const start of [600, undefined]) {
      const blob = randomContent(1000);
      const session = await openUpload(admin, name);
      await sendChunk(admin, session, blob.bytes.subarray(0, 600), 0);
      expect((await closeUpload(admin, session, blob.digest, blob.bytes.subarray(600), start)).status).toBe(201);
      await expectStored(blob);
    }
  });

  test('a stream without a length is one chunk, and another one may follow it', async () => {
    const blob = randomContent(2_500_000);
    const session = await openUpload(admin, name);
    const pieces = [0, 900_000, 900_001].map((from, at, all) => blob.bytes.subarray(from, all[at + 1] ?? 1_700_000));
    const streamed = await sendStream(berth.url, berth.admin, 'PATCH', session, pieces);
    expect(streamed.status).toBe(202);
    expect(streamed.headers.get('range')).toBe('0-1699999');
    const rest = await sendStream(berth.url, berth.admin, 'PATCH', session, [blob.bytes.subarray(1_700_000)]);
    expect(rest.headers.get('range')).toBe('0-2499999');
    expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
    await expectStored(blob);
  });

  test('the range of RFC 9110 is understood beside that of the spec', async () => {
    const blob = randomContent(100);
    const session = await openUpload(admin, name);
    const answer = await sendChunk(admin, session, blob.bytes).set('Content-Range', 'bytes 0-99/100');
    expect(answer.status).toBe(202);
  });

  test.each([
    ['a gap', 700],
    ['an overlap', 400],
    ['the first chunk again', 0],
    ['one byte too far', 501],
    ['one byte too early', 499],
  ])('a chunk out of order is 416 with where the upload stands, and changes nothing: %s', async (_, start) => {
    const blob = randomContent(1000);
    const session = await openUpload(admin, name);
    await sendChunk(admin, session, blob.bytes.subarray(0, 500), 0);
    expectOutOfOrder(await sendChunk(admin, session, blob.bytes.subarray(500), start), session, '0-499');
    expect(await rangeOf(admin, session)).toBe('0-499');
    expect((await sendChunk(admin, session, blob.bytes.subarray(500), 500)).status).toBe(202);
    expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
    await expectStored(blob);
  });

  test("the first chunk's range must begin with 0", async () => {
    const session = await openUpload(admin, name);
    expectOutOfOrder(await sendChunk(admin, session, Buffer.from('late'), 1), session, '0-0');
  });

  test.each([0, 499, 501, 1000])(
    'a final chunk out of order is 416 and the session stays: beginning at %d',
    async (start) => {
      const blob = randomContent(1000);
      const session = await openUpload(admin, name);
      await sendChunk(admin, session, blob.bytes.subarray(0, 500), 0);
      const answer = await closeUpload(admin, session, blob.digest, blob.bytes.subarray(500), start);
      expectOutOfOrder(answer, session, '0-499');
      expect((await closeUpload(admin, session, blob.digest, blob.bytes.subarray(500), 500)).status).toBe(201);
    },
  );

  test.each(['5', 'a-b', '-5', '5-', '9-5', '0-1,2-3', 'bytes */10'])(
    'a Content-Range that is none is 400 and changes nothing: %s',
    async (range) => {
      const session = await openUpload(admin, name);
      const answer = await sendChunk(admin, session, Buffer.from('0123456789')).set('Content-Range', range);
      expectErrors(answer, 400, 'BLOB_UPLOAD_INVALID');
      expect(await rangeOf(admin, session)).toBe('0-0');
    },
  );

  test.each(['0-8', '0-10', '0-0'])(
    'a Content-Range of another length than the chunk is 400 and changes nothing: %s',
    async (range) => {
      const bytes = Buffer.from('0123456789');
      const session = await openUpload(admin, name);
      expectErrors(await sendChunk(admin, session, bytes).set('Content-Range', range), 400, 'SIZE_INVALID');
      const put = await closeUpload(admin, session, randomContent().digest, bytes).set('Content-Range', range);
      expectErrors(put, 400, 'SIZE_INVALID');
      expect(await rangeOf(admin, session)).toBe('0-0');
    },
  );

  test('a chunk of no bytes is 202 and changes nothing', async () => {
    const session = await openUpload(admin, name);
    await sendChunk(admin, session, Buffer.from('some'), 0);
    const answer = await sendChunk(admin, session, Buffer.alloc(0));
    expect(answer.status).toBe(202);
    expect(answer.headers['range']).toBe('0-3');
  });

  test('a GET of the session is 204 with its Location and the Range of what it has', async () => {
    const session = await openUpload(admin, name);
    for (const [sent, range] of [
      [0, '0-0'],
      [10, '0-9'],
      [500, '0-509'],
    ] as const) {
      if (sent > 0) await sendChunk(admin, session, randomContent(sent).bytes);
      const answer = await admin.request('get', session);
      expect(answer.status).toBe(204);
      expect(answer.headers['range']).toBe(range);
      expect(pathOf(answer.headers['location'])).toBe(session);
      expect(answer.headers['docker-upload-uuid']).toBe(session.split('/').at(-1));
    }
  });

  test('a closing PUT with a wrong digest is 400 and the session goes on where it was', async () => {
    const blob = randomContent(1000);
    const session = await openUpload(admin, name);
    await sendChunk(admin, session, blob.bytes.subarray(0, 900), 0);
    expectErrors(await closeUpload(admin, session, blob.digest), 400, 'DIGEST_INVALID');
    const wrongEnd = await closeUpload(admin, session, blob.digest, Buffer.alloc(100), 900);
    expectErrors(wrongEnd, 400, 'DIGEST_INVALID');
    expect(await rangeOf(admin, session)).toBe('0-899');
    expect((await closeUpload(admin, session, blob.digest, blob.bytes.subarray(900), 900)).status).toBe(201);
    await expectStored(blob);
  });

  test('of two clients that send the same chunk at once, one is told where the upload stands', async () => {
    const blob = randomContent(300_000);
    const session = await openUpload(admin, name);
    for (let start = 0; start < 300_000; start += 100_000) {
      const chunk = blob.bytes.subarray(start, start + 100_000);
      const answers = await Promise.all([1, 2, 3].map(() => sendChunk(admin, session, chunk, start)));
      // A client whose body is interrupted in favour of the next one is told so (409), or finds its chunk taken (416).
      expect(answers.filter(({ status }) => status === 202)).toHaveLength(1);
      for (const { status, text } of answers) expect([202, 409, 416], text).toContain(status);
      expect(await rangeOf(admin, session)).toBe(`0-${start + 99_999}`);
    }
    expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
    await expectStored(blob);
  });
});

describe('Resumable push', () => {
  test('a client that comes back while its old connection hangs goes on where that stood, and the old one is told', async () => {
    const blob = randomContent(100);
    const session = await openUpload(admin, name);
    // Half of a chunk, and then silence.
    await using hanging = await rawConnection(berth.port);
    const headers = [basicHeader(berth.admin), ['Content-Length', '100']] as const;
    await hanging.send(rawBytes({ method: 'PATCH', target: session, headers, body: blob.bytes.subarray(0, 50) }));
    await vi.waitFor(() => expect(filesOf(session.split('/').at(-1)!)).resolves.toHaveLength(1), { interval: 5 });

    expectOutOfOrder(await sendChunk(admin, session, blob.bytes, 0), session, '0-49');
    expect((await sendChunk(admin, session, blob.bytes.subarray(50), 50)).status).toBe(202);
    expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
    await expectStored(blob);

    const told = await hanging.answer();
    expect(told.status).toBe(409);
    expect(told.body.toString()).toContain('BLOB_UPLOAD_INVALID');
  });
});

describe('Cancel a blob upload', () => {
  test('a DELETE is 204, and the session and its bytes are gone', async () => {
    const session = await openUpload(admin, name);
    await sendChunk(admin, session, randomContent(5000).bytes, 0);
    const id = session.split('/').at(-1)!;
    expect(await filesOf(id)).toHaveLength(1);
    const answer = await admin.request('delete', session);
    expect(answer.status).toBe(204);
    expect(await filesOf(id)).toEqual([]);
    expect(await berth.database.query('SELECT id FROM uploads WHERE id = $1', [id])).toEqual([]);
    expectErrors(await admin.request('get', session), 404, 'BLOB_UPLOAD_UNKNOWN');
    expectErrors(await sendChunk(admin, session, Buffer.from('more')), 404, 'BLOB_UPLOAD_UNKNOWN');
    expectErrors(await admin.request('delete', session), 404, 'BLOB_UPLOAD_UNKNOWN');
  });

  test('a session without bytes can be cancelled', async () => {
    const session = await openUpload(admin, name);
    expect((await admin.request('delete', session)).status).toBe(204);
    expectErrors(await admin.request('get', session), 404, 'BLOB_UPLOAD_UNKNOWN');
  });
});

/** The files in the data folder that belong to this upload. */
async function filesOf(uploadId: string): Promise<string[]> {
  const all = await readdir(path.join(berth.dataDir, 'storage'), { recursive: true, withFileTypes: true });
  return all.filter((entry) => entry.isFile() && entry.name.includes(uploadId)).map((entry) => entry.name);
}
