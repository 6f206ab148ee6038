/** Listening, time-outs, and a stop that loses no answer. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setImmediate as afterPoll, setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../telemetry/logger.ts';
import { createConnections, createIdleListener } from './connections.ts';
import { holdBody, inviteBody } from './expect.ts';
import type { OciHandler } from './oci/handler.ts';
import { createRefuse, refuseRequest } from './refusal.ts';
import { keepTlsFresh, readTlsPair, type TlsFiles, type TlsPair } from './tls.ts';

export interface HttpServerOptions {
  readonly oci: OciHandler;
  readonly rest: RequestListener;
  /** Undefined serves plain HTTP. */
  readonly tls: TlsFiles | undefined;
  readonly logger: Logger;
  readonly limits: {
    readonly headerBytesMax: number;
    readonly headersTimeoutSeconds: number;
    readonly bodyIdleTimeoutSeconds: number;
    readonly keepAliveTimeoutSeconds: number;
    readonly shutdownDrainSeconds: number;
    readonly shutdownGraceSeconds: number;
  };
}

export interface HttpServer {
  /** The port that was given, when port 0 was asked for. */
  readonly port: number;
  /**
   * Goes on accepting for the drain, telling each client to come back on a new connection; then stops accepting, lets
   * running requests end for at most the grace, and cuts them off.
   */
  stop(): Promise<void>;
}

/** How often dead connections are looked for; Node's 30 s would let a slow client have that much more than its time-out. */
const connectionsCheckMs = 2000;
const drainPollMs = 50;
const tlsPollMs = 10_000;
/** What a request that was cut off may still take to tidy up. */
const cutOffGraceMs = 5000;

/**
 * Listens, and resolves when connections are accepted.
 * @throws TlsFilesError; the system's error when the address cannot be listened on, or a TLS file cannot be read
 */
export async function listen(options: HttpServerOptions, address: { host: string; port: number }): Promise<HttpServer> {
  const { limits } = options;
  let draining = false;
  const running = new Set<Promise<void>>();
  const connections = createConnections();
  const listener: RequestListener = (req, res) => {
    connections.watch(req, res);
    if (repeatsWhatCounts(req)) return refuseRequest(res);
    req.url = originForm(req.url!);
    // While stopping, every answer tells its client to come back on a new connection: to another process.
    if (draining) res.setHeader('Connection', 'close');
    if (req.url === '/v2' || req.url.startsWith('/v2/') || req.url.startsWith('/v2?')) {
      const answered = options.oci(req, res).finally(() => running.delete(answered));
      running.add(answered);
    } else {
      inviteBody(req);
      options.rest(req, res);
    }
  };
  const tls = options.tls && { files: options.tls, pair: await readTlsPair(options.tls) };
  const server = create(listener, limits, tls?.pair);
  server.on(tls === undefined ? 'connection' : 'secureConnection', connections.opened);
  // A whole body may take hours; a silent one may not.
  server.timeout = limits.bodyIdleTimeoutSeconds * 1000;
  server.on('timeout', createIdleListener(connections, server.timeout));
  server.on('clientError', createRefuse(connections));
  server.on('checkContinue', (req, res) => {
    holdBody(req, res);
    listener(req, res);
  });
  server.listen(address.port, address.host);
  await once(server, 'listening');
  const stopped = new AbortController();
  if (tls !== undefined && server instanceof HttpsServer)
    void keepTlsFresh(server, { ...tls, logger: options.logger, everyMs: tlsPollMs, signal: stopped.signal });

  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      draining = true;
      connections.closeBehindAnswers();
      await delay(limits.shutdownDrainSeconds * 1000);
      stopped.abort();
      const closed = once(server, 'close');
      // Right behind the poll for connections: what the system has accepted for us by now has been taken.
      await afterPoll();
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

function create(
  listener: RequestListener,
  limits: HttpServerOptions['limits'],
  pair: TlsPair | undefined,
): Server | HttpsServer {
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
  return pair === undefined
    ? createHttpServer(serverOptions, listener)
    : createHttpsServer({ ...serverOptions, ...pair }, listener);
}

/**
 * "A server MUST respond with a 400 to any request message that contains more than one Host header field line", RFC 9112
 * section 3.2. Of two Authorization headers Node keeps the first; a proxy in front of it may have checked the other.
 */
function repeatsWhatCounts({ rawHeaders }: IncomingMessage): boolean {
  let hosts = 0;
  let authorizations = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 4 && name.toLowerCase() === 'host') hosts += 1;
    else if (name.length === 13 && name.toLowerCase() === 'authorization') authorizations += 1;
  }
  return hosts > 1 || authorizations > 1;
}

/**
 * The target without scheme and host: "a server MUST accept the absolute-form in requests", RFC 9112 section 3.2.2. Whose
 * host it names is not asked: this is the only site here.
 */
function originForm(target: string): string {
  if (target.startsWith('/')) return target;
  const absolute = /^https?:\/\/[^/?]*(.*)$/is.exec(target);
  if (absolute === null) return target;
  return absolute[1]!.startsWith('/') ? absolute[1]! : `/${absolute[1]!}`;
}
