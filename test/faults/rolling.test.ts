/** How a process stops: in the order that lets whoever works with it go elsewhere. What docker sees of it is in replicas.test.ts. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callerOf, until } from '../support/faults.ts';
import { basicHeader, rawBytes, rawConnection } from '../support/raw.ts';
import { temporaryFolder } from '../support/tools.ts';

describe('a process that is told to stop', () => {
  let facts: TestDatabase;
  let data: Awaited<ReturnType<typeof temporaryFolder>>;
  beforeAll(async () => {
    [facts, data] = await Promise.all([createTestDatabase(), temporaryFolder('rolling')]);
  });
  afterAll(async () => {
    await facts.drop();
    await data.remove();
  });
  const start = (settings: Record<string, string>) =>
    spawnBerth({ BERTH_DATABASE_URL: facts.url, BERTH_DATA_DIR: data.folder, ...settings });

  const statusOf = (berth: BerthProcess, target: string): Promise<[number, string | undefined] | 'refused'> =>
    new Promise((resolve) => {
      const sent = request(new URL(target, berth.url), { agent: false }, (answer: IncomingMessage) => {
        answer.resume();
        resolve([answer.statusCode!, answer.headers.connection]);
      });
      sent.on('error', () => resolve('refused'));
      sent.end();
    });

  test('says so first and serves on, then lets nobody in, and ends connections behind their answers', async () => {
    const berth = await start({ BERTH_SHUTDOWN_DRAIN_SECONDS: '5' });
    const auth = basicHeader(berth.admin);
    const session = await openSession(berth);
    const bytes = randomBytes(1000);
    // One connection on which a request waits for its body, one that is idle: both were open before.
    await using busy = await rawConnection(berth.port);
    const headers = [auth, ['Expect', '100-continue'], ['Content-Length', String(bytes.length)]] as const;
    await busy.send(rawBytes({ method: 'PATCH', target: session, headers }));
    expect((await busy.answer()).status).toBe(100);
    await using idle = await rawConnection(berth.port);
    await idle.send(rawBytes({ target: '/readyz' }));
    expect((await idle.answer()).headers['connection']).toBe('keep-alive');

    const exited = berth.end('SIGTERM');
    await until(async () => (await statusOf(berth, '/readyz'))[0] === 503);
    expect(await statusOf(berth, '/healthz')).toEqual([200, 'close']);
    await idle.send(rawBytes({ target: '/v2/', headers: [auth] }));
    expect(await idle.answer()).toMatchObject({ status: 200, headers: { connection: 'close' } });
    expect(await idle.closed()).toHaveLength(0);
    await until(async () => (await statusOf(berth, '/healthz')) === 'refused');
    await busy.send(bytes);
    expect(await busy.answer()).toMatchObject({ status: 202, headers: { connection: 'close' } });
    expect(await busy.closed()).toHaveLength(0);
    expect(await exited).toBe(0);
  });

  test('does not wait where nobody asked for it: Ctrl-C at a terminal is heard at once', async () => {
    const berth = await start({});
    await using idle = await rawConnection(berth.port);
    await idle.send(rawBytes({ target: '/readyz' }));
    expect((await idle.answer()).status).toBe(200);
    const closed = idle.closed();
    const exited = once(berth.child, 'exit');
    berth.child.kill('SIGINT');
    await closed;
    expect(await statusOf(berth, '/healthz')).toBe('refused');
    expect(await exited).toEqual([0, null]);
  });

  async function openSession({ url, admin }: BerthProcess): Promise<string> {
    const opened = await callerOf(url, admin)('POST', '/v2/acme/stop/blobs/uploads/');
    return new URL(opened.headers.get('location')!, url).pathname;
  }
});
