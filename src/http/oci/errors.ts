/**
 * Errors of the data plane: one table of statuses, one place that writes them.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 */
import { UnauthorizedError } from '../../access/errors.ts';
import { formatScope } from '../../access/scopes.ts';
import { DatabaseUnavailableError } from '../../database/pool.ts';
import { errorTable, RegistryError, RegistryErrors, type ErrorKind } from '../../oci/errors.ts';
import { StorageFullError, StorageUnavailableError } from '../../storage/port.ts';

/** The HTTP status of each kind of error. */
const statusOf: Record<ErrorKind, number> = {
  blobUnknown: 404,
  // The spec knows 400 and 405 for a blob that is not deleted.
  blobInUse: 405,
  uploadInvalid: 400,
  uploadUnknown: 404,
  uploadRangeInvalid: 416,
  uploadBusy: 409,
  digestInvalid: 400,
  manifestBlobUnknown: 404,
  manifestInvalid: 400,
  manifestTooLarge: 413,
  manifestUnknown: 404,
  nameInvalid: 400,
  nameUnknown: 404,
  tagInvalid: 400,
  sizeInvalid: 400,
  rangeInvalid: 416,
  unauthorized: 401,
  denied: 403,
  unsupported: 400,
  methodNotAllowed: 405,
  routeUnknown: 404,
  preconditionFailed: 412,
  parameterInvalid: 400,
  bodyTooLarge: 413,
  tooManyRequests: 429,
  requestTimeout: 408,
  unavailable: 503,
  unknown: 500,
};

/** Seconds after which a client should try again, unless the error itself knows better. */
const retryAfterSeconds: Partial<Record<ErrorKind, number>> = { uploadBusy: 1, tooManyRequests: 30, unavailable: 5 };

export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a thrown thing means to a client. Anything that is not meant for one becomes `unknown`, whose cause only the log shows. */
export function toRegistryErrors(error: unknown): readonly RegistryError[] {
  if (error instanceof RegistryError) return [error];
  if (error instanceof RegistryErrors) return error.errors;
  if (error instanceof DatabaseUnavailableError)
    return [
      new RegistryError('unavailable', {
        message: 'the registry cannot reach its database; try again later',
        cause: error,
      }),
    ];
  if (error instanceof StorageUnavailableError)
    return [
      new RegistryError('unavailable', {
        message: 'the registry cannot reach its storage; try again later',
        cause: error,
      }),
    ];
  if (error instanceof StorageFullError)
    return [
      new RegistryError('unavailable', { message: 'the registry has no room left for more bytes', cause: error }),
    ];
  return [new RegistryError('unknown', { cause: error })];
}

/** @param realm the absolute address of the token end-point @param service the name that tokens are issued for */
export function answerOf(errors: readonly RegistryError[], realm: string, service: string): ErrorAnswer {
  const first = errors[0]!;
  const seconds = first.retryAfterSeconds ?? retryAfterSeconds[first.kind];
  const body = JSON.stringify({
    errors: errors.map((error) => ({
      code: errorTable[error.kind].code,
      message: error.message,
      ...(error.detail !== undefined && { detail: error.detail }),
    })),
  });
  return {
    status: statusOf[first.kind],
    headers: {
      ...(first instanceof UnauthorizedError && { 'WWW-Authenticate': challengeOf(first, realm, service) }),
      ...(seconds !== undefined && { 'Retry-After': String(seconds) }),
      // A 405 says what can be done, RFC 9110 section 15.5.6.
      ...(first.kind === 'blobInUse' && { Allow: 'GET, HEAD' }),
    },
    body,
  };
}

/** https://distribution.github.io/distribution/spec/auth/token/ : every value quoted, or docker does not read it. */
function challengeOf(error: UnauthorizedError, realm: string, service: string): string {
  const parts = [`Bearer realm="${realm}"`, `service="${service}"`];
  if (error.scope !== undefined) parts.push(`scope="${formatScope(error.scope)}"`);
  // Docker shows the description in place of what the body says, and words of its own where there is none.
  if (error.error !== undefined)
    parts.push(`error="${error.error}"`, `error_description="${descriptionOf(error.message)}"`);
  return parts.join(',');
}

/** As RFC 6750 section 3 lets it be: printable ASCII without quotes and backslashes. */
function descriptionOf(message: string): string {
  return message.replaceAll(/[^ !#-[\]-~]/g, "'");
}
