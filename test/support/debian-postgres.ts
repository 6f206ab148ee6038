/** The PostgreSQL of Debian as an operator has it: TCP, a user with a password, and the programs for dumps beside the server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { chown, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { run, runOk, temporaryFolder } from './tools.ts';

export interface DebianPostgres {
  /** For `BERTH_DATABASE_URL`: as the user `berth`, who may do nothing but what an owner may. */
  url(database: string): string;
  /** The file of a program that belongs to it, such as `pg_dump`. */
  program(name: string): string;
  /** An empty database of `berth`'s. */
  createDatabase(name: string): Promise<void>;
  stop(): Promise<void>;
}

const password = 'a password';
const folders = globSync('/usr/lib/postgresql/*/bin').toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }));
const newest = folders.at(-1);

/** Why there is none here; undefined when there is. */
export const noDebianPostgres = newest === undefined ? 'PostgreSQL not installed: apt install postgresql' : undefined;

export async function startDebianPostgres(): Promise<DebianPostgres> {
  const { folder, remove } = await temporaryFolder('postgres');
  const program = (name: string): string => path.join(newest!, name);
  const data = path.join(folder, 'data');
  const secret = path.join(folder, 'password');
  await writeFile(secret, `${password}\n`);
  const user = await ownerOf(folder, secret);
  const makeup = ['--username=postgres', `--pwfile=${secret}`, '--auth=scram-sha-256', '--no-sync', '--no-locale'];
  await runOk(...inOrder([...user, program('initdb'), `--pgdata=${data}`, '--encoding=UTF8', ...makeup]));
  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', `port=${port}`, `unix_socket_directories=${folder}`, 'fsync=off'];
  const options = settings.flatMap((setting) => ['-c', setting]);
  const [command, args] = inOrder([...user, program('postgres'), '-D', data, ...options]);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const log = text(child.stderr);
  const exited = once(child, 'exit');
  const address = `127.0.0.1:${port}`;
  const asSuperuser = `postgres://postgres:${encodeURIComponent(password)}@${address}/postgres`;
  const sql = (statement: string) => run(program('psql'), ['--quiet', '--dbname', asSuperuser, '--command', statement]);
  while ((await sql(`CREATE ROLE berth LOGIN PASSWORD '${password}'`)).code !== 0) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL ended with ${child.exitCode}:\n${await log}`);
    await delay(50);
  }
  return {
    url: (database) => `postgres://berth:${encodeURIComponent(password)}@${address}/${database}`,
    program,
    async createDatabase(name) {
      await runOk(program('createdb'), [`--maintenance-db=${asSuperuser}`, '--owner=berth', name]);
    },
    async stop() {
      child.kill('SIGQUIT');
      await exited;
      await remove();
    },
  };
}

/** It refuses root. @returns words before a program of it, which ends with the test, however that ends */
async function ownerOf(...files: readonly string[]): Promise<string[]> {
  const tied = ['setpriv', '--pdeathsig=QUIT'];
  if (process.getuid?.() !== 0) return [...tied, '--'];
  const [uid, gid] = await Promise.all(['--user', '--group'].map((which) => runOk('id', [which, 'postgres'])));
  for (const file of files) await chown(file, Number(uid), Number(gid));
  return [...tied, `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
}

function inOrder([command, ...args]: readonly string[]): [command: string, args: string[]] {
  return [command!, args];
}
