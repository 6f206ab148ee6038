/**
 * What can go wrong at the management API beyond what a registry knows (errors.ts). Pure words: which status, type and
 * title each kind has is known in `http` alone.
 */
export type ApiErrorKind =
  /** Absent, or hidden from this caller: nobody can tell the two apart. */
  | 'notFound'
  /** It is there already, or in a state that does not allow this. */
  | 'conflict'
  /** The request is malformed: `errors` names every field. */
  | 'invalid'
  /** Well formed, but a rule refuses it: a reserved name, the last owner. */
  | 'unprocessable'
  /** The caller is known and sees the thing, but may not do this with it. */
  | 'forbidden'
  /** The password is right, and not enough: sign in with a code, too. */
  | 'secondFactorRequired'
  | 'tooManyRequests'
  | 'preconditionRequired'
  | 'preconditionFailed'
  | 'unsupportedMediaType'
  | 'idempotencyKeyReused';

/** One field of a request that is not as it must be. */
export interface FieldError {
  /** Where: `body.grants.0.repository`, `query.limit`, `path.name`, `header.If-Match`. */
  readonly path: string;
  /** What it must be; never repeats a value that may be a secret. */
  readonly message: string;
}

export interface ApiErrorOptions {
  readonly errors?: readonly FieldError[];
  /** What the caller can do now, where there is something better to say than the kind's own words. */
  readonly next?: string;
  /** After how many seconds to try again, for `tooManyRequests`. */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/**
 * An answer of the management API that is not the one hoped for. Message, errors and next step are sent to the client:
 * none may say what the caller must not know; what only the log should say belongs in `cause`.
 */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly kind: ApiErrorKind;
  readonly errors: readonly FieldError[] | undefined;
  readonly next: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(kind: ApiErrorKind, message: string, options: ApiErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.kind = kind;
    this.errors = options.errors;
    this.next = options.next;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}
