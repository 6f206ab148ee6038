/** What the SDK throws, in the port's words. */
import { ObjectMissingError, ObjectSizeError, StorageFullError, StorageUnavailableError } from '../port.ts';

/** The SDK's errors and those of the sockets, as far as they can be told apart by. */
interface Facts {
  readonly name?: string;
  /** Of the system. */
  readonly code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $retryable?: object;
}

/** S3 says that something which a request builds on is not there. */
const missing = new Set(['NoSuchKey', 'NotFound', 'NoSuchUpload', 'InvalidPart', 'InvalidPartOrder']);
/** Amazon never says so; others do. */
const full = new Set([
  'XMinioStorageFull',
  'XMinioAdminBucketQuotaExceeded',
  'QuotaExceeded',
  'QuotaExceededException',
  'InsufficientStorage',
]);
/** What S3 says of bytes that are not those which left us. */
export const damagedOnTheWay: ReadonlySet<string> = new Set([
  'BadDigest',
  'IncompleteBody',
  'XAmzContentChecksumMismatch',
  // MinIO, where they end too early.
  'ClientDisconnected',
]);
/** Of the SDK, and of whoever aborts a request that takes too long. */
const unanswered = new Set(['TimeoutError', 'AbortError', 'RequestTimeout', 'SlowDown', 'ServiceUnavailable']);
/** Of a header or an operation, with which it stays. */
const notImplemented = 501;
const brokenSocket = /^(E(CONN|HOST|NET|PIPE|TIMEDOUT|AI_|NOTFOUND)|ERR_STREAM_PREMATURE_CLOSE|CERT_|ERR_TLS|ERR_SSL)/;

/** @param what the request, as it completes "S3 ..." */
export function translate(error: unknown, what: string): Error {
  const { name = '', code = '', message = '', $metadata } = error as Facts;
  const status = $metadata?.httpStatusCode;
  const options = { cause: error };
  if (missing.has(name) || (status === 404 && name !== 'NoSuchBucket'))
    return new ObjectMissingError(`S3 has nothing there (${what}: ${name})`, options);
  if (name === 'InvalidRange' || status === 416)
    return new ObjectSizeError(`S3 has fewer bytes there (${what}: ${name})`, options);
  if (full.has(name) || status === 507) return new StorageFullError(`S3 has no room left (${what}: ${name})`, options);
  if (isUnavailable(error))
    return new StorageUnavailableError(`S3 does not answer (${what}: ${code || name})`, options);
  return new Error(`S3 refuses (${what}): ${name} ${message}`, options);
}

/** Whether it may well work some time later, without anybody's help. */
export function isUnavailable(error: unknown): boolean {
  const { name = '', code = '', message = '', $metadata } = error as Facts;
  const status = $metadata?.httpStatusCode;
  return (
    unanswered.has(name) ||
    damagedOnTheWay.has(name) ||
    brokenSocket.test(code) ||
    message === 'socket hang up' ||
    message === 'aborted' ||
    (status !== undefined && (status === 429 || status >= 500) && status !== notImplemented)
  );
}

/** S3's own word for what went wrong, however deep it lies. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  if (error.cause !== undefined) return codeOf(error.cause);
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' ? code : error.name;
}
