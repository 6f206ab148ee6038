/** Errors of /api/v1 as problem details, RFC 9457. */
import type { NextFunction, Request, Response } from 'express';
import { errorTable, RegistryError } from '../../oci/errors.ts';
import { answerOf, toRegistryErrors } from '../oci/errors.ts';

/** Express's error handler for the API. The cause of what is our fault goes to the log by the next handler, never to the client. */
export function sendProblem(error: unknown, _req: Request, res: Response, next: NextFunction): void {
  if (res.headersSent) return next(error);
  const errors = toRegistryErrors(fromBodyParser(error));
  const first = errors[0]!;
  const { status } = answerOf(errors, '', '');
  if (status >= 500) res.locals['failure'] = first.cause ?? error;
  if (status === 401) res.set('WWW-Authenticate', 'Basic realm="Berth", charset="UTF-8", Bearer realm="Berth"');
  res
    .status(status)
    .type('application/problem+json')
    .send(
      JSON.stringify({
        type: `urn:berth:problem:${errorTable[first.kind].code.toLowerCase().replaceAll('_', '-')}`,
        title: errorTable[first.kind].message,
        status,
        detail: first.message,
        requestId: res.get('X-Request-Id'),
      }),
    );
}

/** What Express's body parsers throw has a status of its own. */
function fromBodyParser(error: unknown): unknown {
  if (error instanceof RegistryError || !(error instanceof Error) || !('status' in error)) return error;
  if (error.status === 413) return new RegistryError('bodyTooLarge', { cause: error });
  return typeof error.status === 'number' && error.status < 500
    ? new RegistryError('parameterInvalid', { message: error.message, cause: error })
    : error;
}
