/** One Berth of several processes: they share the address, are replaced when they die, and go together. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { closing, slowRequest, until, type Answer, type Call } from '../support/faults.ts';

let dataDir: string;
let facts: TestDatabase;
let berth: BerthProcess | undefined;

beforeAll(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  facts = await createTestDatabase();
});
afterAll(async () => {
  await facts.drop();
  await rm(dataDir, { recursive: true, force: true });
});

async function stop(): Promise<void> {
  if (berth?.child.exitCode === null && berth.child.signalCode === null) await berth.end('SIGTERM');
  berth = undefined;
}

async function start(workers: number, settings: Record<string, string> = {}): Promise<BerthProcess> {
  const started = await spawnBerth({
    BERTH_WORKERS: String(workers),
    BERTH_DATABASE_URL: facts.url,
    BERTH_DATA_DIR: dataDir,
    ...settings,
  });
  berth = started;
  return started;
}

const logs = (): Record<string, unknown>[] =>
  berth!.stderr.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);

/** Every request on a connection of its own, so that any worker may get it. */
async function ask(method: string, target: string, { body, headers = {} }: Call = {}): Promise<Answer> {
  const { url, admin } = berth!;
  const sent = request(new URL(target, url), {
    method,
    agent: false,
    auth: `${admin.username}:${admin.password}`,
    headers: { 'content-type': 'application/octet-stream', ...headers },
  });
  sent.end(body);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  const answered = new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]));
  return { status: answer.statusCode!, headers: answered, body: await buffer(answer) };
}

const pathOf = (answer: Answer): string => new URL(answer.headers.get('location')!, 'http://any').pathname;
const upload = '/v2/acme/app/blobs/uploads/';

/** The processes that this one has started, and what each runs. */
async function childrenOf(pid: number): Promise<{ pid: number; command: string }[]> {
  const pids = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter((word) => word !== '');
  return Promise.all(
    pids.map(async (child) => ({
      pid: Number(child),
      command: await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => ''),
    })),
  );
}

const workersOf = async ({ child }: BerthProcess): Promise<number[]> =>
  (await childrenOf(child.pid!)).filter(({ command }) => command.includes('main.ts')).map(({ pid }) => pid);

/** Dead, even if nobody has asked how it ended. */
async function isGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat === '' || stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
}

const allGone = (pids: readonly number[]) =>
  until(async () => (await Promise.all(pids.map(isGone))).every((gone) => gone));

describe('several workers', { timeout: 60_000 }, () => {
  beforeAll(() => start(2));
  afterAll(stop);

  test('share one address, also within one upload, and each says in the log who it is', async () => {
    const workers = await workersOf(berth!);
    const seen = (): unknown[] => logs().flatMap(({ worker, method }) => (method === 'PATCH' ? [worker] : []));
    const chunks: Buffer[] = [];
    const session = pathOf(await ask('POST', upload));
    await until(async () => {
      const chunk = randomBytes(10_000);
      expect((await ask('PATCH', session, { body: chunk })).status).toBe(202);
      chunks.push(chunk);
      return workers.every((worker) => seen().includes(worker));
    });
    const whole = Buffer.concat(chunks);
    expect((await ask('PUT', closing(session, digestOf(whole)))).status).toBe(201);
    const answer = await ask('GET', `/v2/acme/app/blobs/${digestOf(whole)}`);
    expect(answer.body.equals(whole)).toBe(true);
    // Said once, not by each.
    expect(logs().filter(({ msg }) => /BERTH_RATE_LIMIT_STORE/.test(String(msg)))).toHaveLength(1);
  });

  test('one that dies is replaced, and what it was told is not lost', async () => {
    const running = berth!;
    const before = await workersOf(running);
    const bytes = randomBytes(100_000);
    const sessions = [pathOf(await ask('POST', upload)), pathOf(await ask('POST', upload))];
    for (const session of sessions) expect((await ask('PATCH', session, { body: bytes })).status).toBe(202);
    process.kill(before[0]!, 'SIGKILL');
    await allGone([before[0]!]);
    // The other one gets what comes.
    expect((await ask('PUT', closing(sessions[0]!, digestOf(bytes)))).status).toBe(201);
    await until(async () => (await workersOf(running)).filter((pid) => !before.includes(pid)).length === 1);
    expect((await ask('PUT', closing(sessions[1]!, digestOf(bytes)))).status).toBe(201);
    await until(async () => logs().some(({ msg }) => msg === 'a worker has ended, and is started again'));
  });

  test('keep others from their address, who say so once', async () => {
    const { port } = berth!;
    const second = spawnBerth({
      BERTH_WORKERS: '2',
      BERTH_DATABASE_URL: facts.url,
      BERTH_DATA_DIR: dataDir,
      BERTH_LISTEN: `127.0.0.1:${port}`,
    });
    await expect(second).rejects.toThrow(
      /^berth serve ended with 1:\nberth: the address 127\.0\.0\.1:\d+ is taken; .*$/,
    );
  });
});

describe('the end of several workers', { timeout: 60_000 }, () => {
  afterEach(stop);

  test('comes when they die again and again, with one sentence', async () => {
    const running = await start(3);
    const ended = once(running.child, 'exit') as Promise<[number | null]>;
    let over = false;
    void ended.then(() => (over = true));
    while (!over) {
      for (const pid of await workersOf(running).catch(() => [])) process.kill(pid, 'SIGKILL');
      await Promise.race([ended, new Promise((resolve) => void setTimeout(resolve, 20))]);
    }
    expect(await ended).toEqual([1, null]);
    const said = (): string[] => running.stderr.filter((line) => !line.startsWith('{'));
    await until(async () => said().length > 0);
    expect(said()).toEqual([
      expect.stringMatching(/^berth: the workers end again and again, and the last time because worker \d+ ended with/),
    ]);
  });

  test('comes with SIGTERM when what they have begun is done, and nobody is left', async () => {
    const running = await start(2);
    const workers = await workersOf(running);
    const bytes = randomBytes(100_000);
    const slow = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const session = pathOf(await ask('POST', upload));
        return slowRequest('PUT', new URL(closing(session, digestOf(bytes)), running.url), running.admin);
      }),
    );
    const exited = running.end('SIGTERM');
    await until(() =>
      ask('GET', '/healthz').then(
        () => false,
        () => true,
      ),
    );
    for (const put of slow) put.end(bytes);
    expect(await Promise.all(slow.map(({ outcome }) => outcome))).toEqual([201, 201, 201, 201]);
    expect(await exited).toBe(0);
    await allGone(workers);
  });

  test('comes with that of the process that started them, however it ends, and so does PostgreSQL’s', async () => {
    const running = await start(2, { BERTH_DATABASE_URL: '', BERTH_DATABASE_POOL_SIZE: '60' });
    const children = await childrenOf(running.child.pid!);
    expect(children.filter(({ command }) => command.includes('main.ts'))).toHaveLength(2);
    const servers = children.filter(({ command }) => command.includes('postgres'));
    // Which takes as many connections as all of them may open.
    expect(servers).toEqual([{ pid: expect.any(Number), command: expect.stringContaining('max_connections=148') }]);
    await running.end('SIGKILL');
    await allGone(children.map(({ pid }) => pid));
  });
});
