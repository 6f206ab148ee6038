import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findBinaries, linkLibraries } from './binaries.ts';
import { prepareCluster, readPostmasterFile } from './cluster.ts';
import { type EmbeddedPostgres, findEmbeddedPostgres, startEmbeddedPostgres } from './embedded.ts';
import { AnotherBerthError, BinariesError, DataFolderError, DataVersionError, SocketFolderError } from './errors.ts';
import { type EmbeddedConnection, ask } from './lock.ts';
import { startServer } from './server.ts';
import { prepareSocketFolder } from './socket.ts';

const isRoot = process.getuid?.() === 0;
/** A data folder whose database is made already: most tests are about what comes later. */
let made: string;
let root: string;
let dataDir: string;
let cleanups: (() => unknown)[];
let log: string[];

beforeAll(async () => {
  made = await mkdtemp(path.join(tmpdir(), 'berth-made-'));
  await (await startEmbeddedPostgres({ dataDir: made, durable: false, log: () => {} })).stop();
});
afterAll(() => rm(made, { recursive: true }));

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'berth-embedded-'));
  dataDir = path.join(root, 'data');
  cleanups = [];
  log = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  await rm(root, { recursive: true, force: true });
});

async function useMade(): Promise<void> {
  await cp(made, dataDir, { recursive: true });
  // Copied with the modes that the umask leaves, and PostgreSQL insists.
  await chmod(path.join(dataDir, 'postgres'), 0o700);
}

async function start(options: { durable?: boolean; signal?: AbortSignal } = {}): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ dataDir, durable: false, log: (line) => log.push(line), ...options });
  cleanups.push(postgres.stop);
  return postgres;
}

async function query(connection: EmbeddedConnection, statement: string): Promise<unknown[]> {
  const client = new pg.Client(connection);
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

/** Another process that starts PostgreSQL and says `up`, or the error's name and message. */
function otherBerth(words: readonly string[] = [], before = ''): { child: ChildProcess; said: Promise<string> } {
  const code = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(path.join(import.meta.dirname, 'embedded.ts'))});
    try {
      await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, durable: false, log: () => {} });
      console.log('up');
    } catch (error) {
      console.log(error.name + ': ' + error.message);
    }`;
  const node = [process.execPath, '--input-type=module', '--eval', code];
  const [command, ...args] =
    before === '' ? [...words, ...node] : [...words, 'sh', '-c', `${before} exec "$@"`, 'sh', ...node];
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, said: lines.next().then(({ value }) => String(value)) };
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe('a data folder of its own', () => {
  it('gets a durable database that only its owner reaches, also in a folder that nobody else can enter', async () => {
    await chmod(root, 0o700);
    const { connection, stop, exited } = await start({ durable: true });
    const [settings] = await query(
      connection,
      `SELECT current_setting('fsync') AS fsync, current_setting('data_checksums') AS checksums, current_setting('listen_addresses') AS tcp,
              current_setting('server_encoding') AS encoding, datlocprovider AS provider, datlocale AS locale
         FROM pg_database WHERE datname = current_database()`,
    );
    expect(settings).toEqual({
      fsync: 'on',
      checksums: 'on',
      tcp: '',
      encoding: 'UTF8',
      provider: 'b',
      locale: 'C.UTF-8',
    });
    expect((await stat(connection.host)).mode & 0o777).toBe(0o700);
    expect(await readdir(dataDir)).toEqual(['postgres']);

    await query(connection, 'CREATE TABLE kept AS SELECT 42 AS n');
    await stop();
    expect(await exited).toMatchObject({ expected: true });
    const again = await start({ durable: true });
    expect(await query(again.connection, 'SELECT n FROM kept')).toEqual([{ n: 42 }]);
    expect(log).toEqual([`making a new database in ${dataDir}`]);
  });

  it('may have a path that is too long for a socket, and strange characters in it', async () => {
    dataDir = path.join(root, `it's "long", ${'x'.repeat(100)}`);
    await useMade();
    const { connection, stop } = await start();
    cleanups.push(() => rm(connection.host, { recursive: true }));
    expect(connection.host).not.toContain(dataDir);
    expect((await stat(connection.host)).mode & 0o777).toBe(0o700);
    expect(await query(connection, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
    expect(await findEmbeddedPostgres(dataDir)).toEqual(connection);
    await stop();
    if (!isRoot) return;
    await chown(connection.host, 12_345, 12_345);
    await expect(start()).rejects.toThrow(SocketFolderError);
  });

  it('may have a comma and a quote in its path', async () => {
    dataDir = path.join(root, `a, "b" c`);
    await useMade();
    expect((await start()).connection.host).toBe(path.join(dataDir, 'postgres'));
  });
});

describe('a second Berth', () => {
  it('is told who runs on the folder, and other commands find the database', async () => {
    await useMade();
    const { connection, stop } = await start();
    await expect(start()).rejects.toThrow(`another Berth is already running on ${dataDir} (pid ${process.pid})`);
    expect(await findEmbeddedPostgres(dataDir)).toEqual(connection);
    await stop();
    expect(await findEmbeddedPostgres(dataDir)).toBeUndefined();
    expect(await findEmbeddedPostgres(path.join(root, 'nothing'))).toBeUndefined();
  });

  it('started at the same moment on a new folder leaves exactly one running', async () => {
    const outcome = await Promise.allSettled([start(), start()]);
    const lost = outcome.filter((each) => each.status === 'rejected');
    expect(lost).toMatchObject([{ reason: { name: 'AnotherBerthError' } }]);
    expect(await readdir(dataDir)).toEqual(['postgres']);
  });

  it('is kept out also after the database has recovered from a crash of its own', async () => {
    await useMade();
    const { connection } = await start();
    const holders = await query(
      connection,
      `SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'berth server%'`,
    );
    process.kill((holders[0] as { pid: number }).pid, 'SIGKILL');
    await expect(start()).rejects.toThrow(AnotherBerthError);
  });
});

describe('after kill -9', () => {
  it('of Berth the database ends too, and the next start has everything that was committed', async () => {
    await useMade();
    const { child, said } = otherBerth();
    expect(await said).toBe('up');
    const other = await findEmbeddedPostgres(dataDir);
    await query(other!, 'CREATE TABLE kept AS SELECT 42 AS n');
    await killed(child);
    await expect.poll(() => ask(other!.host)).toEqual({ kind: 'nothing' });
    const { connection } = await start();
    expect(await query(connection, 'SELECT n FROM kept')).toEqual([{ n: 42 }]);
  });

  it('of Berth and of the database the stale pid does not keep it from starting', async () => {
    await useMade();
    const { child, said } = otherBerth();
    expect(await said).toBe('up');
    const file = await readPostmasterFile(path.join(dataDir, 'postgres'));
    process.kill(file!.pid, 'SIGKILL');
    await killed(child);
    expect(await readPostmasterFile(path.join(dataDir, 'postgres'))).toEqual(file);
    const { connection } = await start();
    expect(await query(connection, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });

  it('a stale pid that is another process by now does not keep it from starting', async () => {
    await useMade();
    await (await start()).stop();
    const bystander = spawn('sleep', ['60']);
    cleanups.push(() => bystander.kill());
    const cluster = path.join(dataDir, 'postgres');
    await writeFile(
      path.join(cluster, 'postmaster.pid'),
      `${bystander.pid}\n${cluster}\n1\n5432\n${cluster}\n\n0 0\nready\n`,
    );
    await start();
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  });

  it('a database that did not notice is ended by the next start', async () => {
    await useMade();
    const cluster = await prepareCluster(dataDir, {
      log: () => {},
      signal: new AbortController().signal,
      durable: false,
    });
    const socketFolder = await prepareSocketFolder(cluster.path, cluster.account);
    const settings = { sharedBuffersMib: 16, connectionsMax: 20, durable: false };
    const orphan = await startServer(cluster, socketFolder, settings, () => {});
    cleanups.push(orphan.stop);
    // Two that start at once are another matter: here the first must be the one that serves.
    await expect.poll(() => ask(socketFolder), { timeout: 20_000 }).toEqual({ kind: 'serving', holder: undefined });
    const { connection } = await start();
    expect(await orphan.exited).toMatchObject({ reason: expect.stringContaining('exit code 0') });
    expect(await query(connection, 'SELECT 1 AS n')).toEqual([{ n: 1 }]);
  });

  it('while the database was being made it is made anew, and nothing is left of the first', async () => {
    const { child } = otherBerth();
    const names = (): Promise<string[]> => readdir(dataDir).catch(() => []);
    await expect.poll(names, { interval: 5 }).toEqual([expect.stringMatching(/^postgres\.new-/)]);
    await killed(child);
    expect(await findEmbeddedPostgres(dataDir)).toBeUndefined();
    await start();
    expect(await readdir(dataDir)).toEqual(['postgres']);
  });
});

describe('stopping', () => {
  it('happens when the signal is aborted, during the start and afterwards', async () => {
    const early = new AbortController();
    const starting = start({ signal: early.signal });
    const names = (): Promise<string[]> => readdir(dataDir).catch(() => []);
    await expect.poll(names, { interval: 5 }).not.toEqual([]);
    early.abort(new Error('enough'));
    await expect(starting).rejects.toThrow('enough');
    expect(await readdir(dataDir)).toEqual([]);

    await useMade();
    const later = new AbortController();
    const { connection, exited } = await start({ signal: later.signal });
    const open = new pg.Client(connection);
    open.on('error', () => {});
    await open.connect();
    later.abort();
    expect(await exited).toMatchObject({ expected: true });
  });

  it('of the database by itself is told', async () => {
    await useMade();
    const { exited } = await start();
    const file = await readPostmasterFile(path.join(dataDir, 'postgres'));
    process.kill(file!.pid, 'SIGQUIT');
    expect(await exited).toMatchObject({
      expected: false,
      reason: expect.stringContaining('received immediate shutdown request'),
    });
  });
});

describe('one clear sentence', () => {
  it('for a database of another PostgreSQL version', async () => {
    await mkdir(path.join(dataDir, 'postgres'), { recursive: true });
    await writeFile(path.join(dataDir, 'postgres', 'PG_VERSION'), '17\n');
    await expect(start()).rejects.toThrow(DataVersionError);
    await expect(start()).rejects.toThrow(/was made by PostgreSQL 17, but this Berth brings PostgreSQL 18/);
  });

  it('for a folder that holds something else', async () => {
    await mkdir(path.join(dataDir, 'postgres'), { recursive: true });
    await writeFile(path.join(dataDir, 'postgres', 'thesis.txt'), 'mine');
    await expect(start()).rejects.toThrow(/is not empty and holds no PostgreSQL database/);
    expect(await readFile(path.join(dataDir, 'postgres', 'thesis.txt'), 'utf8')).toBe('mine');
  });

  it('for a folder that cannot be read, or is no folder', async () => {
    await writeFile(dataDir, 'a file');
    await expect(start()).rejects.toThrow(DataFolderError);
    await rm(dataDir);
    await mkdir(dataDir, { mode: 0o700 });
    if (isRoot) await chown(dataDir, 12_345, 12_345);
    else await chmod(dataDir, 0o000);
    // In a namespace root has no more rights than an ordinary user, but still reaches these sources.
    const { said } = otherBerth(isRoot ? ['unshare', '--user', '--map-user=65534', '--map-group=65534'] : []);
    expect(await said).toBe(
      `DataFolderError: the folder ${dataDir}/postgres cannot be read and written by the user that runs Berth: change its owner, or choose another BERTH_DATA_DIR`,
    );
  });

  it('for a platform that no PostgreSQL is brought for', async () => {
    await expect(findBinaries('plan9-mips')).rejects.toThrow(BinariesError);
  });

  it.runIf(isRoot)('for a disk without room', async () => {
    await mkdir(dataDir);
    const { said } = otherBerth(['unshare', '--mount'], `mount -t tmpfs -o size=12m tmpfs "${dataDir}";`);
    expect(await said).toMatch(/^DiskFullError: no room is left for a new database in/);
  });
});

describe('library links', () => {
  it('are made when install scripts were off', async () => {
    const { folder } = await findBinaries();
    const copy = path.join(root, 'package');
    await mkdir(path.join(copy, 'native', 'lib'), { recursive: true });
    await cp(path.join(folder, 'pg-symlinks.json'), path.join(copy, 'native', 'pg-symlinks.json'));
    for (const name of (await readdir(path.join(folder, 'lib'))).filter((each) =>
      /^lib(pq|icuuc|icui18n|icudata|ecpg|ecpg_compat|pgtypes)\.(so|\d).*\.\d+(\.dylib)?$/.test(each),
    )) {
      await cp(path.join(folder, 'lib', name), path.join(copy, 'native', 'lib', name), { dereference: true });
    }
    const links = JSON.parse(await readFile(path.join(folder, 'pg-symlinks.json'), 'utf8')) as { target: string }[];
    for (const { target } of links) await rm(path.join(copy, target), { force: true });
    await linkLibraries(copy);
    for (const { target } of links) expect((await stat(path.join(copy, target))).isFile()).toBe(true);
    await linkLibraries(copy);
  });
});

describe.runIf(isRoot)('root on a machine without user namespaces', () => {
  it('runs the database as a system user, with data where that user can reach it', async () => {
    const hidden = `mount --bind /bin/false "$(command -v unshare)"; mount -t tmpfs -o mode=755 tmpfs /var/lib;`;
    const { child, said } = otherBerth(['unshare', '--mount'], hidden);
    expect(await said).toBe('up');
    const seen = `/proc/${child.pid}/root`;
    const [cluster] = await readdir(`${seen}/var/lib/berth`).then((names) =>
      names.filter((name) => name.startsWith('postgres-')),
    );
    expect((await stat(`${seen}/var/lib/berth/${cluster}`)).uid).not.toBe(0);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
  });
});
