/** The answer of an operation as it goes on the wire. */
import { pipeline } from 'node:stream/promises';
import type { Request, Response } from 'express';
import { ClientGoneError, noneMatch } from '../oci/exchange.ts';
import { etagOf } from './etag.ts';
import type { Answer, AnswerStream, Operation } from './operation.ts';
import { nextLink } from './pages.ts';

/** All of an answer; can be kept as JSON, and sent again, unless it is a stream. */
export interface Sending {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string | null;
  readonly stream?: AnswerStream;
}

export function sendingOf(operation: Operation, req: Request, origin: string, answer: Answer): Sending {
  const { status, body, next, version, cookies, headers, stream } = answer;
  const hasEtag =
    status === 200 && stream === undefined && (operation.effect === 'reads' || operation.edits !== undefined);
  return {
    status,
    body: body === undefined ? null : JSON.stringify(body),
    ...(stream !== undefined && { stream }),
    headers: {
      ...headers,
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
      ...(stream !== undefined && { 'Content-Type': stream.type }),
      // What is asked again each time may be kept; what is private is not even that.
      'Cache-Control': operation.cache === 'public' ? 'public, no-cache' : 'no-store',
      ...(hasEtag && { ETag: etagOf(version ?? body) }),
      ...(next !== undefined && { Link: nextLink(origin, req.originalUrl, next) }),
      ...(cookies !== undefined && cookies.length > 0 && { 'Set-Cookie': cookies }),
    },
  };
}

/** Sends it, or 304 when the client has it already. @throws ClientGoneError, and what a stream throws */
export async function send(req: Request, res: Response, { status, headers, body, stream }: Sending): Promise<void> {
  if (stream !== undefined && req.method !== 'HEAD') return sendStream(res, status, headers, stream.pieces);
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

async function sendStream(
  res: Response,
  status: number,
  headers: Sending['headers'],
  pieces: AsyncIterable<string>,
): Promise<void> {
  const source = pieces[Symbol.asyncIterator]();
  const first = await source.next();
  let failure: unknown;
  async function* all(): AsyncGenerator<string> {
    try {
      if (first.done !== true) yield first.value;
      yield* { [Symbol.asyncIterator]: () => source };
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      // Whoever leaves at the first piece has not come to the source's own end.
      await source.return?.();
    }
  }
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
  res.status(status);
  await pipeline(all, res).catch((error: unknown) => {
    throw failure ?? new ClientGoneError({ cause: error });
  });
}
