/** A way to an S3 server on which a test makes one request go wrong, in one exact way. */
import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** As the S3 API calls them. */
export type S3Operation =
  | 'AbortMultipartUpload'
  | 'CompleteMultipartUpload'
  | 'CreateMultipartUpload'
  | 'DeleteObject'
  | 'GetObject'
  | 'HeadObject'
  | 'ListMultipartUploads'
  | 'ListObjectsV2'
  | 'PutObject'
  | 'UploadPart'
  | 'other';

export type S3Fault =
  /** Reaches S3 late. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Does not reach S3. */
  | { readonly kind: 'status'; readonly status: 500 | 501 | 503 }
  /** The connection breaks after so many bytes of the body; S3 sees it break. */
  | { readonly kind: 'break-request'; readonly afterBytes: number }
  /** After so many bytes of the body nothing more comes, as if that was its end; S3 may still answer. */
  | { readonly kind: 'truncate-request'; readonly bytes: number }
  /** S3 gets another byte in the midst of the body. */
  | { readonly kind: 'damage-request' }
  /** The connection breaks after so many bytes of the answer's body. */
  | { readonly kind: 'break-answer'; readonly afterBytes: number }
  /** S3 has done it, and nobody hears of it. */
  | { readonly kind: 'lose-answer' }
  /** The answer says another entity tag than S3 does. */
  | { readonly kind: 'wrong-etag' }
  /** S3 knows no `If-None-Match` on a PUT, and says so. */
  | { readonly kind: 'no-conditions' }
  /** Accepted, and never answered. */
  | { readonly kind: 'silence' };

export interface S3Proxy {
  readonly url: string;
  /** What was asked so far. */
  readonly asked: readonly S3Operation[];
  /** Makes the next requests of this kind go wrong, after those that were said before. */
  fail(operation: S3Operation, fault: S3Fault, times?: number): void;
  /** Every request goes wrong this way, until it is said again without a fault. */
  failAll(fault?: S3Fault): void;
  /** Faults that no request has met. */
  unused(): number;
  close(): Promise<void>;
}

export async function startS3Proxy(target: string): Promise<S3Proxy> {
  const far = new URL(target);
  const asked: S3Operation[] = [];
  const waiting: { readonly operation: S3Operation; readonly fault: S3Fault }[] = [];
  let always: S3Fault | undefined;
  const closing = new AbortController();

  function faultFor(operation: S3Operation): S3Fault | undefined {
    const at = waiting.findIndex((each) => each.operation === operation);
    return at < 0 ? always : waiting.splice(at, 1)[0]!.fault;
  }

  const server = createServer((req, res) => {
    const operation = operationOf(req);
    asked.push(operation);
    // A broken connection is what a test asked for, or what its server does when it ends.
    res.on('error', () => undefined);
    req.on('error', () => undefined);
    forward(req, res, faultFor(operation)).catch(() => void res.destroy());
  });

  async function forward(req: IncomingMessage, res: ServerResponse, fault: S3Fault | undefined): Promise<void> {
    if (fault?.kind === 'silence') return;
    if (fault?.kind === 'status') return refuse(req, res, fault.status);
    if (fault?.kind === 'no-conditions' && req.headers['if-none-match'] !== undefined) return refuse(req, res, 501);
    if (fault?.kind === 'delay') await delay(fault.ms, undefined, { signal: closing.signal });
    const body = await bodyOf(req, fault);
    if (fault?.kind === 'damage-request' && body.length > 0) body[body.length >> 1]! ^= 1;
    const { method, url: path, headers } = req;
    const out = request({ host: far.hostname, port: far.port, method, path, headers, agent: false });
    out.on('error', () => void res.destroy());
    if (fault?.kind === 'break-request') {
      const { socket } = req;
      out.write(body, () => {
        out.destroy();
        socket.resetAndDestroy();
      });
      return;
    }
    if (fault?.kind === 'truncate-request') out.write(body, () => out.socket?.end());
    else out.end(body);
    const [answer] = (await once(out, 'response')) as [IncomingMessage];
    await passBack(answer, res, fault);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    fail(operation, fault, times = 1) {
      for (let i = 0; i < times; i += 1) waiting.push({ operation, fault });
    },
    failAll(fault) {
      always = fault;
    },
    unused: () => waiting.length,
    async close() {
      closing.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function refuse(req: IncomingMessage, res: ServerResponse, status: 500 | 501 | 503): void {
  req.resume();
  res.writeHead(status, { 'Content-Type': 'application/xml' });
  const code = { 500: 'InternalError', 501: 'NotImplemented', 503: 'SlowDown' }[status];
  res.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>said by the test</Message></Error>`);
}

/** The whole body, or as much of it as the fault lets through. */
async function bodyOf(req: IncomingMessage, fault: S3Fault | undefined): Promise<Buffer> {
  const most = fault?.kind === 'break-request' ? fault.afterBytes : Number.POSITIVE_INFINITY;
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= most) break;
  }
  const end = fault?.kind === 'truncate-request' ? fault.bytes : most;
  return Buffer.concat(pieces).subarray(0, end);
}

async function passBack(answer: IncomingMessage, res: ServerResponse, fault: S3Fault | undefined): Promise<void> {
  if (fault?.kind === 'lose-answer') {
    // Read to its end: until then S3 may still be at work.
    await answer.resume().toArray();
    res.socket?.resetAndDestroy();
    return;
  }
  const headers = { ...answer.headers };
  if (fault?.kind === 'wrong-etag' && headers.etag !== undefined) headers.etag = '"00000000000000000000000000000000"';
  res.writeHead(answer.statusCode!, headers);
  let left = fault?.kind === 'break-answer' ? fault.afterBytes : Number.POSITIVE_INFINITY;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    const part = piece.subarray(0, Math.min(piece.length, left));
    left -= part.length;
    await new Promise<void>((resolve) => {
      res.write(part, () => resolve());
    });
    if (left === 0 || res.destroyed) {
      res.socket?.resetAndDestroy();
      answer.destroy();
      return;
    }
  }
  res.end();
}

function operationOf({ method, url }: IncomingMessage): S3Operation {
  const { pathname, searchParams } = new URL(url!, 'http://any');
  const object = /^\/[^/]+\/./.test(pathname);
  if (!object) {
    if (method !== 'GET') return 'other';
    return searchParams.has('uploads') ? 'ListMultipartUploads' : 'ListObjectsV2';
  }
  const upload = searchParams.has('uploadId');
  switch (method) {
    case 'POST':
      return upload ? 'CompleteMultipartUpload' : searchParams.has('uploads') ? 'CreateMultipartUpload' : 'other';
    case 'PUT':
      return upload ? 'UploadPart' : 'PutObject';
    case 'DELETE':
      return upload ? 'AbortMultipartUpload' : 'DeleteObject';
    case 'HEAD':
      return 'HeadObject';
    default:
      return 'GetObject';
  }
}
