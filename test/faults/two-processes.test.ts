/** Two Berths on one database and one folder of bytes: a session belongs to neither, and no two writers ever mix their bytes. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { digestOf, digestToBytes, type Digest } from '../../src/oci/digest.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  callerOf,
  closing,
  findDamage,
  orphanObjects,
  slowRequest,
  unfinishedFiles,
  until,
  type Caller,
} from '../support/faults.ts';

const name = 'acme/pair';
const mib = 1024 * 1024;
/** The least that the setting allows: a test waits it out. */
const leaseSeconds = 5;

let facts: TestDatabase;
let database: Database;
let dataDir: string;
const berths: BerthProcess[] = [];
const calls: [Caller, Caller] = [undefined!, undefined!];

beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  await Promise.all([start(0), start(1)]);
});
afterAll(async () => {
  await Promise.all(berths.map((berth) => berth.end('SIGTERM')));
  await database.close();
  await facts.drop();
  await rm(dataDir, { recursive: true, force: true });
});

async function start(index: 0 | 1): Promise<void> {
  const berth = await spawnBerth({
    BERTH_DATABASE_URL: facts.url,
    BERTH_DATA_DIR: dataDir,
    BERTH_UPLOAD_LEASE_SECONDS: String(leaseSeconds),
  });
  berths[index] = berth;
  calls[index] = callerOf(berth.url, berth.admin);
}

/** A session's path, with these bytes acknowledged. */
async function openSession(bytes = Buffer.alloc(0), call = calls[0]): Promise<string> {
  const opened = await call('POST', `/v2/${name}/blobs/uploads/`);
  expect(opened.status).toBe(202);
  const location = new URL(opened.headers.get('location')!, 'http://any').pathname;
  if (bytes.length > 0) expect(await patch(call, location, bytes)).toBe(202);
  return location;
}

async function patch(call: Caller, session: string, body: Buffer, start?: number): Promise<number> {
  const range = start === undefined ? {} : { 'Content-Range': `${start}-${start + body.length - 1}` };
  return (await call('PATCH', session, { body, headers: range })).status;
}

async function put(call: Caller, session: string, digest: Digest, body?: Buffer): Promise<number> {
  return (await call('PUT', closing(session, digest), { ...(body !== undefined && { body }) })).status;
}

async function expectBlob(bytes: Buffer, digest = digestOf(bytes)): Promise<void> {
  for (const call of calls) {
    const answer = await call('GET', `/v2/${name}/blobs/${digest}`);
    expect(answer.status).toBe(200);
    expect(answer.body.equals(bytes)).toBe(true);
  }
}

/** A PATCH or PUT at one of the processes whose body has not ended, and whose writer is at work. */
async function writing(index: 0 | 1, session: string, digest?: Digest) {
  const target = digest === undefined ? session : closing(session, digest);
  const { url, admin } = berths[index]!;
  const slow = await slowRequest(digest === undefined ? 'PATCH' : 'PUT', new URL(target, url), admin);
  await until(async () => {
    const id = session.split('/').at(-1);
    return (await database.query('SELECT FROM uploads WHERE id = $1 AND lease IS NOT NULL', [id])).length > 0;
  });
  return slow;
}

async function statusOf(call: Caller, session: string): Promise<string | null> {
  return (await call('GET', session)).headers.get('range');
}

describe('one session at two processes', () => {
  test('takes its chunks by turns', async () => {
    const chunks = Array.from({ length: 6 }, () => randomBytes(300_000));
    const session = await openSession();
    let at = 0;
    for (const [i, chunk] of chunks.entries()) {
      expect(await patch(calls[i % 2]!, session, chunk, at)).toBe(202);
      at += chunk.length;
    }
    const whole = Buffer.concat(chunks);
    expect(await put(calls[0], session, digestOf(whole))).toBe(201);
    await expectBlob(whole);
  });

  test('is closed with a last chunk, or by another algorithm, where it did not begin', async () => {
    const [first, last] = [randomBytes(300_000), randomBytes(1000)];
    const whole = Buffer.concat([first, last]);
    expect(await put(calls[1], await openSession(first), digestOf(whole), last)).toBe(201);
    await expectBlob(whole);
    const sha512 = digestOf(first, 'sha512');
    expect(await put(calls[1], await openSession(first), sha512)).toBe(201);
    await expectBlob(first, sha512);
  });

  test('survives a restart', async () => {
    const [first, rest] = [randomBytes(300_000), randomBytes(1000)];
    const session = await openSession(first);
    expect(await berths[0]!.end('SIGTERM')).toBe(0);
    await start(0);
    expect(await statusOf(calls[0], session)).toBe(`0-${first.length - 1}`);
    expect(await patch(calls[0], session, rest, first.length)).toBe(202);
    expect(await put(calls[1], session, digestOf(Buffer.concat([first, rest])))).toBe(201);
    await expectBlob(Buffer.concat([first, rest]));
  });
});

describe('two writers on one session', () => {
  test('at one process: the second has the first let go, keeps what it brought, and goes on from there', async () => {
    const bytes = randomBytes(3 * mib);
    const session = await openSession();
    const first = await writing(0, session);
    await first.send(bytes.subarray(0, mib));
    // Not at the offset that the session has by then, whatever that is.
    const second = await calls[0]('PATCH', session, {
      body: Buffer.from('x'),
      headers: { 'Content-Range': '999999999-999999999' },
    });
    expect(second.status).toBe(416);
    expect([409, 'broken']).toContain(await first.outcome);
    const at = Number(second.headers.get('range')!.slice(2)) + 1;
    expect(await patch(calls[0], session, bytes.subarray(at === 1 ? 0 : at))).toBe(202);
    expect(await put(calls[0], session, digestOf(bytes))).toBe(201);
    await expectBlob(bytes);
  });

  test('at two processes: the second is told to wait while the first one writes', async () => {
    const bytes = randomBytes(2 * mib);
    const session = await openSession();
    const first = await writing(0, session);
    await first.send(bytes.subarray(0, mib));
    const second = await calls[1]('PATCH', session, { body: randomBytes(10) });
    expect(second.status).toBe(409);
    expect(second.headers.get('retry-after')).toBe('1');
    first.end(bytes.subarray(mib));
    expect(await first.outcome).toBe(202);
    expect(await put(calls[1], session, digestOf(bytes))).toBe(201);
    await expectBlob(bytes);
  });

  test('at two processes: a stalled first one is taken over, and what it still writes harms nothing', async () => {
    const [first, lost, rest] = [randomBytes(100_000), randomBytes(3 * mib), randomBytes(2 * mib)];
    const whole = Buffer.concat([first, rest]);
    const session = await openSession(first);
    const stalled = await writing(0, session);
    await stalled.send(lost.subarray(0, 2 * mib));
    await until(async () => (await largestUpload()) > first.length);
    berths[0]!.child.kill('SIGSTOP');
    try {
      expect(await patch(calls[1], session, rest, first.length)).toBe(202);
    } finally {
      berths[0]!.child.kill('SIGCONT');
    }
    stalled.end(lost.subarray(2 * mib));
    expect([409, 'broken']).toContain(await stalled.outcome);
    expect(await put(calls[1], session, digestOf(whole))).toBe(201);
    await expectBlob(whole);
  });
});

async function largestUpload(): Promise<number> {
  const folder = path.join(dataDir, 'storage', 'uploads');
  const sizes = (await readdir(folder)).map(async (file) => (await stat(path.join(folder, file))).size);
  return Math.max(0, ...(await Promise.all(sizes)));
}

describe('the end of a session', () => {
  test('a cancel ends it under its writer', async () => {
    const session = await openSession(randomBytes(1000));
    const writer = await writing(0, session);
    await writer.send(randomBytes(2 * mib));
    expect((await calls[0]('DELETE', session)).status).toBe(204);
    expect([409, 'broken']).toContain(await writer.outcome);
    for (const call of calls) expect((await call('GET', session)).status).toBe(404);
  });

  test.for([
    ['one process', 0],
    ['two processes', 1],
  ] as const)('a closing PUT sent twice at once to %s: one ends it, the other finds it done', async ([, other]) => {
    const bytes = randomBytes(300_000);
    const session = await openSession(bytes);
    const statuses = await Promise.all([
      put(calls[0], session, digestOf(bytes)),
      put(calls[other], session, digestOf(bytes)),
    ]);
    expect(statuses).toEqual([201, 201]);
    await expectBlob(bytes);
  });

  test('two closing PUTs with different bytes: only a right one counts', async () => {
    const [right, wrong] = [randomBytes(300_000), randomBytes(300_000)];
    const session = await openSession();
    const statuses = await Promise.all([
      put(calls[0], session, digestOf(right), right),
      put(calls[1], session, digestOf(right), wrong),
    ]);
    expect(statuses[0]).toBe(201);
    expect([400, 404]).toContain(statuses[1]);
    await expectBlob(right);
  });

  test('the same bytes ended at both at once: both are answered 201, and one copy counts', async () => {
    for (let round = 0; round < 5; round += 1) {
      const bytes = randomBytes(50_000);
      const digest = digestOf(bytes);
      const sessions = await Promise.all([openSession(bytes, calls[0]), openSession(bytes, calls[1])]);
      const statuses = await Promise.all(sessions.map((session, i) => put(calls[i]!, session, digest)));
      expect(statuses).toEqual([201, 201]);
      const kept = await database.query('SELECT FROM blobs WHERE digest = $1', [digestToBytes(digest)]);
      expect(kept).toHaveLength(1);
      await expectBlob(bytes);
    }
  });
});

test('after all this every fact is in order, every byte is somebody’s, and no file is left open', async () => {
  expect(await findDamage(database, dataDir)).toEqual([]);
  expect(await orphanObjects(database, dataDir)).toEqual([]);
  expect((await unfinishedFiles(database, dataDir)).nobodys).toEqual([]);
  for (const { child } of berths) await until(async () => (await openFiles(child.pid!)).length === 0);
});

/** Files of the store that a process has open. */
async function openFiles(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const links = await Promise.all((await readdir(folder)).map((fd) => readlink(path.join(folder, fd)).catch(() => '')));
  return links.filter((link) => link.startsWith(dataDir));
}
