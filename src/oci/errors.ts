/**
 * What can go wrong at a registry, in the words of the distribution spec.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 *
 * The HTTP status of each kind is not known here: only `http` knows statuses.
 */

/** The spec's codes, and the two that 5xx answers use (its list binds only 4xx answers). */
export type ErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'UNSUPPORTED'
  | 'TOOMANYREQUESTS'
  | 'UNAVAILABLE'
  | 'UNKNOWN';

/** One row per kind: the code that clients compare, and the message for when the thrower has nothing more exact to say. */
export const errorTable = {
  blobUnknown: { code: 'BLOB_UNKNOWN', message: 'this blob is not in the repository' },
  blobInUse: {
    code: 'UNSUPPORTED',
    message: 'this blob is still used by a manifest; delete the manifest first',
  },
  uploadInvalid: {
    code: 'BLOB_UPLOAD_INVALID',
    message: 'this upload cannot be completed; start a new one',
  },
  uploadUnknown: {
    code: 'BLOB_UPLOAD_UNKNOWN',
    message: 'this upload does not exist, was finished or has expired; start a new one',
  },
  uploadRangeInvalid: {
    code: 'BLOB_UPLOAD_INVALID',
    message: 'this chunk does not begin where the upload stands; see the Range header',
  },
  uploadBusy: {
    code: 'BLOB_UPLOAD_INVALID',
    message: 'another request is writing to this upload; try again',
  },
  digestInvalid: {
    code: 'DIGEST_INVALID',
    message: 'the digest is not valid or does not match the content',
  },
  manifestBlobUnknown: {
    code: 'MANIFEST_BLOB_UNKNOWN',
    message: 'the manifest names content that is not in the repository; push it first',
  },
  manifestInvalid: { code: 'MANIFEST_INVALID', message: 'the manifest is not valid' },
  manifestTooLarge: {
    code: 'SIZE_INVALID',
    message: 'the manifest is larger than this registry accepts',
  },
  manifestUnknown: {
    code: 'MANIFEST_UNKNOWN',
    message: 'no such tag or manifest in the repository',
  },
  nameInvalid: { code: 'NAME_INVALID', message: 'the repository name is not valid' },
  nameUnknown: { code: 'NAME_UNKNOWN', message: 'no such repository' },
  // distribution answers TAG_INVALID, but the spec's list has no such code.
  tagInvalid: { code: 'MANIFEST_INVALID', message: 'the tag is not valid' },
  sizeInvalid: {
    code: 'SIZE_INVALID',
    message: 'the length announced and the length received differ',
  },
  rangeInvalid: {
    code: 'SIZE_INVALID',
    message: 'the range asked for lies outside of the content',
  },
  unauthorized: { code: 'UNAUTHORIZED', message: 'authentication required; log in first' },
  denied: { code: 'DENIED', message: 'you may not do this' },
  unsupported: { code: 'UNSUPPORTED', message: 'this registry does not support the operation' },
  methodNotAllowed: {
    code: 'UNSUPPORTED',
    message: 'this address does not take the method; see the Allow header',
  },
  routeUnknown: { code: 'UNSUPPORTED', message: 'no such address in the registry API' },
  preconditionFailed: {
    code: 'DENIED',
    message: 'the tag is not in the state that the request demands',
  },
  parameterInvalid: { code: 'UNSUPPORTED', message: 'a parameter of the request is not valid' },
  bodyTooLarge: {
    code: 'SIZE_INVALID',
    message: 'the request body is larger than this registry accepts',
  },
  tooManyRequests: { code: 'TOOMANYREQUESTS', message: 'too many requests; try again later' },
  requestTimeout: { code: 'UNSUPPORTED', message: 'the request took too long to arrive' },
  unavailable: {
    code: 'UNAVAILABLE',
    message: 'the registry cannot answer at the moment; try again later',
  },
  unknown: {
    code: 'UNKNOWN',
    message: 'something went wrong in the registry; its log says more under the request id',
  },
} as const satisfies Record<string, { code: ErrorCode; message: string }>;

export type ErrorKind = keyof typeof errorTable;

/**
 * An answer to a client that is not the one it hoped for. `message` and `detail` are sent to the client, so neither
 * may say what the caller must not know; what only the log should say belongs in `cause`.
 */
export class RegistryError extends Error {
  readonly kind: ErrorKind;
  readonly detail?: unknown;
  /** When the client should try again, where that is known better than by the kind. A whole number. */
  readonly retryAfterSeconds?: number;

  constructor(
    kind: ErrorKind,
    options: { message?: string; detail?: unknown; cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(options.message ?? errorTable[kind].message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'RegistryError';
    this.kind = kind;
    if (options.detail !== undefined) this.detail = options.detail;
    if (options.retryAfterSeconds !== undefined) this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** Several errors in one answer: every digest that a manifest misses, not only the first. Never empty. */
export class RegistryErrors extends Error {
  readonly errors: readonly RegistryError[];

  constructor(errors: readonly RegistryError[]) {
    const [first, ...others] = errors;
    if (!first) throw new TypeError('RegistryErrors without an error');
    super(others.length === 0 ? first.message : `${first.message} (and ${others.length} more)`);
    this.name = 'RegistryErrors';
    this.errors = errors;
  }
}
