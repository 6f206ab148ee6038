/** Listening, time-outs, and a stop that loses no answer. */
import { readFile } from 'node:fs/promises';
import {
  createServer as createHttpServer,
  STATUS_CODES,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { OciHandler } from './oci/handler.ts';

export interface HttpServerOptions {
  readonly oci: OciHandler;
  readonly rest: RequestListener;
  /** Paths of PEM files; undefined serves plain HTTP. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly limits: {
    readonly headerBytesMax: number;
    readonly headersTimeoutSeconds: number;
    readonly bodyIdleTimeoutSeconds: number;
    readonly keepAliveTimeoutSeconds: number;
    readonly shutdownGraceSeconds: number;
  };
}

export interface HttpServer {
  /** The port that was given, when port 0 was asked for. */
  readonly port: number;
  /** Stops accepting, lets running requests end for at most the grace, then cuts them off. */
  stop(): Promise<void>;
}

/** How often dead connections are looked for; Node's 30 s would let a slow client have that much more than its time-out. */
const connectionsCheckMs = 2000;
const drainPollMs = 50;
/** What a request that was cut off may still take to tidy up. */
const cutOffGraceMs = 5000;

/**
 * Listens, and resolves when connections are accepted.
 * @throws the system's error when the address cannot be listened on, or a TLS file cannot be read
 */
export async function listen(options: HttpServerOptions, address: { host: string; port: number }): Promise<HttpServer> {
  const { limits } = options;
  let draining = false;
  const running = new Set<Promise<void>>();
  const listener: RequestListener = (req, res) => {
    // While stopping, every answer tells its client to come back on a new connection: to another process.
    if (draining) res.setHeader('Connection', 'close');
    if (req.url === '/v2' || req.url!.startsWith('/v2/') || req.url!.startsWith('/v2?')) {
      const answered = options.oci(req, res).finally(() => running.delete(answered));
      running.add(answered);
    } else options.rest(req, res);
  };
  const server = await create(listener, options);
  // A whole body may take hours; a silent one may not.
  server.timeout = limits.bodyIdleTimeoutSeconds * 1000;
  server.on('clientError', refuse);
  server.listen(address.port, address.host);
  await once(server, 'listening');

  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      draining = true;
      const closed = once(server, 'close');
      server.close();
      const idle = setInterval(() => server.closeIdleConnections(), drainPollMs);
      const cut = setTimeout(() => server.closeAllConnections(), limits.shutdownGraceSeconds * 1000);
      await closed;
      clearInterval(idle);
      clearTimeout(cut);
      // A request whose connection was cut off still records what it got and gives its lease back; storage and database
      // must not be closed under it.
      await Promise.race([Promise.allSettled(running), delay(cutOffGraceMs, undefined, { ref: false })]);
    },
  };
}

async function create(listener: RequestListener, { tls, limits }: HttpServerOptions): Promise<Server> {
  const serverOptions: ServerOptions = {
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersTimeoutSeconds * 1000,
    requestTimeout: 0,
    keepAliveTimeout: limits.keepAliveTimeoutSeconds * 1000,
    connectionsCheckingInterval: connectionsCheckMs,
    // Two Content-Lengths, or one beside chunks, are how requests are smuggled past a proxy.
    insecureHTTPParser: false,
    noDelay: true,
  };
  if (tls === undefined) return createHttpServer(serverOptions, listener);
  const [cert, key] = await Promise.all([readFile(tls.cert), readFile(tls.key)]);
  return createHttpsServer({ ...serverOptions, cert, key }, listener);
}

/** What never became a request: answered in a form that clients of a registry can print. */
function refuse(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = refusalOf(error.code);
  const body = JSON.stringify({ errors: [{ code: 'UNSUPPORTED', message }] });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function refusalOf(code: string | undefined): [number, string] {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return [431, 'the headers of the request are larger than this registry accepts'];
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return [413, 'the chunk extensions of the request are larger than this registry accepts'];
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return [408, 'the request took too long to arrive'];
    default:
      return [400, 'this is not a valid HTTP request'];
  }
}
