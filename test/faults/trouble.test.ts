/** What Berth stands on gives way under it: no room on the disk, no database, PostgreSQL killed. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { spawnBerth, startTestBerth, type BerthProcess, type TestBerth } from '../support/berth.ts';
import {
  callerOf,
  closing,
  findDamage,
  orphanObjects,
  slowRequest,
  unfinishedFiles,
  until,
  type Answer,
  type Caller,
} from '../support/faults.ts';
import { makeImage, randomContent } from '../support/images.ts';

const mib = 1024 * 1024;
const name = 'acme/trouble';

function expectUnavailable(answer: Answer, message: RegExp): void {
  expect({ status: answer.status, body: answer.body.toString() }).toEqual({
    status: 503,
    body: expect.stringMatching(message),
  });
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
}

async function openSession(call: Caller): Promise<string> {
  const opened = await call('POST', `/v2/${name}/blobs/uploads/`);
  expect(opened.status).toBe(202);
  return new URL(opened.headers.get('location')!, 'http://any').pathname;
}

const root = process.getuid?.() === 0;

describe('a full disk', () => {
  const run = promisify(execFile);
  let disk: string;
  let berth: TestBerth;
  let call: Caller;

  beforeAll(async () => {
    if (!root) return;
    disk = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=12m,nr_inodes=200', 'tmpfs', disk]);
    berth = await startTestBerth({ BERTH_DATA_DIR: disk });
    call = callerOf(berth.url, berth.admin);
  });
  afterAll(async () => {
    if (!root) return;
    await berth.stop();
    await run('umount', [disk]);
    await rm(disk, { recursive: true });
  });

  async function expectNothingLeft(): Promise<void> {
    expect(await findDamage(berth.database, disk)).toEqual([]);
    expect(await orphanObjects(berth.database, disk)).toEqual([]);
    expect((await unfinishedFiles(berth.database, disk)).nobodys).toEqual([]);
  }

  test.skipIf(!root)('is told, leaves nothing half-written, and is over once there is room', async () => {
    const big = randomContent(8 * mib);
    const ballast = path.join(disk, 'ballast');
    await writeFile(ballast, randomBytes(6 * mib));
    const whole = `/v2/${name}/blobs/uploads/?digest=${big.digest}`;
    expectUnavailable(await call('POST', whole, { body: big.bytes }), /no room left/);
    const session = await openSession(call);
    expectUnavailable(await call('PUT', closing(session, big.digest), { body: big.bytes }), /no room left/);
    await expectNothingLeft();
    // Small things still have room, and facts have another disk.
    const image = makeImage();
    for (const blob of [image.config, ...image.layers])
      expect(
        (await call('POST', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes })).status,
      ).toBe(201);
    const headers = { 'Content-Type': image.mediaType };
    expect((await call('PUT', `/v2/${name}/manifests/v1`, { body: image.bytes, headers })).status).toBe(201);

    await rm(ballast);
    expect((await call('PUT', closing(session, big.digest), { body: big.bytes })).status).toBe(201);
    await expectNothingLeft();
  });

  test.skipIf(!root)('leaves a session where it was acknowledged', async () => {
    const [first, rest] = [randomBytes(mib), randomBytes(2 * mib)];
    const session = await openSession(call);
    expect((await call('PATCH', session, { body: first })).status).toBe(202);
    const ballast = path.join(disk, 'ballast');
    await writeFile(ballast, randomBytes(12 * mib)).catch(() => undefined);
    expectUnavailable(await call('PATCH', session, { body: rest }), /no room left/);
    expect((await call('GET', session)).headers.get('range')).toBe(`0-${mib - 1}`);
    await rm(ballast);
    expect((await call('PATCH', session, { body: rest })).status).toBe(202);
    const digest = digestOf(Buffer.concat([first, rest]));
    expect((await call('PUT', closing(session, digest))).status).toBe(201);
    await expectNothingLeft();
  });

  test.skipIf(!root)('without room for one more folder frees the bytes that it cannot put there', async () => {
    const filling = path.join(disk, 'filling');
    await mkdir(filling);
    let files = 0;
    await expect(async () => {
      for (;;) await writeFile(path.join(filling, String((files += 1))), '', { flag: 'wx' });
    }).rejects.toThrow('ENOSPC');
    // One file's worth of room: the upload has it, its folder does not.
    await rm(path.join(filling, '1'));
    const answers: Answer[] = [];
    for (let i = 0; i < 3; i += 1) {
      const blob = randomContent(1000);
      answers.push(await call('POST', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes }));
    }
    for (const answer of answers) if (answer.status !== 201) expectUnavailable(answer, /no room left/);
    expect(answers.map((answer) => answer.status)).toContain(503);
    await rm(filling, { recursive: true });
    await expectNothingLeft();
  });
});

describe('a database that is gone for a while', () => {
  let berth: TestBerth;
  let call: Caller;
  let server: pg.Client;
  let database: string;

  beforeAll(async () => {
    berth = await startTestBerth({ BERTH_UPLOAD_LEASE_SECONDS: '5' });
    call = callerOf(berth.url, berth.admin);
    database = (await berth.database.query<{ name: string }>('SELECT current_database() AS name'))[0]!.name;
    server = new pg.Client(inject('postgres').connection);
    await server.connect();
  });
  afterAll(async () => {
    await server.end();
    await berth.stop();
  });

  async function endConnections(): Promise<void> {
    await server.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [database]);
  }

  test('in the middle of a push: 503, and on without a restart', async () => {
    const bytes = randomBytes(2 * mib);
    const session = await openSession(call);
    expect((await call('PATCH', session, { body: bytes.subarray(0, mib) })).status).toBe(202);
    const underWay = await slowRequest('PATCH', new URL(session, berth.url), berth.admin);
    await underWay.send(bytes.subarray(mib, mib + 1000));

    await server.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS false`);
    try {
      await endConnections();
      underWay.end(bytes.subarray(mib + 1000));
      expect(await underWay.outcome).toBe(503);
      expectUnavailable(await call('GET', session), /cannot reach its database/);
      expectUnavailable(await call('GET', `/v2/${name}/manifests/v1`), /cannot reach its database/);
      const blob = randomContent();
      const whole = `/v2/${name}/blobs/uploads/?digest=${blob.digest}`;
      expectUnavailable(await call('POST', whole, { body: blob.bytes }), /cannot reach its database/);
    } finally {
      await server.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS true`);
    }

    expect((await call('GET', session)).headers.get('range')).toBe(`0-${mib - 1}`);
    // Nobody could give the lease back: whoever comes next waits until it is over.
    const again = await call('PATCH', session, { body: bytes.subarray(mib) });
    expect(again.status).toBe(202);
    expect((await call('PUT', closing(session, digestOf(bytes)))).status).toBe(201);
    expect(await findDamage(berth.database, berth.dataDir)).toEqual([]);
  });

  test('connections that break again and again cost 503s, never another failure, and lose nothing', async () => {
    const pushed: string[] = [];
    const statuses = new Set<number>();
    let breaking = true;
    const push = async (): Promise<void> => {
      while (breaking) {
        const image = makeImage();
        const answers: Answer[] = [];
        for (const blob of [image.config, ...image.layers])
          answers.push(await call('POST', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`, { body: blob.bytes }));
        if (answers.every((answer) => answer.status === 201)) {
          const headers = { 'Content-Type': image.mediaType };
          answers.push(await call('PUT', `/v2/${name}/manifests/${image.digest}`, { body: image.bytes, headers }));
          if (answers.at(-1)!.status === 201) pushed.push(image.digest);
        }
        for (const { status } of answers) statuses.add(status);
      }
    };
    const pushing = Array.from({ length: 4 }, push);
    for (let i = 0; i < 8; i += 1) {
      const before = pushed.length;
      await until(async () => pushed.length > before);
      await endConnections();
    }
    breaking = false;
    await Promise.all(pushing);
    expect([...statuses].filter((status) => status !== 201 && status !== 503)).toEqual([]);
    for (const digest of pushed) expect((await call('GET', `/v2/${name}/manifests/${digest}`)).status).toBe(200);
    expect(await findDamage(berth.database, berth.dataDir)).toEqual([]);
  });
});

describe('the embedded PostgreSQL', () => {
  let dataDir: string;
  let berth: BerthProcess;
  let call: Caller;
  let said: string;

  beforeEach(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
    await start();
  });
  afterEach(async () => {
    if (berth.child.exitCode === null) await berth.end('SIGTERM');
    await rm(dataDir, { recursive: true, force: true });
  });

  async function start(): Promise<void> {
    berth = await spawnBerth({ BERTH_DATA_DIR: dataDir, BERTH_LOG_LEVEL: 'fatal' });
    call = callerOf(berth.url, berth.admin);
    said = '';
    berth.child.stderr!.on('data', (text: Buffer) => {
      said += text.toString();
    });
  }

  const postmaster = async (): Promise<number> =>
    Number((await readFile(path.join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);

  const push = async (): Promise<{ digest: string; status: number }> => {
    const { digest, bytes } = randomContent();
    return {
      digest,
      status: (await call('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body: bytes })).status,
    };
  };

  test('killed -9: serve ends with 1 and one sentence that says so, and the next start has everything', async () => {
    const pushed = await push();
    expect(pushed.status).toBe(201);
    const ended = new Promise<number | null>((resolve) => berth.child.once('close', resolve));
    process.kill(await postmaster(), 'SIGKILL');
    expect(await ended).toBe(1);
    expect(said).toMatch(/^berth: .*PostgreSQL ended by itself.*\n$/);

    await start();
    expect((await call('GET', `/v2/${name}/blobs/${pushed.digest}`)).status).toBe(200);
    expect((await push()).status).toBe(201);
  });

  test('with one of its processes killed -9 recovers, and serve with it', async () => {
    expect((await push()).status).toBe(201);
    const parent = await postmaster();
    const children = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8');
    const backend = (
      await Promise.all(
        children
          .trim()
          .split(' ')
          .map(async (pid) => ({ pid: Number(pid), command: await readFile(`/proc/${pid}/cmdline`, 'utf8') })),
      )
    ).find(({ command }) => command.includes(' berth '));
    process.kill(backend!.pid, 'SIGKILL');
    const statuses = new Set<number>();
    await until(async () => {
      const { status } = await push();
      statuses.add(status);
      return status === 201 && statuses.size > 1;
    });
    expect(statuses).toEqual(new Set([201, 503]));
    expect(berth.child.exitCode).toBeNull();
  });
});
