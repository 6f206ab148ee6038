/** One process of PostgreSQL: started, listened to, stopped. */
import type { ChildProcess } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { start } from './account.ts';
import { type Cluster, readPostmasterFile } from './cluster.ts';
import { hasCode } from './errors.ts';

/** How the server came to its end. */
export interface PostgresExit {
  /** Whether `stop` was called before. */
  readonly expected: boolean;
  /** For a log: the exit code or signal, and what PostgreSQL said last. */
  readonly reason: string;
}

/** A started process, which may not serve yet. */
export interface PostgresProcess {
  readonly pid: number | undefined;
  /** Resolves, never rejects, when the process has ended and all it said was read. */
  readonly exited: Promise<PostgresExit>;
  /** What it said last, oldest first. */
  lines(): readonly string[];
  /** Fast shutdown, then ever less friendly; resolves when the process has ended. */
  readonly stop: () => Promise<void>;
}

export interface ServerSettings {
  /** PostgreSQL's `shared_buffers`, in MiB. */
  readonly sharedBuffersMib: number;
  readonly connectionsMax: number;
  /** False gives up fsync: for tests only, a crash of the machine then destroys the data. */
  readonly durable: boolean;
}

const linesKept = 40;
/** How long each way of stopping may take before the next one, in ms. */
const fastStopMs = 20_000;
const immediateStopMs = 8_000;
/** What a healthy server says at every start and stop, and to those who ask whether it is ready. */
const routine =
  /^(LOG: {2}|FATAL: {2}the )(starting PostgreSQL|listening on|database system (was shut down|is ready|is shut down|is starting up|is shutting down|is not yet accepting)|received fast shutdown|aborting any active|shutting down|checkpoint (starting|complete))/;

/** Starts PostgreSQL on a cluster. It never listens on TCP. */
export async function startServer(
  cluster: Cluster,
  socketFolder: string,
  settings: ServerSettings,
  log: (line: string) => void,
): Promise<PostgresProcess> {
  // A list of folders to PostgreSQL, in which quotes make a comma harmless.
  const quoted = `"${socketFolder.replaceAll('"', '""')}"`;
  const args = [
    '-D',
    cluster.path,
    '-k',
    quoted,
    ...Object.entries(parameters(settings)).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  const child = start(
    cluster.account,
    path.join(cluster.binaries.folder, 'bin', 'postgres'),
    args,
    await staleParent(cluster.path),
  );
  const lines: string[] = [];
  createInterface({ input: child.stderr! }).on('line', (line) => {
    lines.push(line);
    if (lines.length > linesKept) lines.shift();
    if (!routine.test(line)) log(line);
  });
  let stopping = false;
  const exited = ended(child).then((how) => ({ expected: stopping, reason: [how, ...lines.slice(-5)].join(' | ') }));
  return {
    pid: child.pid,
    exited,
    lines: () => lines,
    async stop() {
      stopping = true;
      for (const [signal, patienceMs] of [
        ['SIGINT', fastStopMs],
        ['SIGQUIT', immediateStopMs],
        ['SIGKILL', immediateStopMs],
      ] as const) {
        child.kill(signal);
        const timer = new AbortController();
        const late = delay(patienceMs, true, { signal: timer.signal }).catch(() => false);
        const isLate = await Promise.race([late, exited.then(() => false)]);
        timer.abort();
        if (!isLate) return;
      }
    },
  };
}

/**
 * Asks the server of a cluster, whose Berth is gone, to end. Sends the signal only to a process that is certainly it;
 * elsewhere (another container's, say) waiting is all that can be done.
 */
export async function stopOrphan(cluster: string): Promise<void> {
  const file = await readPostmasterFile(cluster);
  if (file === undefined || !(await isPostmaster(file.pid, cluster))) return;
  try {
    process.kill(file.pid, 'SIGINT');
  } catch (error) {
    if (!hasCode(error, 'ESRCH', 'EPERM')) throw error;
  }
}

function parameters({ sharedBuffersMib, connectionsMax, durable }: ServerSettings): Record<string, string | number> {
  return {
    listen_addresses: '',
    unix_socket_permissions: '0700',
    shared_buffers: `${sharedBuffersMib}MB`,
    max_connections: connectionsMax,
    fsync: durable ? 'on' : 'off',
    wal_compression: 'on',
    max_wal_size: '1GB',
    io_method: 'worker',
    max_logical_replication_workers: 0,
    timezone: 'UTC',
    log_timezone: 'UTC',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_line_prefix: '',
    log_min_messages: 'warning',
    log_checkpoints: 'off',
    // Statements and their values may carry what belongs into no log.
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
  };
}

/**
 * After a crash of the machine or container, the pid in `postmaster.pid` may be somebody else's by now (in containers
 * often always the same one), or a zombie's that nobody reaps, and PostgreSQL would refuse to start for ever. When that
 * process is certainly not a PostgreSQL of this cluster, PostgreSQL is told to take it for a process above itself, which
 * it never mistakes for a rival; its own check for shared memory still in use stays.
 */
async function staleParent(cluster: string): Promise<Record<string, string>> {
  const file = await readPostmasterFile(cluster);
  if (process.platform !== 'linux' || file === undefined || (await isPostmaster(file.pid, cluster))) return {};
  return { PG_GRANDPARENT_PID: String(file.pid) };
}

async function isPostmaster(pid: number, cluster: string): Promise<boolean> {
  // Without /proc the caller has just been answered by the server that wrote this pid.
  if (process.platform !== 'linux') return true;
  try {
    const [name, folder] = await Promise.all([readFile(`/proc/${pid}/comm`, 'utf8'), readlink(`/proc/${pid}/cwd`)]);
    return name.trim() === 'postgres' && folder === cluster;
  } catch (error) {
    // What we may not look at could be it.
    return !hasCode(error, 'ENOENT', 'ESRCH');
  }
}

function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(`it could not be run: ${error.message}`));
    child.once('close', (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
}
