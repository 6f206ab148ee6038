/** What can go wrong between the command and a running Berth; every message is for who typed the command. */
import { visible } from './output.ts';

/** RFC 9457, as far as it is shown. */
interface Problem {
  readonly title: string;
  readonly detail: string;
  readonly next?: string;
  readonly requestId?: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

/** The server said no, and why. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError';

  constructor({ title, detail, next, requestId, errors = [] }: Problem) {
    const lines = [
      `${title}: ${detail}`,
      ...errors.map(({ path, message }) => `  ${path} ${message}`),
      ...(next === undefined ? [] : [`  ${next}`]),
      ...(requestId === undefined ? [] : [`  (request ${requestId})`]),
    ];
    super(lines.map(visible).join('\n'));
  }
}

/** @returns undefined for what no Berth answers */
export function problemErrorOf(body: unknown): ProblemError | undefined {
  const { title, detail } = (body ?? {}) as Partial<Problem>;
  return typeof title === 'string' && typeof detail === 'string' ? new ProblemError(body as Problem) : undefined;
}

/** Nobody answers, or somebody who is no Berth. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

const refusals = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT']);

/** @param cause what node:http threw */
export function unreachable(origin: string, cause: unknown): UnreachableError {
  const { code = 'no code', message } = cause as NodeJS.ErrnoException;
  // Of several addresses of one name, each has its own error.
  const inner = cause instanceof AggregateError ? (cause.errors[0] as NodeJS.ErrnoException).code : undefined;
  if (refusals.has(inner ?? code))
    return new UnreachableError(
      `no Berth answers at ${origin}; start it with npm start, or name another one with --server`,
      { cause },
    );
  return new UnreachableError(`the connection to ${origin} failed: ${visible(message)} (${code})`, { cause });
}
