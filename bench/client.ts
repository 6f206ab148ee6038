/** Requests as the benchmark makes them: cheap for the client, since it shares the cores with the server that it measures. */
import { once } from 'node:events';
import { Agent, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';

/** A registry as a client knows it. */
export interface Server {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  /** The headers that let a client pull from and push to a repository, as docker sends them. */
  headers(repository: string): Promise<Readonly<Record<string, string>>>;
}

export interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Sending {
  readonly agent: Agent;
  readonly headers: Readonly<Record<string, string | number>>;
  /** Written one by one, as fast as the server takes them. */
  readonly body?: Iterable<Buffer>;
}

/** @param address a path, or what a `Location` said. @throws Error when the answer has another status than `expected` */
export async function ask(
  registry: Server,
  method: string,
  address: string,
  expected: number,
  { agent, headers, body = [] }: Sending,
): Promise<Answer> {
  const req = request(new URL(address, registry.url), { method, agent, headers });
  const answered = once(req, 'response');
  answered.catch(() => undefined);
  for (const piece of body) if (!req.write(piece)) await Promise.race([once(req, 'drain'), answered]);
  req.end();
  const [res] = (await answered) as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of res) pieces.push(piece as Buffer);
  const answer = { headers: res.headers, body: Buffer.concat(pieces) };
  if (res.statusCode !== expected)
    throw new Error(
      `${registry.name}: ${method} ${address} was answered ${res.statusCode}, not ${expected}: ${answer.body.toString().slice(0, 500)}`,
    );
  return answer;
}

/** @returns seconds that the work took */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function requestText(
  registry: Server,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nHost: ${registry.host}\r\n${lines.join('')}\r\n`;
}

/** Connects with one reused buffer of 1 MiB: what is read is looked at and forgotten. */
async function open(registry: Server, onBytes: (bytes: Buffer) => void): Promise<Socket> {
  const [host, port] = registry.host.split(':');
  const socket = connect({
    host: host!,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafe(1024 * 1024),
      callback: (bytes, buffer) => {
        onBytes((buffer as Buffer).subarray(0, bytes));
        return true;
      },
    },
  });
  await once(socket, 'connect');
  return socket;
}

/** Reads an answer to its end and throws it away. @throws Error when it is no 200, or ends early */
export async function discard(
  registry: Server,
  path: string,
  headers: Readonly<Record<string, string>>,
  bytes: number,
): Promise<void> {
  const whole = Promise.withResolvers<void>();
  let head = '';
  let left = bytes;
  const socket = await open(registry, (piece) => {
    let body = piece.length;
    if (!head.includes('\r\n\r\n')) {
      const before = head.length;
      head += piece.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      body -= end + 4 - before;
      if (!head.startsWith('HTTP/1.1 200 ')) whole.reject(new Error(`${registry.name}: ${head}`));
    }
    left -= body;
    if (left <= 0) whole.resolve();
  });
  socket.once('close', () => whole.reject(new Error(`${registry.name}: ${path} ended ${left} bytes early`)));
  socket.once('error', whole.reject);
  socket.write(requestText(registry, 'GET', path, { ...headers, Connection: 'close' }));
  await whole.promise.finally(() => socket.destroy());
}

/** Asks for a redirect, and reads what it leads to as {@link discard} does. */
export async function discardRedirected(
  registry: Server,
  path: string,
  headers: Readonly<Record<string, string>>,
  bytes: number,
): Promise<void> {
  const agent = new Agent();
  const answer = await ask(registry, 'GET', path, 307, { agent, headers }).finally(() => agent.destroy());
  const target = new URL(answer.headers.location!);
  const storage = { ...registry, name: 'S3', url: target.origin, host: target.host };
  await discard(storage, `${target.pathname}${target.search}`, {}, bytes);
}

/**
 * HEAD requests, one after the other on each connection. wrk cannot make them: it waits for the body that the
 * Content-Length of a HEAD speaks of.
 * @returns answers per second
 */
export async function headLoad(
  registry: Server,
  path: string,
  headers: Readonly<Record<string, string>>,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<number> {
  const text = Buffer.from(requestText(registry, 'HEAD', path, headers));
  const end = performance.now() + seconds * 1000;
  let answers = 0;
  const one = async (): Promise<void> => {
    const over = Promise.withResolvers<void>();
    let head = '';
    const socket = await open(registry, (piece) => {
      head += piece.toString('latin1');
      if (!head.endsWith('\r\n\r\n')) return;
      if (!head.startsWith('HTTP/1.1 200 ')) return over.reject(new Error(`${registry.name}: HEAD ${path}: ${head}`));
      head = '';
      answers += 1;
      if (performance.now() >= end) over.resolve();
      else socket.write(text);
    });
    socket.once('close', () => over.reject(new Error(`${registry.name} closed a connection of HEAD ${path}`)));
    socket.once('error', over.reject);
    socket.write(text);
    await over.promise.finally(() => socket.destroy());
  };
  const took = await timed(() => Promise.all(Array.from({ length: connections }, one)));
  return answers / took;
}
