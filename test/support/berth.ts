/** A Berth for tests: the real thing on a database and a data folder of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { startBerth } from '../../src/app.ts';
import { addAccount } from '../../src/access/accounts.ts';
import { commandLine } from '../../src/access/actor.ts';
import { parseConfig } from '../../src/config/load.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createTestDatabase } from './database.ts';

export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface TestBerth {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** `127.0.0.1:PORT`, as it stands in image names. */
  readonly host: string;
  readonly port: number;
  readonly admin: Login;
  readonly dataDir: string;
  /** For `BERTH_DATABASE_URL` of a second Berth on the same database. */
  readonly databaseUrl: string;
  /** The facts, to look at what a request left behind. */
  readonly database: Database;
  /** What was logged: one parsed line each. */
  readonly logs: readonly Record<string, unknown>[];
  addUser(username: string, admin?: boolean): Promise<Login>;
  stop(): Promise<void>;
}

const admin: Login = { username: 'admin', password: 'correct horse battery' };

/** Starts Berth inside the test's own process. `settings` are `BERTH_*` variables. */
export async function startTestBerth(settings: Record<string, string> = {}): Promise<TestBerth> {
  const facts = await createTestDatabase();
  const dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  const logs: Record<string, unknown>[] = [];
  const env = { ...environmentOf(facts.url, dataDir), BERTH_LOG_LEVEL: 'debug', ...settings };
  const logger = createLogger(parseConfig(env).log, { write: (line: string) => void logs.push(JSON.parse(line)) });
  const berth = await startBerth(parseConfig(env), logger);
  const database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  return {
    url: `http://127.0.0.1:${berth.port}`,
    host: `127.0.0.1:${berth.port}`,
    port: berth.port,
    admin,
    dataDir,
    databaseUrl: facts.url,
    database,
    logs,
    async addUser(username, isAdmin = false) {
      const login = { username, password: `password of ${username}` };
      await addAccount(database, { ...login, admin: isAdmin }, commandLine('test'));
      return login;
    },
    async stop() {
      await berth.stop();
      await database.close();
      await facts.drop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function environmentOf(databaseUrl: string, dataDir: string): Record<string, string> {
  return {
    BERTH_DATABASE_URL: databaseUrl,
    BERTH_DATA_DIR: dataDir,
    BERTH_LISTEN: '127.0.0.1:0',
    BERTH_ADMIN_USERNAME: admin.username,
    BERTH_ADMIN_PASSWORD: admin.password,
  };
}

/** What `npm start` of a tree tells Node: a process under test or measurement is started the same way. */
async function startOf(root: string): Promise<{ args: readonly string[]; env: Record<string, string> }> {
  const { scripts } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
    scripts: { start: string };
  };
  const words = scripts.start.split(' ');
  const env = words.filter((word) => /^\w+=/.test(word)).map((word) => word.split('=') as [string, string]);
  return {
    args: words.filter((word) => word.startsWith('--')),
    env: { NODE_COMPILE_CACHE: path.join(root, 'node_modules/.cache/compiled'), ...Object.fromEntries(env) },
  };
}

const thisTree = path.resolve(import.meta.dirname, '../..');

export interface BerthProcess {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly admin: Login;
  readonly child: ChildProcess;
  /** Its last lines on stderr: of the log, and what a failed command says. */
  readonly stderr: readonly string[];
  /** Sends a signal and waits for the end. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null>;
}

/**
 * Starts `berth serve` as a process of its own, with these `BERTH_*` variables and nothing else. Listens on a free port unless told otherwise.
 * @param root another working tree, to run its code
 */
export async function spawnBerth(settings: Record<string, string>, root = thisTree): Promise<BerthProcess> {
  const start = await startOf(root);
  const args = [...start.args, path.join(root, 'src/main.ts'), 'serve'];
  const env = {
    ...start.env,
    BERTH_LISTEN: '127.0.0.1:0',
    BERTH_ADMIN_USERNAME: admin.username,
    BERTH_ADMIN_PASSWORD: admin.password,
    PATH: process.env['PATH'],
    ...settings,
  };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    errors.push(line);
    if (errors.length > 200) errors.shift();
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const ready = Promise.withResolvers<number>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const match = /^Berth is ready at https?:\/\/.*:(\d+)$/.exec(line);
    if (match !== null) ready.resolve(Number(match[1]));
  });
  void exited.then(([code]) => ready.reject(new Error(`berth serve ended with ${code}:\n${errors.join('\n')}`)));
  const port = await ready.promise;
  return {
    url: `http://127.0.0.1:${port}`,
    host: `127.0.0.1:${port}`,
    port,
    admin,
    child,
    stderr: errors,
    async end(signal) {
      child.kill(signal);
      const [code] = await exited;
      return code;
    },
  };
}
