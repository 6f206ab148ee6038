/** One request and its answer, as the handlers of the data plane see them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestOrigin } from '../../access/actor.ts';
import { RegistryError } from '../../oci/errors.ts';

export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** The query as sent, without the question mark. */
  readonly query: string;
  /** What addresses in answers begin with: an origin, or nothing. */
  readonly origin: () => string;
  readonly requestId: string;
  /** The client's address, as trusted proxies say it. */
  readonly address: () => string;
}

/** Where the request came from, for the audit log. */
export function originOf({ req, requestId, address }: Exchange): RequestOrigin {
  return { address: address(), client: req.headers['user-agent'] ?? null, requestId };
}

type Headers = Record<string, string | number | readonly string[]>;

/** On every answer of the data plane; docker looks for the first. */
function commonHeaders(exchange: Exchange): Headers {
  return { 'Docker-Distribution-Api-Version': 'registry/2.0', 'X-Request-Id': exchange.requestId };
}

/** Bodies up to this are copied to go out in one write with their headers; that is a quarter less work than writing two pieces. */
const joinedBytesMax = 16 * 1024;

/** Sends an answer that has all its bytes, or none. HEAD gets the headers only. */
export function send(exchange: Exchange, status: number, headers: Headers, body?: Buffer | string): void {
  const { req, res } = exchange;
  const all: Headers = { ...commonHeaders(exchange), ...headers };
  if (body !== undefined && !('Content-Length' in all)) all['Content-Length'] = Buffer.byteLength(body);
  // 204 and 304 have no body and must not announce one, RFC 9110 section 8.6; all others say so when it is empty.
  else if (body === undefined && !('Content-Length' in all) && status !== 204 && status !== 304)
    all['Content-Length'] = 0;
  res.writeHead(status, all as Record<string, string | number | string[]>);
  if (req.method === 'HEAD' || body === undefined) res.end();
  // Every byte is a character of latin1: the body joins the headers in one string and one write.
  else if (typeof body !== 'string' && body.length <= joinedBytesMax) res.end(body.toString('latin1'), 'latin1');
  else res.end(body);
}

export function sendJson(exchange: Exchange, status: number, headers: Headers, value: unknown): void {
  send(exchange, status, { 'Content-Type': 'application/json', ...headers }, JSON.stringify(value));
}

/** Streams an answer; each buffer is given back to its owner once the socket has taken it. */
export async function sendStream(
  exchange: Exchange,
  status: number,
  headers: Headers,
  pieces: AsyncIterable<Buffer>,
): Promise<void> {
  const { res } = exchange;
  res.writeHead(status, { ...commonHeaders(exchange), ...headers } as Record<string, string | number | string[]>);
  const gone = Promise.withResolvers<never>();
  const onClose = (): void => gone.reject(new ClientGoneError());
  res.once('close', onClose);
  gone.promise.catch(() => undefined);
  try {
    for await (const piece of pieces) {
      if (res.destroyed) throw new ClientGoneError();
      const written = new Promise<void>((resolve, reject) => {
        res.write(piece, (error) => (error ? reject(new ClientGoneError({ cause: error })) : resolve()));
      });
      await Promise.race([written, gone.promise]);
    }
    res.end();
  } finally {
    res.off('close', onClose);
  }
}

/** The client left before its answer was complete. Nobody is left to be told. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
  constructor(options?: ErrorOptions) {
    super('the client left before the answer was complete', options);
  }
}

/** One parameter of the query; null when it is not there. @throws RegistryError `parameterInvalid` when it is there twice */
export function parameter(query: string, name: string): string | null {
  if (!query.includes(name)) return null;
  const values = new URLSearchParams(query).getAll(name);
  if (values.length > 1)
    throw new RegistryError('parameterInvalid', { message: `the parameter ${name} is given ${values.length} times` });
  return values[0] ?? null;
}

/** A header that makes sense only once. Node joins repeated ones with a comma, or keeps the first; either would hide a trick. */
export function singleHeader(req: IncomingMessage, name: string): string | undefined {
  const values = req.headersDistinct[name];
  if (values !== undefined && values.length > 1)
    throw new RegistryError('parameterInvalid', { message: `the header ${name} is given ${values.length} times` });
  return values?.[0];
}

/** The length that the request announces; null when it is sent in chunks. */
export function announcedLength(req: IncomingMessage): number | null {
  if (req.headers['transfer-encoding'] !== undefined) return null;
  return Number(req.headers['content-length'] ?? 0);
}

/** Whether `If-None-Match` names this entity (RFC 9110 section 13.1.2). */
export function noneMatch(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.trim() === '*' || header.split(',').some((each) => each.trim().replace(/^W\//, '') === etag);
}
