import { inspect } from 'node:util';
import { AccountError } from '../access/accounts.ts';
import { ConfigError } from '../config/config-error.ts';
import { EmbeddedPostgresError } from '../database/embedded/errors.ts';
import { DatabaseNewerError, MigrationError } from '../database/migrate.ts';
import { DatabaseUnavailableError } from '../database/pool.ts';
import { TlsFilesError } from '../http/tls.ts';
import { ApiError } from '../oci/problem.ts';
import { StorageFullError, StorageUnusableError } from '../storage/port.ts';
import { ProblemError, UnreachableError } from './remote/errors.ts';
import { ServingError } from './serving-error.ts';
import { UsageError } from './usage-error.ts';

/** Errors whose message was written for the operator and needs no stack trace. */
const explained = [
  AccountError,
  ApiError,
  ConfigError,
  DatabaseNewerError,
  DatabaseUnavailableError,
  EmbeddedPostgresError,
  MigrationError,
  ProblemError,
  ServingError,
  StorageFullError,
  StorageUnusableError,
  TlsFilesError,
  UnreachableError,
  UsageError,
];

/** What went wrong, on stderr: one sentence where the operator can do something about it, the stack where we must. */
export function reportFailure(error: unknown): void {
  process.stderr.write(`berth: ${explain(error) ?? inFull(error)}\n`);
}

/** One sentence for the operator; undefined for an error that nobody foresaw. */
export function explain(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (explained.some((kind) => error instanceof kind)) return error.message;
  return isSystemError(error) ? explainSystemError(error) : undefined;
}

/** What Node adds to an error of a system call. */
interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly address?: string;
  readonly port?: number;
  readonly path?: string;
}

const isSystemError = (error: Error): error is SystemError =>
  'code' in error && typeof error.code === 'string' && 'syscall' in error;

function explainSystemError({ code, syscall, address, port, path }: SystemError): string | undefined {
  // A worker's address is bound by the process that started it, which says so.
  if (['listen', 'bind', 'getaddrinfo'].includes(syscall)) return explainListening(code, hostAndPort(address, port));
  const place = path ?? 'a file';
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return `no room is left on the disk of ${place}; free some and start again`;
    case 'EACCES':
    case 'EPERM':
      return `${place} may not be read or written by the user that runs Berth (${code})`;
    case 'EROFS':
      return `${place} is on a file system that cannot be written`;
    case 'ENOENT':
      return `${place} does not exist`;
    case 'EEXIST':
    case 'ENOTDIR':
      return `${place} is not a folder`;
    default:
      return undefined;
  }
}

function explainListening(code: string, where: string): string | undefined {
  switch (code) {
    case 'EADDRINUSE':
      return `the address ${where} is taken; set BERTH_LISTEN to another or stop what listens there`;
    case 'EACCES':
      return `the address ${where} may not be listened on by this user; set BERTH_LISTEN to a port from 1024`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host of BERTH_LISTEN is no address of this machine (${code})`;
    default:
      return undefined;
  }
}

const hostAndPort = (address = '', port = 0): string => `${address.includes(':') ? `[${address}]` : address}:${port}`;

const inFull = (error: unknown): string => (error instanceof Error ? inspect(error) : String(error));
