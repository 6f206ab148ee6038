import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, rmdir, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { digestOf, digestToBytes } from '../oci/digest.ts';
import { DiskBlobStore } from '../storage/disk/store.ts';
import type { StorageKey, UploadState } from '../storage/port.ts';
import { createSweep, type Sweep } from './sweep.ts';

const uploadExpiryHours = 24;
const { signal } = new AbortController();

let facts: TestDatabase;
let databases: Database[];
let root: string;
let store: DiskBlobStore;
/** Of two processes on the same database and disk. */
let sweep: Sweep, otherSweep: Sweep;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  root = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  store = new DiskBlobStore(root);
  await store.start();
  databases = [1, 2].map(() => createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 }));
  database = databases[0]!;
  [sweep, otherSweep] = databases.map((each) => createSweep({ database: each, store, uploadExpiryHours })) as [
    Sweep,
    Sweep,
  ];
});
afterAll(async () => {
  await Promise.all(databases.map((each) => each.close()));
  await facts.drop();
  await rm(root, { recursive: true });
});

/** Some bytes of an unfinished upload, last written so many hours ago. */
async function placeBytes({ hoursAgo = 0 } = {}): Promise<{ state: UploadState; file: string }> {
  const state = store.begin(randomUUID());
  const writer = await store.openWriter(state, 0);
  await writer.write([Buffer.from('bytes')]);
  await writer.finish();
  const file = state['upload'] as string;
  const at = new Date(Date.now() - hoursAgo * 3_600_000);
  await utimes(path.join(root, 'uploads', file), at, at);
  return { state, file };
}

interface Session {
  readonly expiresInHours: number;
  /** Absent: nobody writes. */
  readonly leaseEndsInHours?: number;
}

async function openSession(state: UploadState | null, session: Session): Promise<string> {
  const id = randomUUID();
  await database.query(
    `INSERT INTO uploads (id, repository_name, credential_id, algorithm, storage_state, expires_at, lease, lease_expires_at)
     VALUES ($1, 'acme/app', 0, 'sha256', $2, now() + make_interval(hours => $3), $4, now() + make_interval(hours => $5))`,
    [
      id,
      state === null ? null : JSON.stringify(state),
      session.expiresInHours,
      session.leaseEndsInHours === undefined ? null : randomUUID(),
      session.leaseEndsInHours ?? null,
    ],
  );
  return id;
}

async function storeObject(): Promise<{ key: StorageKey; digest: Buffer }> {
  const { state } = await placeBytes();
  const digest = digestOf(randomBytes(8));
  return { key: await store.commit(state, digest, 'bytes'.length), digest: digestToBytes(digest) };
}

async function queueDeletion(key: StorageKey): Promise<void> {
  await database.query(`INSERT INTO storage_deletions (storage_key, cause) VALUES ($1, 'a test')`, [key]);
}

const files = () => readdir(path.join(root, 'uploads'));
const isSession = async (id: string) => (await database.query('SELECT 1 FROM uploads WHERE id = $1', [id])).length > 0;
const isStored = async (key: StorageKey) =>
  (await Array.fromAsync(store.listObjects())).some((object) => object.key === key);
const findDeletion = async (key: StorageKey) =>
  (
    await database.query<{ attempts: number; due: boolean }>(
      'SELECT attempts, try_after <= now() AS due FROM storage_deletions WHERE storage_key = $1',
      [key],
    )
  )[0];

describe('uploads that have expired', () => {
  test('go, with their bytes; others stay', async () => {
    const [expired, open] = [await placeBytes(), await placeBytes()];
    const ids = [
      await openSession(expired.state, { expiresInHours: -1 }),
      await openSession(null, { expiresInHours: -1 }),
      await openSession(open.state, { expiresInHours: 1 }),
    ];
    expect(await sweep.expiredUploads(signal)).toMatchObject({ done: 2, failed: 0 });
    expect(await Promise.all(ids.map(isSession))).toEqual([false, false, true]);
    expect(await files()).not.toContain(expired.file);
    expect(await files()).toContain(open.file);
  });

  test('stay while somebody writes, and go when the writer has not been heard of', async () => {
    const [written, left] = [await placeBytes(), await placeBytes()];
    const writing = await openSession(written.state, { expiresInHours: -1, leaseEndsInHours: 1 });
    const dead = await openSession(left.state, { expiresInHours: -1, leaseEndsInHours: -1 });
    await sweep.expiredUploads(signal);
    expect([await isSession(writing), await isSession(dead)]).toEqual([true, false]);
    expect(await files()).toContain(written.file);
    expect(await files()).not.toContain(left.file);
  });

  test('whose bytes cannot be freed keep nobody else from going', async () => {
    const [stuck, other] = [await placeBytes(), await placeBytes()];
    const blocked = path.join(root, 'uploads', stuck.file);
    await rm(blocked);
    await mkdir(blocked);
    await openSession(stuck.state, { expiresInHours: -2 });
    await openSession(other.state, { expiresInHours: -1 });
    const swept = await sweep.expiredUploads(signal);
    expect(swept).toMatchObject({ done: 1, failed: 1, failure: expect.any(Error) });
    expect(await files()).not.toContain(other.file);
    await rmdir(blocked);
  });
});

describe('bytes that no session knows', () => {
  test('go when nothing was written for longer than an upload may stand still', async () => {
    const old = await placeBytes({ hoursAgo: uploadExpiryHours + 2 });
    expect(await sweep.abandonedUploads(signal)).toMatchObject({ done: 1, failed: 0 });
    expect(await files()).not.toContain(old.file);
  });

  test('stay when they are young, for their writer may not have recorded them yet', async () => {
    const young = await placeBytes({ hoursAgo: uploadExpiryHours });
    await sweep.abandonedUploads(signal);
    expect(await files()).toContain(young.file);
  });

  test('are not those of a session, however old', async () => {
    const kept = await placeBytes({ hoursAgo: 1000 });
    await openSession(kept.state, { expiresInHours: 1 });
    await sweep.abandonedUploads(signal);
    expect(await files()).toContain(kept.file);
  });

  test('are not those of a session that knows more of their place than a listing, or has them beside its place', async () => {
    const [known, noted] = [await placeBytes({ hoursAgo: 1000 }), await placeBytes({ hoursAgo: 1000 })];
    const id = await openSession({ ...known.state, size: 5 }, { expiresInHours: 1 });
    await database.query('UPDATE uploads SET other_places = $2 WHERE id = $1', [id, JSON.stringify([noted.state])]);
    await sweep.abandonedUploads(signal);
    expect(await files()).toEqual(expect.arrayContaining([known.file, noted.file]));
  });
});

describe('objects that are queued for deletion', () => {
  test('go, and their row after them', async () => {
    const [{ key }, other] = [await storeObject(), await storeObject()];
    await queueDeletion(key);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 1, failed: 0 });
    expect(await isStored(key)).toBe(false);
    expect(await findDeletion(key)).toBeUndefined();
    expect(await isStored(other.key)).toBe(true);
  });

  test('that are gone already, for a process died before it could say so, are forgotten', async () => {
    const { key } = await storeObject();
    await queueDeletion(key);
    await store.delete(key);
    await sweep.queuedDeletions(signal);
    expect(await findDeletion(key)).toBeUndefined();
  });

  test('that cannot be deleted are tried again later', async () => {
    const { key } = await storeObject();
    await queueDeletion(key);
    const file = path.join(root, key);
    await rm(file);
    await mkdir(file);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 0, failed: 1, failure: expect.any(Error) });
    expect(await findDeletion(key)).toEqual({ attempts: 1, due: false });
    // Not before its time.
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 0, failed: 0 });

    await rmdir(file);
    await database.query('UPDATE storage_deletions SET try_after = now() WHERE storage_key = $1', [key]);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 1, failed: 0 });
    expect(await findDeletion(key)).toBeUndefined();
  });

  test('are kept when, against all rules, a blob has them', async () => {
    const { key, digest } = await storeObject();
    await database.query('INSERT INTO blobs (digest, size, storage_key) VALUES ($1, 5, $2)', [digest, key]);
    await queueDeletion(key);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 0, failed: 1 });
    expect(await isStored(key)).toBe(true);
    expect(await findDeletion(key)).toEqual({ attempts: 1, due: false });
  });
});

describe('places that are queued for deletion', () => {
  const queuePlace = async (state: UploadState) => {
    await database.query(`INSERT INTO storage_deletions (upload_state, cause) VALUES ($1, 'a test')`, [
      JSON.stringify(state),
    ]);
  };
  const isQueued = async ({ upload }: UploadState) =>
    (await database.query(`SELECT 1 FROM storage_deletions WHERE upload_state ->> 'upload' = $1`, [upload])).length > 0;

  test('go, and their row after them', async () => {
    const { state, file } = await placeBytes();
    await queuePlace(state);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 1, failed: 0 });
    expect(await files()).not.toContain(file);
    expect(await isQueued(state)).toBe(false);
  });

  test('come from sessions that have expired with places beside their own', async () => {
    const [own, other] = [await placeBytes(), await placeBytes()];
    const id = await openSession(own.state, { expiresInHours: -1 });
    await database.query('UPDATE uploads SET other_places = $2 WHERE id = $1', [id, JSON.stringify([other.state])]);
    expect(await sweep.expiredUploads(signal)).toMatchObject({ done: 1, failed: 0 });
    expect([await isSession(id), await isQueued(own.state), await isQueued(other.state)]).toEqual([false, true, true]);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 2, failed: 0 });
    expect(await files()).not.toContain(own.file);
    expect(await files()).not.toContain(other.file);
  });

  test('of a storage that is not set up here are left to a process that has it', async () => {
    const foreign = { upload: `${randomUUID()}.${'0'.repeat(24)}`, size: 0, multipart: 'an id' };
    const id = await openSession(foreign, { expiresInHours: -1 });
    await sweep.expiredUploads(signal);
    expect([await isSession(id), await isQueued(foreign)]).toEqual([false, true]);
    expect(await sweep.queuedDeletions(signal)).toMatchObject({ done: 0, failed: 1, failure: expect.any(Error) });
    expect(await isQueued(foreign)).toBe(true);
  });
});

test('two processes share the work: each thing is done once, and none is left', async () => {
  const count = 130;
  const keys: StorageKey[] = [];
  const places: string[] = [];
  for (let item = 0; item < count; item += 1) {
    const { key } = await storeObject();
    await queueDeletion(key);
    keys.push(key);
    const { state, file } = await placeBytes();
    await openSession(state, { expiresInHours: -1 });
    places.push(file);
  }
  for (const work of ['queuedDeletions', 'expiredUploads'] as const) {
    const runs = await Promise.all([sweep[work](signal), otherSweep[work](signal)]);
    expect(runs.map(({ failed }) => failed)).toEqual([0, 0]);
    expect(runs[0].done + runs[1].done).toBe(count);
  }
  expect((await Array.fromAsync(store.listObjects())).filter(({ key }) => keys.includes(key))).toEqual([]);
  expect((await files()).filter((file) => places.includes(file))).toEqual([]);
});

test('a process does not wait for what another one has in hand', async () => {
  const [{ key }, other] = [await storeObject(), await storeObject()];
  await queueDeletion(key);
  await queueDeletion(other.key);
  const ids = [
    await openSession(null, { expiresInHours: -1 }),
    await openSession((await placeBytes()).state, { expiresInHours: -1 }),
  ];
  await database.transaction(async (queryer) => {
    await queryer.query('SELECT 1 FROM storage_deletions WHERE storage_key = $1 FOR UPDATE', [key]);
    await queryer.query('SELECT 1 FROM uploads WHERE id = $1 FOR UPDATE', [ids[0]]);
    expect(await otherSweep.queuedDeletions(signal)).toMatchObject({ done: 1, failed: 0 });
    expect(await otherSweep.expiredUploads(signal)).toMatchObject({ done: 1, failed: 0 });
  });
  expect([await isStored(key), await isStored(other.key)]).toEqual([true, false]);
  expect(await Promise.all(ids.map(isSession))).toEqual([true, false]);
  // Whoever had them died without a change.
  await otherSweep.queuedDeletions(signal);
  await otherSweep.expiredUploads(signal);
  expect(await isStored(key)).toBe(false);
  expect(await Promise.all(ids.map(isSession))).toEqual([false, false]);
});

test('a sweep that is told to end does so, and the next one finds what is left', async () => {
  const { key } = await storeObject();
  await queueDeletion(key);
  await sweep.queuedDeletions(AbortSignal.abort());
  expect(await findDeletion(key)).toEqual({ attempts: 0, due: true });
  await sweep.queuedDeletions(signal);
  expect(await isStored(key)).toBe(false);
});
