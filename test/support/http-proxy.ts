/** A way to a Berth on which a test can do something at an exact moment: while a request or its answer waits. */
import { once } from 'node:events';
import { createServer, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';

interface HttpProxyHooks {
  /** Awaited before the request is sent on. */
  before?(req: IncomingMessage): Promise<void> | void;
  /** Awaited before the answer is passed back. */
  after?(req: IncomingMessage, status: number): Promise<void> | void;
}

interface HttpProxy {
  /** `127.0.0.1:PORT`. The Host header is passed on, so that a Berth makes its addresses lead through here. */
  readonly host: string;
  close(): Promise<void>;
}

async function createHttpProxy(port: number, hooks: HttpProxyHooks): Promise<HttpProxy> {
  const server = createServer((req, res) => {
    forward().catch((error: unknown) => res.destroy(error as Error));
    async function forward(): Promise<void> {
      await hooks.before?.(req);
      const { method, url, headers } = req;
      const far = request({ host: '127.0.0.1', port, method, path: url, headers, agent: false });
      const answered = once(far, 'response') as Promise<[IncomingMessage]>;
      const [[answer]] = await Promise.all([answered, pipeline(req, far)]);
      await hooks.after?.(req, answer.statusCode!);
      res.writeHead(answer.statusCode!, answer.headers);
      await pipeline(answer, res);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

interface PausingProxy extends HttpProxy {
  /** How many requests stored something: a blob or a manifest. */
  stored(): number;
}

/**
 * A proxy that does something between two blobs of a push: when the first is stored, before its client hears of it, and
 * before any other request that would store something is sent on.
 */
export async function pauseAfterFirstBlob(port: number, between: () => Promise<void>): Promise<PausingProxy> {
  let first: IncomingMessage | undefined;
  let stored = 0;
  const done = Promise.withResolvers<void>();
  const proxy = await createHttpProxy(port, {
    async before(req) {
      if (req.method !== 'PUT') return;
      if (first === undefined) first = req;
      else await done.promise;
    },
    async after(req, status) {
      if (req.method === 'PUT' && status === 201) stored += 1;
      if (req !== first) return;
      await between();
      done.resolve();
    },
  });
  return { ...proxy, stored: () => stored };
}
