/**
 * As whom PostgreSQL runs. It refuses root, so a Berth started by root runs it in a user namespace, where root's files
 * belong to an ordinary user; where namespaces are not allowed (most containers) it runs as a system user.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, chown, cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Binaries } from './binaries.ts';
import { DataFolderError } from './errors.ts';

/** How to start a program of PostgreSQL's. */
export interface Account {
  /** Who owns its files, as the file system shows it to us. */
  readonly uid: number;
  readonly gid: number;
  /** Words before the program. Each ends by `exec`, so that the child's pid is the program's. */
  readonly words: readonly string[];
  /** Whether uid and gid are to be taken on; false when they are ours already. */
  readonly change: boolean;
}

/** An account, what it runs, and the folder in which a new cluster of its would be made. */
export interface Home {
  readonly account: Account;
  readonly binaries: Binaries;
  readonly folder: string;
}

const systemFolder = '/var/lib/berth';
const systemUsers = ['berth', 'postgres', 'nobody'];
/** The environment of PostgreSQL: ours must not reach it (`PGPORT` would move its socket, `LC_ALL` its messages). */
const environment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
  TZ: 'UTC',
};
const run = promisify(execFile);

/**
 * Starts a program of PostgreSQL's in a session of its own, so that Ctrl-C in a terminal does not reach it. On Linux
 * the kernel sends it SIGINT when the calling thread ends, even by kill -9: call this from the main thread.
 */
export function start(
  account: Account,
  program: string,
  args: readonly string[],
  extra?: Record<string, string>,
): ChildProcess {
  const [command, ...rest] = [...account.words, program, ...args];
  return spawn(command!, rest, {
    detached: true,
    cwd: '/',
    env: { ...environment, ...extra },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(account.change && { uid: account.uid, gid: account.gid }),
  });
}

/**
 * Decides as whom the cluster of `dataDir` runs and, when there is none yet, where it is made.
 * @param owner who owns the cluster that is already there
 * @throws DataFolderError when the owner of what is there cannot be become
 */
export async function chooseHome(
  dataDir: string,
  binaries: Binaries,
  owner: { uid: number; gid: number } | undefined,
  log: (line: string) => void,
): Promise<Home> {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  const words = await deathSignal();
  if (uid !== 0) {
    // initdb insists on a user with a name, which a container's arbitrary user has not; in a namespace it has.
    const namespace = hasName() ? undefined : await namespaceWords();
    return { account: { uid, gid, words: [...words, ...(namespace ?? [])], change: false }, binaries, folder: dataDir };
  }
  if (owner !== undefined && owner.uid !== 0) {
    return atHome({ ...owner, words, change: true }, binaries, dataDir);
  }
  const namespace = await namespaceWords();
  const inNamespace: Account = { uid, gid, words: [...words, ...(namespace ?? [])], change: false };
  if (namespace !== undefined && ((await reaches(inNamespace, dataDir)) || owner !== undefined)) {
    return { account: inNamespace, binaries, folder: dataDir };
  }
  if (owner !== undefined) {
    throw new DataFolderError(
      `the database in ${dataDir} belongs to root and this machine does not allow user namespaces, so give it to a system user (chown -R postgres) or allow them`,
    );
  }
  const home = await atHome({ ...(await systemUser()), words, change: true }, binaries, dataDir);
  log(
    `user namespaces are not allowed here: PostgreSQL runs as user ${home.account.uid}, its data is in ${home.folder}`,
  );
  return home;
}

/** A system user's place: beside Berth's own data if the user gets there, otherwise below `/var/lib/berth`, and its programs likewise. */
async function atHome(account: Account, binaries: Binaries, dataDir: string): Promise<Home> {
  const isReached = (await reaches(account, dataDir)) || (await letPass(account, dataDir));
  const folder = isReached ? dataDir : systemFolder;
  if (folder === systemFolder) await makeSystemFolder();
  if (await reaches(account, binaries.folder)) return { account, binaries, folder };
  const copy = path.join(systemFolder, `postgresql-${binaries.version}`);
  if (!(await reaches(account, copy))) await copyProgram(binaries.folder, copy);
  return { account, binaries: { ...binaries, folder: copy }, folder };
}

/**
 * Lets the system user's group go through a data folder that is root's alone; an operator's own arrangement is left as it
 * is, and so is a folder that this does not bring within reach.
 */
async function letPass(account: Account, dataDir: string): Promise<boolean> {
  const { uid, gid, mode } = await stat(dataDir);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0) return false;
  await chown(dataDir, uid, account.gid);
  await chmod(dataDir, 0o710);
  if (await reaches(account, dataDir)) return true;
  await chmod(dataDir, mode & 0o777);
  await chown(dataDir, uid, gid);
  return false;
}

async function makeSystemFolder(): Promise<void> {
  try {
    await mkdir(systemFolder, { recursive: true, mode: 0o755 });
    // Passable for the system user whatever our umask is; what is in it has locks of its own.
    await chmod(systemFolder, 0o755);
  } catch (error) {
    throw new DataFolderError(`the folder ${systemFolder} for PostgreSQL cannot be made`, { cause: error });
  }
}

async function copyProgram(from: string, to: string): Promise<void> {
  await makeSystemFolder();
  const partial = `${to}.new-${process.pid}`;
  try {
    await cp(from, partial, { recursive: true, verbatimSymlinks: true });
    // npm unpacks as the umask of whoever ran it says.
    await run('chmod', ['-R', 'a+rX', partial], { env: environment });
    await rename(partial, to);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw new DataFolderError(`the programs of PostgreSQL cannot be copied from ${from} to ${to}`, { cause: error });
  }
}

async function reaches(account: Account, folder: string): Promise<boolean> {
  const child = start(account, 'test', ['-x', `${folder}/.`]);
  return new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('close', (code) => resolve(code === 0));
  });
}

function hasName(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

/** `setpriv --pdeathsig` of util-linux; macOS has no such thing, there the next start ends what a crash left running. */
async function deathSignal(): Promise<string[]> {
  const words = ['setpriv', '--pdeathsig', 'INT', '--'];
  return (await works(words)) ? words : [];
}

async function namespaceWords(): Promise<string[] | undefined> {
  // The user inside must have a name, because initdb insists; which one does not matter.
  const user = await systemUser();
  const words = ['unshare', '--user', `--map-user=${user.uid}`, `--map-group=${user.gid}`, '--'];
  return (await works(words)) ? words : undefined;
}

async function works([command, ...rest]: readonly string[]): Promise<boolean> {
  try {
    await run(command!, [...rest, 'true'], { env: environment });
    return true;
  } catch {
    return false;
  }
}

async function systemUser(): Promise<{ uid: number; gid: number }> {
  for (const name of systemUsers) {
    try {
      const [uid, gid] = await Promise.all(
        ['-u', '-g'].map(async (flag) => Number((await run('id', [flag, name], { env: environment })).stdout)),
      );
      return { uid: uid!, gid: gid! };
    } catch {
      // No such user; the next one may be there.
    }
  }
  throw new DataFolderError(
    `PostgreSQL refuses to run as root, and none of the users ${systemUsers.join(', ')} exists: add one (useradd --system berth) or start Berth as an ordinary user`,
  );
}
