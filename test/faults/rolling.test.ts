/** One process after the other stops and starts again, and nobody who works with the registry notices. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { callerOf, closing, until, type Caller } from '../support/faults.ts';
import { startNginx, type Nginx } from '../support/nginx.ts';
import { basicHeader, rawBytes, rawConnection } from '../support/raw.ts';
import { runOk, temporaryFolder, titled, whyNot } from '../support/tools.ts';

const reason = whyNot('nginx', 'docker', 'dockerd');
const drainSeconds = 3;

interface Storage {
  readonly settings: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

/** What two processes keep their bytes in. */
const storages: readonly (readonly [what: string, open: () => Promise<Storage>])[] = [
  [
    'a folder',
    async () => {
      const { folder, remove } = await temporaryFolder('rolling');
      return { settings: { BERTH_DATA_DIR: folder }, close: remove };
    },
  ],
];

describe.skipIf(reason !== undefined).each(storages)(
  titled('two processes that share a database and %s, behind nginx', reason),
  { timeout: 120_000 },
  (_what, openStorage) => {
    let facts: TestDatabase;
    let storage: Storage;
    let nginx: Nginx;
    let dockerd: Dockerd;
    const berths: BerthProcess[] = [];

    beforeAll(async () => {
      [facts, storage, dockerd] = await Promise.all([createTestDatabase(), openStorage(), startDockerd()]);
      await Promise.all([start(0), start(1)]);
      nginx = await startNginx(berths.map(({ port }) => `${listenHost}:${port}`));
    });
    afterAll(async () => {
      await nginx?.stop();
      await Promise.all(berths.map((berth) => berth.end('SIGTERM')));
      await Promise.all([dockerd?.stop(), storage?.close()]);
      await facts?.drop();
    });

    /** Not the address whose ports the system gives to anybody: who comes back finds the port free. */
    const listenHost = '127.0.0.2';
    async function start(index: number): Promise<void> {
      berths[index] = await spawnBerth({
        BERTH_DATABASE_URL: facts.url,
        BERTH_LISTEN: `${listenHost}:${berths[index]?.port ?? 0}`,
        BERTH_TRUSTED_PROXIES: '127.0.0.1',
        BERTH_SHUTDOWN_DRAIN_SECONDS: String(drainSeconds),
        ...storage.settings,
      });
    }

    const answeredBy = (berth: BerthProcess, target: string): number =>
      berth.stderr.filter((line) => line.includes('"answered"') && line.includes(target)).length;

    test('the requests of one upload go to both, and the address in its answers is that of nginx', async () => {
      const call: Caller = callerOf(nginx.url, berths[0]!.admin);
      const chunks = Array.from({ length: 4 }, () => randomBytes(300_000));
      const opened = await call('POST', '/v2/acme/turns/blobs/uploads/');
      const location = opened.headers.get('location')!;
      expect(location).toMatch(new RegExp(`^${nginx.url}/v2/acme/turns/blobs/uploads/`));
      const session = new URL(location).pathname;
      let at = 0;
      for (const chunk of chunks) {
        const range = { 'Content-Range': `${at}-${at + chunk.length - 1}` };
        expect((await call('PATCH', session, { body: chunk, headers: range })).status).toBe(202);
        at += chunk.length;
      }
      const whole = Buffer.concat(chunks);
      const digest = digestOf(whole);
      expect((await call('PUT', closing(session, digest))).status).toBe(201);
      for (const _ of berths) {
        const pulled = await call('GET', `/v2/acme/turns/blobs/${digest}`);
        expect(pulled.body.equals(whole)).toBe(true);
      }
      await until(async () => berths.reduce((sum, berth) => sum + answeredBy(berth, session), 0) === 5);
      for (const berth of berths) expect(answeredBy(berth, session)).toBeGreaterThanOrEqual(1);
    });

    test('a restart of one after the other loses no docker command', async () => {
      let over = false;
      const ran: string[] = [];
      const atWork = ['ada', 'bob'].map(async (who) => {
        const user = await dockerd.newUser();
        await user.login(nginx.host, berths[0]!.admin);
        for (let i = 0; !over; i += 1) {
          for (const [name, command] of pushAndPull(user, `${nginx.host}/acme/${who}:${i}`)) {
            await command();
            ran.push(name);
          }
        }
      });
      const restarts = (async () => {
        try {
          for (const index of [0, 1]) {
            expect(await berths[index]!.end('SIGTERM')).toBe(0);
            await start(index);
          }
        } finally {
          over = true;
        }
      })();
      await Promise.all([restarts, ...atWork]);
      expect(ran.length).toBeGreaterThanOrEqual(6);
    });

    /** A new image of 3 MB, there and back; each command throws what docker says when it fails. */
    function pushAndPull(user: DockerUser, image: string): [string, () => Promise<unknown>][] {
      const folder = path.join(dockerd.folder, image.replaceAll(/\W/g, '-'));
      return [
        [
          'import',
          async () => {
            await runOk('mkdir', [folder]);
            await writeFile(path.join(folder, 'bytes'), randomBytes(3_000_000));
            await runOk('tar', ['-c', '-C', folder, '-f', `${folder}.tar`, '.']);
            await user.do('import', `${folder}.tar`, image);
          },
        ],
        ['push', () => user.do('push', image)],
        ['rm', () => user.do('image', 'rm', '--force', image)],
        ['pull', () => user.do('pull', image)],
      ];
    }
  },
);

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
