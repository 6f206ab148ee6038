/** Many small requests as they are: paths and headers go out unchanged, over a few connections that are kept. */
import { Agent, request, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import type { Login } from './berth.ts';

export interface Sent {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: unknown;
}

export interface SendOptions {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Objects go out as JSON, with its content type; text as it is. */
  readonly body?: unknown;
}

export interface Sender {
  send(path: string, options?: SendOptions): Promise<Sent>;
  close(): void;
}

/** @param headers of every request, unless it says otherwise */
export function createSender(url: string, headers: OutgoingHttpHeaders = {}, maxSockets = 4): Sender {
  const { hostname, port } = new URL(url);
  const agent = new Agent({ keepAlive: true, maxSockets });
  return {
    send(path, { method = 'GET', headers: own = {}, body } = {}) {
      const { promise, resolve, reject } = Promise.withResolvers<Sent>();
      const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
      const typed = typeof body === 'string' || body === undefined ? {} : { 'Content-Type': 'application/json' };
      const length = text === undefined ? {} : { 'Content-Length': Buffer.byteLength(text) };
      const all = { ...headers, ...typed, ...length, ...own };
      const req = request({ agent, hostname, port, method, path, headers: all }, (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('error', reject);
        res.on('end', () => {
          const received = Buffer.concat(chunks).toString();
          resolve({ status: res.statusCode!, headers: res.headers, text: received, json: parsed(received) });
        });
      });
      req.on('error', reject);
      req.end(text);
      return promise;
    },
    close: () => agent.destroy(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const basicOf = ({ username, password }: Login): { Authorization: string } => ({
  Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
});

/** As many at once as the sender has connections, or the server would answer many from one batch. */
export async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>, width = 8): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next;
      next += 1;
      results[at] = await work(items[at]!);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
