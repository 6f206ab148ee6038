/** A registry whose storage was changed, and that was not told of the one before: what is there is neither served nor lost. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { createSweep, type Swept } from '../../src/registry/sweep.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import type { BlobStore } from '../../src/storage/port.ts';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { expectErrors } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';
import { titled } from '../support/tools.ts';
import { closeUpload, openUpload, rangeOf, sendChunk } from '../support/uploads.ts';

const bucket = 'elsewhere';
const name = 'acme/elsewhere';

describe.skipIf(noS3Server !== undefined)(titled('Bytes in a storage that is not set up', noS3Server), () => {
  let server: S3Server;
  let folder: string;
  let berths: Record<'disk' | 's3', TestBerth>;
  let clients: Record<'disk' | 's3', Client>;
  let stores: Record<'disk' | 's3', BlobStore>;

  beforeAll(async () => {
    [server, folder] = await Promise.all([startS3Server(), mkdtemp(path.join(tmpdir(), 'berth-test-'))]);
    await server.makeBucket(bucket);
    const disk = await startTestBerth({ BERTH_DATA_DIR: folder });
    const s3 = await startTestBerth({ ...server.settings(bucket), BERTH_DATABASE_URL: disk.databaseUrl });
    berths = { disk, s3 };
    clients = { disk: clientOf(disk.url, disk.admin), s3: clientOf(s3.url, s3.admin) };
    const root = path.join(folder, 'storage');
    stores = { disk: new DiskBlobStore(root), s3: new S3BlobStore(s3OptionsOf(server, bucket)) };
  });
  afterAll(async () => {
    await Promise.all([stores.disk.close(), stores.s3.close()]);
    await berths.s3.stop();
    await berths.disk.stop();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const stored = async (kind: 'disk' | 's3'): Promise<string[]> =>
    kind === 's3' ? server.stored(bucket) : readdir(path.join(folder, 'storage', 'uploads'));
  const queued = () => berths.disk.database.query('SELECT FROM storage_deletions');
  const never = new AbortController().signal;

  /** The sweep of a process that has this storage only. */
  async function sweep(kind: 'disk' | 's3'): Promise<Swept> {
    const parts = { database: berths.disk.database, store: stores[kind], uploadExpiryHours: 1 };
    await createSweep(parts).expiredUploads(never);
    await berths.disk.database.query('UPDATE storage_deletions SET try_after = now()');
    return createSweep(parts).queuedDeletions(never);
  }

  describe.each([
    ['s3', 'disk'],
    ['disk', 's3'],
  ] as const)('that is %s, where there is only %s', (there, here) => {
    const bytes = randomBytes(1000);
    const open = async (): Promise<string> => {
      const session = await openUpload(clients[there], name);
      expect((await sendChunk(clients[there], session, bytes)).status).toBe(202);
      return session;
    };

    test('nobody can go on with an upload, and is told why; where its bytes are it goes on', async () => {
      const session = await open();
      const client = clients[here];
      for (const answer of [
        await client.request('get', session),
        await sendChunk(client, session, bytes),
        await sendChunk(client, session, bytes, bytes.length),
        await closeUpload(client, session, digestOf(bytes)),
        await closeUpload(client, session, digestOf(Buffer.concat([bytes, bytes])), bytes),
      ]) {
        const [error] = expectErrors(answer, 404, 'BLOB_UPLOAD_UNKNOWN');
        expect(error!.message).toBe(
          'the bytes of this upload are in a storage that is not set up here any more; start a new one',
        );
      }
      expect(await rangeOf(clients[there], session)).toBe(`0-${bytes.length - 1}`);
      expect((await closeUpload(clients[there], session, digestOf(bytes))).status).toBe(201);
    });

    test.for([
      ['is cancelled', (session: string) => clients[here].request('delete', session)],
      ['expires', () => berths.disk.database.query(`UPDATE uploads SET expires_at = '-infinity'`)],
    ] as const)('an upload that %s is over; its bytes stay queued until the storage is back', async ([, end]) => {
      const before = await stored(there);
      const session = await open();
      await end(session);
      expect(await sweep(here)).toMatchObject({
        done: 0,
        failed: 1,
        failure: { message: expect.stringMatching(/^deletion \d+ is of a storage that is not set up here$/) },
      });
      expectErrors(await clients[there].request('get', session), 404, 'BLOB_UPLOAD_UNKNOWN');
      expect(await stored(there)).toHaveLength(before.length + 1);
      expect(await sweep(there)).toMatchObject({ failed: 0 });
      expect(await queued()).toEqual([]);
      expect(await stored(there)).toEqual(before);
    });

    test.for([
      ['small', 1000],
      ['large', 200_000],
    ] as const)('a %s blob is away for the moment, and the log says what to do', async ([, size]) => {
      const blob = randomBytes(size);
      const digest = digestOf(blob);
      await clients[there].pushBlob(name, { bytes: blob, digest });
      const address = `/v2/${name}/blobs/${digest}`;
      const answer = await clients[here].request('get', address);
      expectErrors(answer, 503, 'UNAVAILABLE');
      expect(answer.headers['retry-after']).toBeDefined();
      const line = berths[here].logs.find(({ url, status }) => url === address && status === 503);
      expect(line).toMatchObject({
        level: 'error',
        err: { message: expect.stringMatching(/in a storage that is not set up here: .* BERTH_STORAGE_PREVIOUS/) },
      });
      expect((await clients[here].request('head', address)).status).toBe(200);
      expect((await clients[there].request('get', address)).status).toBe(200);
    });
  });
});
