/** The answer of an operation as it goes on the wire. */
import type { Request, Response } from 'express';
import { noneMatch } from '../oci/exchange.ts';
import { etagOf } from './etag.ts';
import type { Answer, Operation } from './operation.ts';
import { nextLink } from './pages.ts';

/** All of an answer; can be kept as JSON, and sent again. */
export interface Sending {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string | null;
}

export function sendingOf(operation: Operation, req: Request, origin: string, answer: Answer): Sending {
  const { status, body, next, version, cookies, headers } = answer;
  const hasEtag = status === 200 && (operation.effect === 'reads' || operation.edits !== undefined);
  return {
    status,
    body: body === undefined ? null : JSON.stringify(body),
    headers: {
      ...headers,
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
      // What is asked again each time may be kept; what is private is not even that.
      'Cache-Control': operation.cache === 'public' ? 'public, no-cache' : 'no-store',
      ...(hasEtag && { ETag: etagOf(version ?? body) }),
      ...(next !== undefined && { Link: nextLink(origin, req.originalUrl, next) }),
      ...(cookies !== undefined && cookies.length > 0 && { 'Set-Cookie': cookies }),
    },
  };
}

/** Sends it, or 304 when the client has it already. */
export function send(req: Request, res: Response, { status, headers, body }: Sending): void {
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
  const etag = headers['ETag'];
  const reads = req.method === 'GET' || req.method === 'HEAD';
  if (reads && typeof etag === 'string' && noneMatch(req.headers['if-none-match'], etag)) {
    res.removeHeader('Content-Type');
    res.status(304).end();
    return;
  }
  if (body !== null) res.setHeader('Content-Length', Buffer.byteLength(body));
  res.status(status).end(req.method === 'HEAD' || body === null ? undefined : body);
}
