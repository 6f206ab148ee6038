/** HTTP as bytes on a socket: for requests that no client library would send, and answers as they really come. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case; a repeated header is joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface RawConnection {
  readonly socket: Socket;
  /** Sends bytes as they are, once the socket has taken what came before. Rejects when the server has closed the connection. */
  send(bytes: Buffer | string): Promise<void>;
  /**
   * The next answer. Rejects when the connection ends before it is whole.
   * @param options.method of the request that it answers: HEAD has no body, whatever its headers announce
   */
  answer(options?: { method?: string }): Promise<RawAnswer>;
  /** Resolves when the server has closed the connection, with what came behind the answers read so far. */
  closed(): Promise<Buffer>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Connects to a server on this machine. */
export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  await once(socket, 'connect');
  // Grows by doubling: large answers come in thousands of pieces.
  let store = Buffer.allocUnsafe(65_536);
  let [start, end] = [0, 0];
  let ended = false;
  let wake = Promise.withResolvers<void>();
  const stir = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const onEnd = (): void => {
    ended = true;
    stir();
  };
  socket.on('data', (piece: Buffer) => {
    if (end + piece.length > store.length) {
      const larger = Buffer.allocUnsafe(2 * (end - start + piece.length));
      store.copy(larger, 0, start, end);
      [store, start, end] = [larger, 0, end - start];
    }
    end += piece.copy(store, end);
    stir();
  });
  socket.on('end', onEnd).on('close', onEnd);
  // A reset is an end too; what came before it can still be read.
  socket.on('error', onEnd);

  return {
    socket,
    async send(bytes) {
      await new Promise<void>((resolve, reject) => {
        socket.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    },
    async answer({ method = 'GET' } = {}) {
      for (;;) {
        const received = store.subarray(start, end);
        const parsed = parseAnswer(received, method, ended);
        if (parsed !== undefined) {
          start += parsed.length;
          return parsed.answer;
        }
        if (ended) throw new Error(`the connection ended within an answer: ${received.toString('latin1', 0, 1000)}`);
        await wake.promise;
      }
    },
    async closed() {
      while (!ended) await wake.promise;
      return store.subarray(start, end);
    },
    async [Symbol.asyncDispose]() {
      if (socket.closed) return;
      const closed = once(socket, 'close');
      socket.destroy();
      await closed;
    },
  };
}

function parseAnswer(bytes: Buffer, method: string, ended: boolean): { answer: RawAnswer; length: number } | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const [statusLine, ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine!)?.[1]);
  if (Number.isNaN(status)) throw new Error(`no status line: ${statusLine}`);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const rest = bytes.subarray(headEnd + 4);
  const body = bodyOf(rest, method, status, headers, ended);
  if (body === undefined) return undefined;
  return { answer: { status, headers, body: body.content }, length: headEnd + 4 + body.length };
}

function bodyOf(
  rest: Buffer,
  method: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  ended: boolean,
): { content: Buffer; length: number } | undefined {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304)
    return { content: Buffer.alloc(0), length: 0 };
  if (headers['transfer-encoding'] === 'chunked') return chunkedBody(rest);
  const announced = headers['content-length'];
  if (announced === undefined) return ended ? { content: rest, length: rest.length } : undefined;
  const length = Number(announced);
  return rest.length < length ? undefined : { content: rest.subarray(0, length), length };
}

function chunkedBody(rest: Buffer): { content: Buffer; length: number } | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = rest.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(rest.subarray(at, lineEnd).toString('latin1'), 16);
    const next = lineEnd + 2 + size + 2;
    if (rest.length < next) return undefined;
    if (size === 0) return { content: Buffer.concat(chunks), length: next };
    chunks.push(rest.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = next;
  }
}

export interface RawRequest {
  readonly method?: string;
  /** The request target, as it goes on the wire. */
  readonly target: string;
  /** `Host` is added unless it is among them. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Goes behind the headers as it is: announcing its length is the caller's business. */
  readonly body?: Buffer | string;
  readonly version?: string;
}

/** A request as bytes, in latin1. */
export function rawBytes({ method = 'GET', target, headers = [], body = '', version = '1.1' }: RawRequest): Buffer {
  const named = headers.some(([name]) => name.toLowerCase() === 'host') || version === '1.0';
  const all = named ? headers : [['Host', 'berth.test'] as const, ...headers];
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const head = Buffer.from(`${method} ${target} HTTP/${version}\r\n${lines}\r\n`, 'latin1');
  return Buffer.concat([head, Buffer.from(body as string)]);
}

/** One request on a connection of its own. */
export async function rawRequest(port: number, request: RawRequest): Promise<RawAnswer> {
  await using connection = await rawConnection(port);
  const answer = connection.answer({ method: request.method ?? 'GET' });
  // A server that refuses may close before it has taken everything; what it answers is what counts.
  connection.send(rawBytes(request)).catch(() => undefined);
  return await answer;
}

/** The header that proves a login. */
export function basicHeader({ username, password }: { username: string; password: string }): [string, string] {
  return ['Authorization', `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`];
}

/** A body in chunks, ended. */
export function chunked(...pieces: readonly (Buffer | string)[]): Buffer {
  const chunks = pieces
    .map((piece) => Buffer.from(piece as string))
    .filter((piece) => piece.length > 0)
    .map((piece) => Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]));
  return Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')]);
}
