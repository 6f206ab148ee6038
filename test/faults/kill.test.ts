/**
 * kill -9 of the whole server, its own PostgreSQL included, at random moments of concurrent pushes; one data folder over all
 * rounds. `FAULT_ROUNDS=50` for the long run, `FAULT_SEED` repeats the choices (not the moments, which the machine decides).
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findEmbeddedPostgres } from '../../src/database/embedded/embedded.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { uploadNameOf, uploadPath } from '../../src/storage/layout.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { callerOf, chanceOf, closing, findDamage } from '../support/faults.ts';
import { Ledger, pushUntilGone, readBack, resume } from '../support/faults-ledger.ts';
import { randomContent } from '../support/images.ts';

const rounds = Number(process.env['FAULT_ROUNDS'] ?? 6);
const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 2 ** 32);
const pushers = 5;
/** A kill comes this long after the pushers begin, at most. */
const killAfterMsMax = 1200;

let dataDir: string;
const ledger = new Ledger();
const checked = new Set<Digest>();
beforeAll(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
});
let running: BerthProcess | undefined;
afterAll(async () => {
  // Only a test that failed leaves one.
  if (running?.child.exitCode === null && running.child.signalCode === null) await running.end('SIGKILL');
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
});

async function start(): Promise<BerthProcess> {
  running = await spawnBerth({ BERTH_DATA_DIR: dataDir, BERTH_UPLOAD_LEASE_SECONDS: '5', BERTH_LOG_LEVEL: 'warn' });
  return running;
}

async function withFacts<T>(work: (database: Database) => Promise<T>): Promise<T> {
  const database = createDatabase({
    connection: (await findEmbeddedPostgres(dataDir))!,
    poolSize: 1,
    hotLanes: 1,
  });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

/**
 * Ends the server at once. Its PostgreSQL ends with it in an orderly way, or, when asked so, is killed at the same moment:
 * then commits that nobody waited for are lost, as when the machine loses its power.
 */
async function kill(berth: BerthProcess, withPostgres: boolean): Promise<void> {
  if (withPostgres) {
    berth.child.kill('SIGSTOP');
    const [pid] = (await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
    process.kill(Number(pid), 'SIGKILL');
  }
  await berth.end('SIGKILL');
}

/** Files in the store that neither of its listings shows, and that no sweep could ever find. */
async function hiddenFiles(): Promise<string[]> {
  const root = path.join(dataDir, 'storage');
  const store = new DiskBlobStore(root);
  const listed = new Set<string>();
  for await (const { key } of store.listObjects()) listed.add(key);
  for await (const { state } of store.listUploads()) listed.add(uploadPath(uploadNameOf(state)));
  const files = await readdir(root, { recursive: true, withFileTypes: true });
  return files
    .filter((file) => file.isFile())
    .map((file) => path.relative(root, path.join(file.parentPath, file.name)))
    .filter((name) => !listed.has(name));
}

/** Everything that holds after a restart, before anybody pushes again. */
async function check(berth: BerthProcess, options: { all: boolean }): Promise<void> {
  expect(await readBack(callerOf(berth.url, berth.admin), ledger, options)).toEqual([]);
  expect(await withFacts((database) => findDamage(database, dataDir, checked))).toEqual([]);
  expect(await hiddenFiles()).toEqual([]);
  expect(ledger.surprises).toEqual([]);
}

test(
  `kill -9 at ${rounds} random moments loses nothing that was answered (FAULT_SEED=${seed})`,
  { timeout: 60_000 + rounds * 20_000 },
  async () => {
    for (let round = 0; round < rounds; round += 1) {
      const berth = await start();
      await check(berth, { all: false });
      let gone = false;
      const chance = chanceOf(seed - round);
      const call = callerOf(berth.url, berth.admin);
      const pushing = Array.from({ length: pushers }, (_, i) =>
        pushUntilGone(call, ledger, chanceOf(seed + round * pushers + i), () => gone),
      );
      await Promise.race([delay(chance.below(killAfterMsMax)), ...pushing]);
      gone = true;
      await kill(berth, chance.below(2) === 0);
      await Promise.all(pushing);
      ledger.gone();
    }
    const berth = await start();
    try {
      await check(berth, { all: true });
      const call = callerOf(berth.url, berth.admin);
      const left = ledger.sessions.size;
      await Promise.all([...ledger.sessions].map((session) => resume(call, ledger, session)));
      console.log(
        `seed ${seed}: ${rounds} kills, ${ledger.blobs.size} blobs, ${ledger.manifests.size} manifests, ${left} sessions finished at the end`,
      );
      await check(berth, { all: false });
      expect(ledger.sessions.size).toBe(0);
      expect(ledger.manifests.size).toBeGreaterThan(0);
    } finally {
      await berth.end('SIGTERM');
    }
  },
);

test('SIGTERM lets running pushes end with their answers, exits 0 and loses nothing', async () => {
  const berth = await start();
  const authorization = `Basic ${Buffer.from(`${berth.admin.username}:${berth.admin.password}`).toString('base64')}`;
  const call = callerOf(berth.url, berth.admin);
  const sending = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const blob = randomContent(300_000);
      const opened = await call('POST', '/v2/crash/a/blobs/uploads/');
      const target = new URL(closing(opened.headers.get('location')!, blob.digest), berth.url);
      const put = request(target, {
        method: 'PUT',
        agent: false,
        headers: { authorization, expect: '100-continue', 'content-length': blob.bytes.length },
      });
      const answered = once(put, 'response') as Promise<[{ statusCode: number; resume(): void }]>;
      put.flushHeaders();
      // The server has the request: it asks for the body.
      await once(put, 'continue');
      put.write(blob.bytes.subarray(0, 100_000));
      return { blob, put, answered };
    }),
  );
  const exited = berth.end('SIGTERM');
  // Stopping has begun when nobody new is let in.
  const accepts = (): Promise<boolean> =>
    fetch(berth.url).then(
      () => true,
      () => false,
    );
  while (await accepts()) await delay(10);
  for (const { blob, put } of sending) put.end(blob.bytes.subarray(100_000));
  for (const { blob, answered } of sending) {
    const [answer] = await answered;
    answer.resume();
    expect(answer.statusCode).toBe(201);
    ledger.blobs.add(`crash/a@${blob.digest}`);
  }
  expect(await exited).toBe(0);

  const again = await start();
  try {
    await check(again, { all: false });
  } finally {
    expect(await again.end('SIGTERM')).toBe(0);
  }
});
