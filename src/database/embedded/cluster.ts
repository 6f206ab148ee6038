/** The folder of the database cluster: `${dataDir}/postgres`, or a link there to where a system user can reach it. */
import { createHash, randomUUID } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  open,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import path from 'node:path';
import { type Home, chooseHome, start } from './account.ts';
import { findBinaries } from './binaries.ts';
import {
  BinariesError,
  DataFolderError,
  DataVersionError,
  DiskFullError,
  StartFailedError,
  hasCode,
  saysDiskFull,
} from './errors.ts';

/** A cluster that is there and can be started. */
export interface Cluster extends Home {
  /** The cluster's own folder, without links on the way. */
  readonly path: string;
}

/** What `postmaster.pid` says of the server that runs, or ran last. */
export interface PostmasterFile {
  readonly pid: number;
  readonly socketFolder: string;
}

/** The one superuser; whoever reaches the socket is it. */
export const user = 'berth';
/** Of folders in which a cluster is being made: two data folders may share `/var/lib/berth`. */
const partialPrefix = (dataDir: string): string =>
  `postgres.new-${createHash('sha256').update(dataDir).digest('hex').slice(0, 8)}-`;
const clusterName = (dataDir: string): string => path.join(dataDir, 'postgres');

/**
 * Finds the cluster of a data folder, or makes it. Making it is atomic: whatever ends it half-way leaves a folder that
 * no later start takes for a cluster.
 * @throws DataFolderError, DataVersionError, DiskFullError, StartFailedError, BinariesError
 */
export async function prepareCluster(
  dataDir: string,
  options: { log: (line: string) => void; signal: AbortSignal; durable: boolean },
): Promise<Cluster> {
  const binaries = await findBinaries();
  await translate(dataDir, () => mkdir(dataDir, { recursive: true, mode: 0o700 }));
  const found = await findCluster(dataDir);
  const home = await chooseHome(dataDir, binaries, found, options.log);
  if (found !== undefined) {
    if (found.uid !== home.account.uid) {
      throw new DataFolderError(
        `the database folder ${found.path} belongs to user ${found.uid}, but Berth runs as user ${home.account.uid}: start it as that user`,
      );
    }
    if (found.major !== binaries.major) {
      throw new DataVersionError(
        `the database in ${found.path} was made by PostgreSQL ${found.major}, but this Berth brings PostgreSQL ${binaries.major}: move its contents with pg_dump and pg_restore of those versions`,
      );
    }
    return { ...home, path: found.path };
  }
  options.log(`making a new database in ${home.folder}`);
  await makeCluster(dataDir, home, options);
  return { ...home, path: await realpath(clusterName(dataDir)) };
}

/** The cluster of a data folder, or undefined when there is none yet. @throws DataFolderError */
export async function findCluster(
  dataDir: string,
): Promise<{ path: string; uid: number; gid: number; major: string } | undefined> {
  return translate(clusterName(dataDir), async () => {
    if (!(await isThere(clusterName(dataDir)))) return undefined;
    const folder = await realpath(clusterName(dataDir)).catch((error: unknown) => {
      throw hasCode(error, 'ENOENT')
        ? new DataFolderError(
            `the database folder ${clusterName(dataDir)} is a link to nowhere: bring back what it points to, or remove the link to begin anew`,
            { cause: error },
          )
        : error;
    });
    const { uid, gid } = await stat(folder);
    const names = await readdir(folder);
    if (names.length === 0) return undefined;
    if (!names.includes('PG_VERSION'))
      throw new DataFolderError(
        `${folder} is not empty and holds no PostgreSQL database: move it away, or choose another BERTH_DATA_DIR`,
      );
    return { path: folder, uid, gid, major: (await readFile(path.join(folder, 'PG_VERSION'), 'utf8')).trim() };
  });
}

/** Reads `postmaster.pid`; undefined when there is none or it is still being written. @throws DataFolderError */
export async function readPostmasterFile(cluster: string): Promise<PostmasterFile | undefined> {
  const lines = await translate(cluster, () =>
    readFile(path.join(cluster, 'postmaster.pid'), 'utf8').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return '';
      throw error;
    }),
  );
  const [pid, , , , socketFolder] = lines.split('\n');
  if (pid === undefined || socketFolder === undefined || socketFolder === '') return undefined;
  return { pid: Number(pid), socketFolder };
}

/**
 * Removes what crashed starts left of clusters never finished. Only for the holder of the server lock: a start that is
 * making one at this moment then finds that it came too late anyway.
 */
export async function removePartialClusters(dataDir: string, cluster: Cluster): Promise<void> {
  for (const folder of new Set([dataDir, path.dirname(cluster.path)])) {
    for (const name of await readdir(folder)) {
      if (name.startsWith(partialPrefix(dataDir))) await rm(path.join(folder, name), { recursive: true, force: true });
    }
  }
}

async function makeCluster(
  dataDir: string,
  home: Home,
  options: { signal: AbortSignal; durable: boolean },
): Promise<void> {
  const partial = path.join(home.folder, `${partialPrefix(dataDir)}${randomUUID()}`);
  try {
    await translate(home.folder, async () => {
      await mkdir(partial, { mode: 0o700 });
      await chmod(partial, 0o700);
      if (home.account.change) await chown(partial, home.account.uid, home.account.gid);
    });
    await initdb(home, partial, options);
    await translate(home.folder, () => putInPlace(dataDir, home, partial));
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // Another start was quicker, and may have removed ours; its cluster is as good.
    if (!options.signal.aborted && (await findCluster(dataDir)) !== undefined) return;
    throw error;
  }
}

async function putInPlace(dataDir: string, home: Home, partial: string): Promise<void> {
  const name = clusterName(dataDir);
  if (home.folder === dataDir) {
    await rename(partial, name);
  } else {
    const target = path.join(home.folder, `postgres-${randomUUID()}`);
    await rename(partial, target);
    await syncFolder(home.folder);
    // The link, not the place, belongs to the data folder: a data folder that is moved takes its database along.
    await symlink(target, name).catch(async (error: unknown) => {
      await rm(target, { recursive: true, force: true });
      throw error;
    });
  }
  await syncFolder(dataDir);
}

async function initdb(
  home: Home,
  folder: string,
  { signal, durable }: { signal: AbortSignal; durable: boolean },
): Promise<void> {
  signal.throwIfAborted();
  const child = start(home.account, path.join(home.binaries.folder, 'bin', 'initdb'), [
    `--pgdata=${folder}`,
    `--username=${user}`,
    '--encoding=UTF8',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--locale=C',
    '--data-checksums',
    '--auth-local=trust',
    '--auth-host=reject',
    '--no-instructions',
    ...(durable ? [] : ['--no-sync']),
  ]);
  const onAbort = (): boolean => child.kill('SIGINT');
  signal.addEventListener('abort', onAbort, { once: true });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('close', resolve);
      child.once('error', (error) =>
        reject(
          new BinariesError(`PostgreSQL's initdb cannot run on this system (it needs glibc): ${error.message}`, {
            cause: error,
          }),
        ),
      );
    });
    signal.throwIfAborted();
    if (code === 0) return;
    const lines = said.split('\n').filter((line) => line.trim() !== '');
    if (saysDiskFull(lines))
      throw new DiskFullError(
        `no room is left for a new database in ${home.folder}: free at least 100 MiB and start again`,
      );
    throw new StartFailedError(`making a new database in ${home.folder} failed`, lines);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Says what the file system's errors mean for the data folder. */
async function translate<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (hasCode(error, 'EACCES', 'EPERM'))
      throw new DataFolderError(
        `the folder ${folder} cannot be read and written by the user that runs Berth: change its owner, or choose another BERTH_DATA_DIR`,
        { cause: error },
      );
    if (hasCode(error, 'EROFS'))
      throw new DataFolderError(`the folder ${folder} is on a file system that is mounted read-only`, { cause: error });
    if (hasCode(error, 'ENOSPC', 'EDQUOT')) throw new DiskFullError(`no room is left in ${folder}`, { cause: error });
    if (hasCode(error, 'ENOTDIR', 'EEXIST'))
      throw new DataFolderError(`${folder} is not a folder, or something on the way to it is not`, { cause: error });
    throw error;
  }
}
