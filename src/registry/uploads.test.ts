import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { commandLine } from '../access/actor.ts';
import type { Actor } from '../events/actor.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { digestAlgorithm, digestOf, digestToBytes, type Digest } from '../oci/digest.ts';
import { parseRepositoryName } from '../oci/reference.ts';
import { DiskBlobStore } from '../storage/disk/store.ts';
import type { StorageKey, UploadState } from '../storage/port.ts';
import { createCommitBlob } from './commit-blob.ts';
import { createRepositories } from './repositories.ts';
import { findUpload, recordProgress, takeLease } from './sql/uploads.ts';
import { createLeases } from './upload-lease.ts';
import { createPlaces, type Chunk } from './upload-place.ts';
import { createUploads, type Uploads } from './uploads.ts';

/** Short enough for a test to wait it out, long enough for a slow machine to renew it. */
const leaseSeconds = 0.5;
const name = parseRepositoryName('acme/uploads');
const actor: Actor = { ...commandLine('test'), credentialId: 0 };
const become = (digest: Digest) => ({ name, digest, actor });
const limits = { uploadsPerAccountMax: 100, uploadExpiryHours: 1 };

let facts: TestDatabase;
let database: Database;
let folder: string;
let store: DiskBlobStore;
let uploads: Uploads;

beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 5, hotLanes: 1 });
  await database.query("INSERT INTO namespaces (name, kind) VALUES ('acme', 'organization')");
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  store = new DiskBlobStore(folder);
  await store.start();
  uploads = newProcess();
  return () => rm(folder, { recursive: true, force: true });
});

/** What another process, or this one after a restart, would have: the same facts and bytes, and nothing in memory. */
function newProcess(blobBytesMax = 1024 ** 3): Uploads {
  const repositories = createRepositories(database, 'private');
  const commitBlob = createCommitBlob({ database, store, repositories, reviewDelayHours: 24 });
  const leases = createLeases(database, leaseSeconds);
  return createUploads({ database, store, leases, places: createPlaces(store, blobBytesMax), commitBlob, limits });
}

const chunkOf = (bytes: Buffer): Chunk => ({ body: Readable.from([bytes]), range: null });
const nothing: Chunk = { body: null, range: null };

/** A session that has these bytes. */
async function sessionWith(bytes: Buffer): Promise<{ id: string; state: UploadState }> {
  const { id } = await uploads.open(name, actor, 'sha256');
  await uploads.append(id, name, chunkOf(bytes));
  return { id, state: await placeOf(id) };
}

async function placeOf(id: string): Promise<UploadState> {
  return (await findUpload(database, id, name))!.storage_state!;
}

/** A process that took the lease and was then heard of no more. Its lease is over when this resolves. */
async function dieHoldingTheLease(id: string): Promise<void> {
  expect(await takeLease(database, id, name, randomUUID(), 0)).toBeDefined();
}

/** The digest of what is stored as this blob. */
async function storedAs(digest: Digest): Promise<Digest> {
  const [blob] = await database.query<{ storage_key: string; size: number }>(
    'SELECT storage_key, size FROM blobs WHERE digest = $1',
    [digestToBytes(digest)],
  );
  const pieces: Buffer[] = [];
  for await (const piece of await store.read(blob!.storage_key as StorageKey, { start: 0, length: blob!.size }))
    pieces.push(Buffer.from(piece));
  return digestOf(Buffer.concat(pieces), digestAlgorithm(digest));
}

const unfinished = () => readdir(path.join(folder, 'uploads'));

describe('a process that dies', () => {
  test('between storing a blob and saying so leaves a session that the closing PUT still ends', async () => {
    const bytes = randomBytes(5000);
    const digest = digestOf(bytes);
    const { id, state } = await sessionWith(bytes);
    await dieHoldingTheLease(id);
    await store.commit(state, digest, bytes.length);

    await newProcess().complete(id, become(digest), nothing);

    expect(await storedAs(digest)).toBe(digest);
  });

  test('holding a lease leaves a session that goes on where it was acknowledged', async () => {
    const [first, lost, rest] = [randomBytes(3000), randomBytes(500), randomBytes(2000)];
    const { id, state } = await sessionWith(first);
    await dieHoldingTheLease(id);
    const writer = await store.openWriter(state, first.length);
    await writer.write([lost]);
    await writer.finish();

    const next = newProcess();
    expect(await next.append(id, name, chunkOf(rest))).toEqual({ id, offset: 5000 });
    const whole = Buffer.concat([first, rest]);
    await next.complete(id, become(digestOf(whole)), nothing);

    expect(await storedAs(digestOf(whole))).toBe(digestOf(whole));
    expect(await unfinished()).toEqual([]);
  });
});

describe('the last chunk', () => {
  test('is part of the session before the blob is stored, so that a crash between the two loses nothing', async () => {
    const [first, last] = [randomBytes(3000), randomBytes(2000)];
    const whole = Buffer.concat([first, last]);
    const { id } = await sessionWith(first);
    // The database goes away at the very moment of the last transaction, with the bytes stored already.
    await database.query(
      `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'gone' USING ERRCODE = '57P01'; END $$`,
    );
    await database.query('CREATE TRIGGER refuse BEFORE INSERT ON blobs EXECUTE FUNCTION refuse()');
    try {
      await expect(uploads.complete(id, become(digestOf(whole)), chunkOf(last))).rejects.toThrow('not available');
    } finally {
      await database.query('DROP TRIGGER refuse ON blobs');
      await database.query('DROP FUNCTION refuse()');
    }

    const next = newProcess();
    expect(await next.status(id, name)).toEqual({ id, offset: 5000 });
    await next.complete(id, become(digestOf(whole)), nothing);
    expect(await storedAs(digestOf(whole))).toBe(digestOf(whole));
  });

  test('by another algorithm than the session began with is kept by that algorithm', async () => {
    const [first, last] = [randomBytes(3000), randomBytes(2000)];
    const whole = Buffer.concat([first, last]);
    const { id } = await sessionWith(first);

    await newProcess().complete(id, become(digestOf(whole, 'sha512')), chunkOf(last));

    expect(await storedAs(digestOf(whole, 'sha512'))).toBe(digestOf(whole, 'sha512'));
  });
});

describe('on disk, whose places can be listed', () => {
  /** Statements outside of transactions, and transactions. */
  async function asked(work: () => Promise<unknown>): Promise<[queries: number, transactions: number]> {
    const spies = [vi.spyOn(database, 'query'), vi.spyOn(database, 'transaction')] as const;
    try {
      await work();
      return [spies[0].mock.calls.length, spies[1].mock.calls.length];
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
  }

  test('a blob in one request takes its transaction and nothing else, and one that is refused not even that', async () => {
    const bytes = randomBytes(1000);
    expect(await asked(() => uploads.putWhole(become(digestOf(bytes)), chunkOf(bytes)))).toEqual([0, 1]);
    const refused = uploads.putWhole(become(digestOf('other bytes')), chunkOf(bytes));
    expect(await asked(() => refused.catch(() => undefined))).toEqual([0, 0]);
    expect(await unfinished()).toEqual([]);
  });

  test('a chunk takes two statements, the end of a session one and its transaction', async () => {
    const bytes = randomBytes(1000);
    const { id } = await uploads.open(name, actor, 'sha256');
    expect(await asked(() => uploads.append(id, name, chunkOf(bytes)))).toEqual([2, 0]);
    expect(await asked(() => uploads.complete(id, become(digestOf(bytes)), nothing))).toEqual([1, 1]);
    const cancelled = await sessionWith(bytes);
    expect(await asked(() => uploads.cancel(cancelled.id, name))).toEqual([2, 0]);
  });
});

describe('a chunk that is refused', () => {
  test('leaves a session that ends as if it had never come', async () => {
    const bytes = randomBytes(3000);
    const { id } = await sessionWith(bytes);
    const tooLong: Chunk = { body: Readable.from([randomBytes(100)]), range: { start: 3000, end: 3009 } };
    await expect(uploads.append(id, name, tooLong)).rejects.toThrow('announces 10 bytes');

    await uploads.complete(id, become(digestOf(bytes)), nothing);

    expect(await storedAs(digestOf(bytes))).toBe(digestOf(bytes));
  });

  test('with a wrong digest leaves a session that ends as if it had never come', async () => {
    const bytes = randomBytes(3000);
    const { id } = await sessionWith(bytes);
    const other = digestOf(randomBytes(10));
    await expect(uploads.complete(id, become(other), chunkOf(randomBytes(100)))).rejects.toThrow('does not match');

    await uploads.complete(id, become(digestOf(bytes)), nothing);

    expect(await storedAs(digestOf(bytes))).toBe(digestOf(bytes));
  });

  test('for being too large leaves the connection ready for the answer, and no file', async () => {
    const body = Readable.from([randomBytes(600), randomBytes(600), randomBytes(600)]);
    const chunk: Chunk = { body, range: null };
    const small = newProcess(1000);
    const { id } = await small.open(name, actor, 'sha256');
    await expect(small.append(id, name, chunk)).rejects.toThrow('larger than this registry accepts');

    expect(await unfinished()).toEqual([]);
    // The rest of the body runs out: a sender who is not read any more would never get to the answer.
    await finished(body);
  });
});

describe('a writer that stalls', () => {
  test('cannot spoil the bytes of those who come after a take-over that came to nothing', async () => {
    const [first, rest] = [randomBytes(3000), randomBytes(2000)];
    const whole = Buffer.concat([first, rest]);
    const { id, state } = await sessionWith(first);
    await dieHoldingTheLease(id);
    const stalled = await store.openWriter(state, first.length);

    const next = newProcess();
    // Takes over, and fails: nothing of it is recorded.
    await expect(next.complete(id, become(digestOf('something else')), chunkOf(rest))).rejects.toThrow(
      'does not match',
    );
    await next.append(id, name, chunkOf(rest));
    await stalled.write([randomBytes(2000)]);
    await stalled.finish();
    await next.complete(id, become(digestOf(whole)), nothing);

    expect(await storedAs(digestOf(whole))).toBe(digestOf(whole));
  });
});

describe('a lease', () => {
  test('that waits for the one before to record its bytes begins behind them', async () => {
    const { id, state } = await sessionWith(randomBytes(1000));
    const holder = randomUUID();
    expect(await takeLease(database, id, name, holder, 0)).toBeDefined();
    const digest = digestOf('other bytes');
    let next: ReturnType<typeof takeLease> | undefined;
    await database.transaction(async (queryer) => {
      const progress = { offset: 2000, digest, state, otherPlaces: [], closed: false };
      await recordProgress(queryer, id, holder, progress, { expiryHours: 1, keepLease: false });
      // Sees the row as it was, whose lease is over, and has to wait for this transaction.
      next = takeLease(database, id, name, randomUUID(), 1);
      await vi.waitUntil(async () => {
        const waiting = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
        return (await database.query(waiting)).length > 0;
      });
    });
    expect(await next).toMatchObject({ byte_offset: 2000, digest_so_far: digestToBytes(digest), taken_over: false });
  });

  test('is renewed while its holder works, and lost to nobody', async () => {
    const bytes = randomBytes(3000);
    const { id } = await uploads.open(name, actor, 'sha256');
    const body = new PassThrough();
    const appending = uploads.append(id, name, { body, range: null });
    body.write(bytes.subarray(0, 1000));
    const leased = 'SELECT 1 FROM uploads WHERE id = $1 AND lease IS NOT NULL';
    await vi.waitFor(async () => expect(await database.query(leased, [id])).toHaveLength(1), { timeout: 10_000 });
    // Another process waits longer than the lease lasts, and gives up.
    await expect(newProcess().append(id, name, chunkOf(randomBytes(10)))).rejects.toMatchObject({ kind: 'uploadBusy' });
    body.end(bytes.subarray(1000));
    expect(await appending).toEqual({ id, offset: 3000 });
  });
});
