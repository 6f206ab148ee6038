/**
 * What can keep the embedded PostgreSQL from starting. Every message is one sentence for the operator: what is wrong,
 * where, and what to do.
 */

/** The base of all of them; its message may be shown to the operator as it is. */
export class EmbeddedPostgresError extends Error {
  override readonly name: string = 'EmbeddedPostgresError';
}

/** The PostgreSQL of this platform is not installed, not whole, or cannot run here. */
export class BinariesError extends EmbeddedPostgresError {
  override readonly name = 'BinariesError';
}

/** The data folder cannot be used: unreadable, somebody else's, or filled with something else. */
export class DataFolderError extends EmbeddedPostgresError {
  override readonly name = 'DataFolderError';
}

/** The data folder was made by another major version of PostgreSQL. */
export class DataVersionError extends EmbeddedPostgresError {
  override readonly name = 'DataVersionError';
}

/** No room is left where the data folder is. */
export class DiskFullError extends EmbeddedPostgresError {
  override readonly name = 'DiskFullError';
}

/** There is no safe folder for the server's socket. */
export class SocketFolderError extends EmbeddedPostgresError {
  override readonly name = 'SocketFolderError';
}

/** Another Berth holds this data folder. */
export class AnotherBerthError extends EmbeddedPostgresError {
  override readonly name = 'AnotherBerthError';
  /** Process id of the other one, as it knew itself (another container may count differently). */
  readonly pid: number;
  constructor(dataDir: string, pid: number) {
    super(`another Berth is already running on ${dataDir} (pid ${pid})`);
    this.pid = pid;
  }
}

/** PostgreSQL did not start for another reason; the message ends with what it said last. */
export class StartFailedError extends EmbeddedPostgresError {
  override readonly name = 'StartFailedError';
  constructor(what: string, lines: readonly string[]) {
    super(`${what}: ${lines.length === 0 ? 'it said nothing' : lines.slice(-linesShown).join(' | ')}`);
  }
}

const linesShown = 8;

/** Whether an error of Node's carries one of these codes (`ENOENT`, ...). */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}

/** Whether these lines of PostgreSQL's say that the disk is full. */
export function saysDiskFull(lines: readonly string[]): boolean {
  return lines.some((line) => /No space left on device|Disk quota exceeded/.test(line));
}
