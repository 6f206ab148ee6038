/** A backup: nothing that a dump of the database names is deleted from storage until its objects have been copied. */
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { createSweep, type Sweep } from '../../src/registry/sweep.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { put } from '../contract/storage.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';

let berth: TestBerth;
let admin: Api;
let sweep: Sweep;
let store: DiskBlobStore;
const { signal } = new AbortController();

beforeAll(async () => {
  berth = await startTestBerth();
  admin = await apiOf(berth.url, berth.admin);
  store = new DiskBlobStore(path.join(berth.dataDir, 'storage'));
  sweep = createSweep({ database: berth.database, store, uploadExpiryHours: 24 });
});
afterAll(async () => {
  await store.close();
  await berth.stop();
});

/** An object that nothing names any more. */
async function queueObject(): Promise<void> {
  const key = await put(store, Buffer.from(digestOf(String(Math.random()))));
  await berth.database.query("INSERT INTO storage_deletions (storage_key, cause) VALUES ($1, 'test')", [key]);
}

const objects = async (): Promise<number> => (await Array.fromAsync(store.listObjects())).length;

test('while storage is held nothing is deleted from it, and after the release everything that waited', async () => {
  await queueObject();
  const held = await admin.put('/storage/hold', { hours: 6 });
  expect(held.body).toMatchObject({ held: true, by: 'admin', can: ['hold', 'release'] });
  expect(Date.parse(held.body.until!) - Date.parse(held.body.since!)).toBe(6 * 3_600_000);
  await sweep.queuedDeletions(signal);
  expect(await objects()).toBe(1);

  expect((await admin.delete('/storage/hold')).status).toBe(204);
  expect((await admin.get('/storage/hold')).body).toMatchObject({ held: false, until: null, can: ['hold'] });
  await sweep.queuedDeletions(signal);
  expect(await objects()).toBe(0);
});

test('a hold that nobody ends is over after its hours', async () => {
  await queueObject();
  await admin.put('/storage/hold', { hours: 1 });
  await berth.database.query(
    "UPDATE storage_holds SET held_at = now() - interval '2 h', held_until = now() - interval '1 h'",
  );
  expect((await admin.get('/storage/hold')).body).toMatchObject({ held: false, since: null });
  await sweep.queuedDeletions(signal);
  expect(await objects()).toBe(0);
});

test('a second hold moves the end, unless somebody else moved it meanwhile', async () => {
  const { etag } = (await admin.get('/storage/hold')).headers;
  const first = await admin.put('/storage/hold', { hours: 1 }).set('If-Match', etag!);
  const second = await admin.put('/storage/hold', { hours: 3 });
  expect(second.body.since).toBe(first.body.since);
  expect(Date.parse(second.body.until!)).toBeGreaterThan(Date.parse(first.body.until!));
  expect((await admin.put('/storage/hold', { hours: 9 }).set('If-Match', first.headers['etag']!)).status).toBe(412);
  expect((await admin.delete('/storage/hold')).status).toBe(204);
  const log = await admin.get('/audit?action=storage.');
  expect(log.body.items[0]).toMatchObject({ action: 'storage.release', actor: 'admin' });
});

test.each([0, 169, 1.5, '6'])('%j hours are refused', async (hours) => {
  expect((await admin.put('/storage/hold', { hours })).status).toBe(400);
});

test('for everybody but administrators it does not exist', async () => {
  const alice = await apiOf(berth.url, await berth.addUser('alice'));
  const answers = [
    await alice.get('/storage/hold'),
    await alice.put('/storage/hold', { hours: 1 }),
    await alice.delete('/storage/hold'),
  ];
  expect(answers.map(({ status }) => status)).toEqual([404, 404, 404]);
});
