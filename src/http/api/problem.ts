/** Errors of /api/v1 as problem details, RFC 9457: one table of kinds, one place that writes them. */
import { STATUS_CODES } from 'node:http';
import type { Request, Response } from 'express';
import { errorTable, RegistryError, type ErrorKind } from '../../oci/errors.ts';
import { ApiError, type ApiErrorKind, type FieldError } from '../../oci/problem.ts';
import { answerOf, toRegistryErrors } from '../oci/errors.ts';

export const problemMediaType = 'application/problem+json';
export const problemTypePrefix = 'urn:berth:problem:';

interface ProblemRow {
  readonly status: number;
  /** Behind `urn:berth:problem:`. Programs compare it: never changed, never given another meaning. */
  readonly type: string;
  readonly title: string;
  /** What the caller can do now. */
  readonly next: string;
}

const apiTable: Record<ApiErrorKind, ProblemRow> = {
  notFound: {
    status: 404,
    type: 'not-found',
    title: 'it does not exist, or you may not see it',
    next: 'Check the name, and that you are signed in as somebody who may see it.',
  },
  conflict: {
    status: 409,
    type: 'conflict',
    title: 'this contradicts what is there',
    next: 'Read the current state, then decide anew.',
  },
  invalid: {
    status: 400,
    type: 'invalid',
    title: 'the request is not valid',
    next: 'Correct the fields named in errors; /api/v1/openapi.json describes every operation.',
  },
  unprocessable: {
    status: 422,
    type: 'unprocessable',
    title: 'a rule of this registry forbids this',
    next: 'Change what the detail says, and try again.',
  },
  forbidden: {
    status: 403,
    type: 'forbidden',
    title: 'you may not do this',
    next: 'Ask an owner for the right, or use a credential that has it; GET /api/v1/access/explain says what is missing.',
  },
  secondFactorRequired: {
    status: 401,
    type: 'second-factor-required',
    title: 'signing in to this account takes a second factor',
    next: 'Sign in again, with a code of the app or a recovery code in the field code.',
  },
  tooManyRequests: {
    status: 429,
    type: 'too-many-requests',
    title: 'too many requests',
    next: 'Wait as long as the Retry-After header says.',
  },
  preconditionRequired: {
    status: 428,
    type: 'precondition-required',
    title: 'this change needs an If-Match header',
    next: 'Read the thing first, and send its ETag in If-Match.',
  },
  preconditionFailed: {
    status: 412,
    type: 'precondition-failed',
    title: 'it was changed meanwhile',
    next: 'Read it again, and send its new ETag in If-Match.',
  },
  unsupportedMediaType: {
    status: 415,
    type: 'unsupported-media-type',
    title: 'the body has a media type that this operation does not take',
    next: 'Send JSON, with the header Content-Type: application/json.',
  },
  idempotencyKeyReused: {
    status: 422,
    type: 'idempotency-key-reused',
    title: 'this Idempotency-Key belongs to another request',
    next: 'Make a new random key for every new request; keep it only to send the very same request again.',
  },
};

/** What kinds of the data plane are called here, where its own codes say too little. */
const registryTypes: Partial<Record<ErrorKind, string>> = {
  parameterInvalid: 'invalid',
  methodNotAllowed: 'method-not-allowed',
  routeUnknown: 'route-unknown',
  tooManyRequests: 'too-many-requests',
  preconditionFailed: 'precondition-failed',
  unknown: 'internal',
};

const registryNext: Partial<Record<ErrorKind, string>> = {
  unauthorized: 'Sign in: send Basic or Bearer credentials, or open a session.',
  denied: apiTable.forbidden.next,
  nameUnknown: apiTable.notFound.next,
  methodNotAllowed: 'Use one of the methods in the Allow header.',
  routeUnknown: '/api/v1/openapi.json lists every address.',
  bodyTooLarge: 'Send less at once; the limit is the setting BERTH_REQUEST_BODY_BYTES_MAX.',
  tooManyRequests: apiTable.tooManyRequests.next,
  preconditionFailed: apiTable.preconditionFailed.next,
  unavailable: 'Try again as long after as the Retry-After header says.',
  unknown: 'Try again; if it stays, give the administrator the requestId, under which the log says more.',
};

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly next: string;
  readonly requestId?: string | undefined;
  readonly errors?: readonly FieldError[] | undefined;
}

/** What a thrown thing means to a client, with the headers that go with it. */
export function problemOf(thrown: unknown): { problem: Problem; headers: Readonly<Record<string, string>> } {
  if (thrown instanceof ApiError) {
    const row = apiTable[thrown.kind];
    const { retryAfterSeconds: seconds = thrown.kind === 'tooManyRequests' ? 30 : undefined, errors } = thrown;
    return {
      problem: {
        type: problemTypePrefix + row.type,
        title: row.title,
        status: row.status,
        detail: thrown.message,
        next: thrown.next ?? row.next,
        ...(errors !== undefined && { errors }),
      },
      headers: seconds === undefined ? {} : { 'Retry-After': String(Math.ceil(seconds)) },
    };
  }
  const errors = toRegistryErrors(fromExpress(thrown));
  const { kind, message } = errors[0]!;
  const { status, headers } = answerOf(errors, '', '');
  return {
    problem: {
      type: problemTypePrefix + (registryTypes[kind] ?? errorTable[kind].code.toLowerCase().replaceAll('_', '-')),
      title: errorTable[kind].message,
      status,
      detail: message,
      next: registryNext[kind] ?? apiTable.invalid.next,
    },
    headers,
  };
}

/** Answers with a problem. The cause of what is our fault goes to the log (http/express.ts), never to the client. */
export function sendProblem(thrown: unknown, req: Request, res: Response): void {
  const { problem, headers } = problemOf(thrown);
  const { status } = problem;
  if (status >= 500) res.locals['failure'] = (thrown instanceof RegistryError && thrown.cause) || thrown;
  const body = JSON.stringify({ ...problem, requestId: res.get('X-Request-Id') });
  res
    .status(status)
    .set({ ...headers, 'Content-Type': problemMediaType, 'Cache-Control': 'no-store' })
    .set(status === 401 ? { 'WWW-Authenticate': challengeFor(req) } : {})
    .set('Content-Length', String(Buffer.byteLength(body)))
    .end(req.method === 'HEAD' ? undefined : body);
}

/** A script in a page gets no Basic challenge: the browser would ask for a password in a window of its own. */
function challengeFor(req: Request): string {
  const mode = req.headers['sec-fetch-mode'];
  const fromScript = mode !== undefined && mode !== 'navigate';
  return `${fromScript ? '' : 'Basic realm="Berth", charset="UTF-8", '}Bearer realm="Berth"`;
}

/** What Express itself throws: a path that is not percent-encoding. */
function fromExpress(thrown: unknown): unknown {
  if (!(thrown instanceof URIError)) return thrown;
  return new RegistryError('parameterInvalid', { message: 'the path is not percent-encoded UTF-8', cause: thrown });
}

/** In words, for OpenAPI. */
export function titleOfStatus(status: number): string {
  // The usual 401 is not of this table.
  const titles = Object.values(apiTable).filter((row) => row.status === status && status !== 401);
  return titles.length === 1 ? titles[0]!.title : (STATUS_CODES[status] ?? String(status));
}
