/** Two Berths on one PostgreSQL and one bucket: a session belongs to neither, though S3 gives no part back before it is whole. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Response } from 'supertest';
import { createSweep, type Sweep } from '../../src/registry/sweep.ts';
import { digestOf, type Digest } from '../../src/oci/digest.ts';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { expectErrors, getBytes } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { slowRequest, until } from '../support/faults.ts';
import { titled } from '../support/tools.ts';
import { closeUpload, openUpload, rangeOf, sendChunk } from '../support/uploads.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';

const mib = 1024 * 1024;
const name = 'acme/s3';
const bucket = 'uploads';

/** What nobody has sent before, without the cost of so much chance. */
const newBytes = (length: number) => Buffer.alloc(length, randomBytes(64));

describe.skipIf(noS3Server !== undefined)(titled('Pushing a blob to two Berths on S3', noS3Server), () => {
  let server: S3Server;
  let berths: [TestBerth, TestBerth];
  let clients: [Client, Client];
  let store: S3BlobStore;
  let sweep: Sweep;

  beforeAll(async () => {
    server = await startS3Server();
    await server.makeBucket(bucket);
    // A test ends a lease itself where it wants that.
    const settings = { ...server.settings(bucket), BERTH_UPLOAD_LEASE_SECONDS: '3600' };
    const first = await startTestBerth(settings);
    const second = await startTestBerth({ ...settings, BERTH_DATABASE_URL: first.databaseUrl });
    berths = [first, second];
    clients = [clientOf(first.url, first.admin), clientOf(second.url, second.admin)];
    store = new S3BlobStore(s3OptionsOf(server, bucket));
    // As if everything had been there for hours.
    sweep = createSweep({ database: first.database, store, uploadExpiryHours: -2 });
  });
  afterAll(async () => {
    await store.close();
    for (const berth of berths.toReversed()) await berth.stop();
    await server.stop();
  });

  const query = <Row extends object>(text: string, values?: unknown[]) => berths[0].database.query<Row>(text, values);
  const idOf = (session: string) => session.split('/').at(-1)!;

  async function openSession(...chunks: readonly Buffer[]): Promise<string> {
    const session = await openUpload(clients[0], name);
    await send(session, chunks);
    return session;
  }

  /** By turns, so that neither process has seen all bytes. */
  async function send(session: string, chunks: readonly Buffer[]): Promise<void> {
    let at = 0;
    for (const [index, chunk] of chunks.entries()) {
      const answer = await sendChunk(clients[index % 2]!, session, chunk, at);
      at += chunk.length;
      expect([answer.status, answer.headers['range']]).toEqual([202, `0-${at - 1}`]);
    }
  }

  const refused = (answer: Response, code: 'BLOB_UPLOAD_INVALID' | 'DIGEST_INVALID') => expectErrors(answer, 400, code);

  async function expectBlob(bytes: Buffer, digest: Digest = digestOf(bytes), repository = name): Promise<void> {
    for (const client of clients) {
      const pulled = await getBytes(client, `/v2/${repository}/blobs/${digest}`);
      expect([pulled.status, bytes.equals(pulled.body)]).toEqual([200, true]);
    }
  }

  /** Whoever writes is not heard of any more, as far as others can tell. */
  const endLease = (session: string) =>
    query(`UPDATE uploads SET lease = COALESCE(lease, $2), lease_expires_at = '-infinity' WHERE id = $1`, [
      idOf(session),
      randomUUID(),
    ]);

  afterEach(async () => {
    await query(`UPDATE uploads SET expires_at = '-infinity', lease_expires_at = lease_expires_at - interval '1 year'`);
    for (const part of ['expiredUploads', 'abandonedUploads', 'queuedDeletions'] as const)
      expect(await sweep[part](new AbortController().signal)).toMatchObject({ failed: 0 });
    // A Berth's own sweep may have taken something just before.
    await expect.poll(() => query('SELECT * FROM uploads')).toEqual([]);
    await expect.poll(() => query('SELECT * FROM storage_deletions')).toEqual([]);
    const blobs = await query<{ storage_key: string }>('SELECT storage_key FROM blobs');
    expect(await server.stored(bucket)).toEqual(blobs.map((blob) => blob.storage_key).toSorted());
  });

  describe('in chunks that come to both by turns', () => {
    test.for([
      ['many small ones', Array.from({ length: 10 }, () => 300_000)],
      ['around the smallest part', [5 * mib - 1, 1, 5 * mib, 5 * mib + 1]],
      ['around the size of a part', [8 * mib - 1, 8 * mib, 8 * mib + 1]],
      ['around what is kept back', [13 * mib - 1, 13 * mib]],
      ['a large one between small ones', [1, 13 * mib + 1, 1]],
    ] as const)('%s: the blob is there, and whole', async ([, sizes]) => {
      const chunks = sizes.map(newBytes);
      const whole = Buffer.concat(chunks);
      const session = await openSession(...chunks);
      expect((await closeUpload(clients[sizes.length % 2]!, session, digestOf(whole))).status).toBe(201);
      await expectBlob(whole);
    });

    test('and a last one with the closing PUT', async () => {
      const chunks = [newBytes(6 * mib), newBytes(6 * mib)];
      const last = newBytes(1000);
      const whole = Buffer.concat([...chunks, last]);
      const session = await openSession(...chunks);
      expect((await closeUpload(clients[0], session, digestOf(whole), last, 12 * mib)).status).toBe(201);
      await expectBlob(whole);
    });
  });

  describe('of which one took all of it', () => {
    test('the other closes it without a look at the bytes', async () => {
      const bytes = newBytes(6 * mib);
      const session = await openSession(bytes);
      const wrong = digestOf('something else');
      refused(await closeUpload(clients[1], session, wrong), 'DIGEST_INVALID');
      // Nothing has been stored for good by then: more may follow.
      expect(await query('SELECT closed FROM uploads')).toEqual([{ closed: false }]);
      expect((await closeUpload(clients[1], session, digestOf(bytes))).status).toBe(201);
      await expectBlob(bytes);
    });

    test('a wrong last chunk counts for nothing, and the right one does', async () => {
      const [first, last] = [newBytes(6 * mib), newBytes(6 * mib)];
      const whole = Buffer.concat([first, last]);
      const session = await openSession(first);
      refused(await closeUpload(clients[0], session, digestOf(whole), newBytes(6 * mib)), 'DIGEST_INVALID');
      expect(await rangeOf(clients[1], session)).toBe(`0-${first.length - 1}`);
      expect((await sendChunk(clients[1], session, last, first.length)).status).toBe(202);
      expect((await closeUpload(clients[0], session, digestOf(whole))).status).toBe(201);
      await expectBlob(whole);
    });
  });

  describe('by a digest that only the whole object can tell', () => {
    test('a wrong one is refused, no chunk can follow, and the right one ends it', async () => {
      const chunks = [newBytes(6 * mib), newBytes(6 * mib)];
      const whole = Buffer.concat(chunks);
      const session = await openSession(...chunks);
      refused(await closeUpload(clients[1], session, digestOf('something else')), 'DIGEST_INVALID');
      refused(await sendChunk(clients[0], session, newBytes(10), whole.length), 'BLOB_UPLOAD_INVALID');
      refused(await closeUpload(clients[0], session, digestOf('another thing')), 'DIGEST_INVALID');
      expect((await closeUpload(clients[0], session, digestOf(whole))).status).toBe(201);
      await expectBlob(whole);
    });

    test('sha512 for bytes that were hashed with sha256, of one chunk or several, with a last chunk or without', async () => {
      for (const [chunks, last] of [
        [[newBytes(6 * mib)], undefined],
        [[newBytes(6 * mib)], newBytes(1000)],
        [[newBytes(6 * mib), newBytes(1000)], undefined],
        [[newBytes(1000)], undefined],
      ] as const) {
        const whole = Buffer.concat([...chunks, ...(last === undefined ? [] : [last])]);
        const digest = digestOf(whole, 'sha512');
        const session = await openSession(...chunks);
        const wrong = digestOf('something else', 'sha512');
        if (last === undefined) refused(await closeUpload(clients[1], session, wrong), 'DIGEST_INVALID');
        expect((await closeUpload(clients[1], session, digest, last)).status).toBe(201);
        await expectBlob(whole, digest);
      }
    });
  });

  describe('in one request', () => {
    test.for([0, 1000, 5 * mib, 14 * mib])('%i bytes are there; with a wrong digest nothing is', async (size) => {
      for (const client of clients) {
        const bytes = newBytes(size);
        const post = (digest: Digest) =>
          client.request('post', `/v2/${name}/blobs/uploads/?digest=${digest}`).type('bin').send(bytes);
        refused(await post(digestOf('something else')), 'DIGEST_INVALID');
        expect((await post(digestOf(bytes))).status).toBe(201);
        await expectBlob(bytes);
      }
    });
  });

  test('the same blob at both at once: both are answered 201, and one copy stays', async () => {
    const bytes = newBytes(6 * mib);
    const sessions = [await openSession(bytes), await openSession(bytes)];
    const answers = await Promise.all(
      sessions.map((session, at) => closeUpload(clients[at]!, session, digestOf(bytes))),
    );
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    await expectBlob(bytes);
  });

  test('a blob is mounted from another repository at the other one', async () => {
    const bytes = newBytes(6 * mib);
    expect((await closeUpload(clients[0], await openSession(bytes), digestOf(bytes))).status).toBe(201);
    const mount = `/v2/acme/mounted/blobs/uploads/?mount=${digestOf(bytes)}&from=${name}`;
    expect((await clients[1].request('post', mount)).status).toBe(201);
    await expectBlob(bytes, digestOf(bytes), 'acme/mounted');
  });

  test('a session that is cancelled at the other one is gone for both', async () => {
    for (const chunks of [[], [newBytes(1000)], [newBytes(6 * mib), newBytes(1000)]]) {
      const session = await openSession(...chunks);
      expect((await clients[1].request('delete', session)).status).toBe(204);
      for (const client of clients) expect((await client.request('get', session)).status).toBe(404);
    }
  });

  test('a session that nobody ends leaves nothing', async () => {
    for (const chunks of [[newBytes(1000)], [newBytes(6 * mib), newBytes(1000)], [newBytes(20 * mib)]])
      await openSession(...chunks);
  });

  describe('whose writer is not heard of any more', () => {
    test.for([
      ['a small chunk', [1000]],
      ['a large chunk', [6 * mib]],
      ['a large and a small chunk', [6 * mib, 1000]],
    ] as const)('with %s acknowledged, is gone on with at the other one', async ([, sizes]) => {
      const chunks = [...sizes, 6 * mib].map(newBytes);
      const last = chunks.at(-1)!;
      const whole = Buffer.concat(chunks);
      const session = await openSession(...chunks.slice(0, -1));
      await endLease(session);
      expect((await sendChunk(clients[1], session, last, whole.length - last.length)).status).toBe(202);
      await endLease(session);
      expect((await closeUpload(clients[0], session, digestOf(whole))).status).toBe(201);
      await expectBlob(whole);
    });

    test.for([
      ['a small chunk', 1000],
      ['a large chunk', 6 * mib],
    ] as const)('behind %s, and wakes: what it still sends harms nothing', async ([, size]) => {
      const [first, rest] = [newBytes(size), newBytes(6 * mib)];
      const whole = Buffer.concat([first, rest]);
      const session = await openSession(first);
      const stalled = await slowRequest('PATCH', new URL(session, berths[0].url), berths[0].admin);
      await until(async () => (await query('SELECT 1 FROM uploads WHERE lease IS NOT NULL')).length > 0);
      await stalled.send(newBytes(4 * mib));
      await endLease(session);
      expect((await sendChunk(clients[1], session, rest, first.length)).status).toBe(202);
      // More than is kept back: parts of it are sent.
      await stalled.send(newBytes(20 * mib));
      stalled.end();
      expect(await stalled.outcome).toBe(409);
      expect((await closeUpload(clients[1], session, digestOf(whole))).status).toBe(201);
      await expectBlob(whole);
    });
  });
});
