/** `berth serve` that is told to stop before it is ready: it ends at once, in good order, whatever it was about to do. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { open, readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../support/faults.ts';
import { run, runOk, temporaryFolder, titled } from '../support/tools.ts';

const main = path.resolve(import.meta.dirname, '../../src/main.ts');
/** As the first process of a container: a signal that it has no ear for does not reach it. */
const alone = ['unshare', '--pid', '--fork', '--kill-child'];
const reason = await whyNotAlone();

let data: Awaited<ReturnType<typeof temporaryFolder>>;
let facts: TestDatabase;
const started: ChildProcess[] = [];

beforeAll(async () => {
  facts = await createTestDatabase();
});
afterAll(() => facts.drop());
beforeEach(async () => {
  data = await temporaryFolder('stop');
});
afterEach(async () => {
  for (const child of started.splice(0)) if (child.exitCode === null) child.kill('SIGKILL');
  await data.remove();
});

interface Started {
  readonly child: ChildProcess;
  /** How it ended, and what it said. */
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
}

const serve = (settings: Record<string, string>): Started => start('serve', settings);

function start(command: string, settings: Record<string, string>, before: readonly string[] = []): Started {
  const [program, ...args] = [...before, process.execPath, main, command];
  const env = { PATH: process.env['PATH'], BERTH_LISTEN: '127.0.0.1:0', BERTH_DATA_DIR: data.folder, ...settings };
  const child = spawn(program!, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  started.push(child);
  const ended = Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(
    ([[code], stdout, stderr]) => ({ code: code as number | null, stdout, stderr }),
  );
  return { child, ended };
}

/** It was not ready, and said no more than that. */
async function expectGoodEnd({ ended }: Started): Promise<void> {
  const { code, stdout, stderr } = await ended;
  const said = stderr.split('\n').filter((line) => line !== '');
  expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
  const lines = said.map((line) => JSON.parse(line) as { level: string; msg: string });
  expect(lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
  expect(lines.at(-1)?.msg).toBe('stopped before it was ready');
  // Whoever worked on it is gone, and so are the workers.
  expect(await processesOf(data.folder)).toEqual([]);
}

test('while it waits for another process that migrates', async () => {
  const other = new pg.Client(facts.connection);
  await other.connect();
  try {
    await other.query('SELECT pg_advisory_lock(1650815604, 1835624306)');
    const berth = serve({ BERTH_DATABASE_URL: facts.url });
    const waiting = `SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()`;
    await until(async () => (await other.query(waiting)).rows.length > 0);
    berth.child.kill('SIGTERM');
    await expectGoodEnd(berth);
  } finally {
    await other.end();
  }
});

describe('with a PostgreSQL of its own', () => {
  const clusters = (): Promise<string[]> => readdir(data.folder);
  const postmaster = () =>
    readFile(path.join(data.folder, 'postgres', 'postmaster.pid'), 'utf8').catch(() => undefined);

  test('whose data is being made', async () => {
    const berth = serve({});
    await until(async () => (await clusters()).some((name) => name.startsWith('postgres.new-')));
    berth.child.kill('SIGTERM');
    await expectGoodEnd(berth);
    expect(await clusters()).toEqual([]);
  });

  test('which is starting, or has its first migrations, before the workers', async () => {
    const berth = serve({ BERTH_WORKERS: '2' });
    await until(async () => (await postmaster()) !== undefined);
    berth.child.kill('SIGTERM');
    await expectGoodEnd(berth);
    // It was shut down, and not left to a recovery.
    expect(await postmaster()).toBeUndefined();
  });
});

test('while its workers are starting', async () => {
  const berth = serve({ BERTH_DATABASE_URL: facts.url, BERTH_WORKERS: '2' });
  await until(async () => (await childrenOf(berth.child.pid!)).length === 2);
  berth.child.kill('SIGTERM');
  await expectGoodEnd(berth);
});

describe.skipIf(reason !== undefined)(titled('as the first process of a container', reason), () => {
  test.for([
    ['serve', 0],
    ['migrate', 143],
  ] as const)('%s hears it before it knows its settings, and ends with %i', async ([command, expected]) => {
    const settings = path.join(data.folder, 'berth.yaml');
    await runOk('mkfifo', [settings]);
    const { child, ended } = start(command, { BERTH_DATABASE_URL: facts.url, BERTH_CONFIG: settings }, alone);
    // Opened on both ends: the command has come so far, and no further until it is closed.
    const held = await open(settings, 'w');
    process.kill((await childrenOf(child.pid!))[0]!, 'SIGTERM');
    await held.close();
    expect(await ended).toMatchObject({ code: expected, stdout: '' });
  });
});

async function childrenOf(pid: number): Promise<number[]> {
  const pids = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return pids.split(' ').filter(Boolean).map(Number);
}

/** Those that were started with this folder in their environment, or work in it. */
async function processesOf(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [environment, workFolder] = await Promise.all([
        readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
        readlink(`/proc/${pid}/cwd`).catch(() => ''),
      ]);
      return environment.includes(folder) || workFolder.startsWith(folder);
    }),
  );
  return pids.filter((_, i) => found[i]);
}

async function whyNotAlone(): Promise<string | undefined> {
  const [program, ...args] = [...alone, 'true'];
  const ran = await run(program!, args).catch(() => undefined);
  return ran?.code === 0 ? undefined : 'needs unshare, and the right to make namespaces';
}
