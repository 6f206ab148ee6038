/** HTTP byte by byte, for what clients hide. */
import { connect } from 'node:net';
import type { Login } from './berth.ts';

export interface RawAnswer {
  readonly status: number;
  /** By lower-case name, every value. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** Everything behind the empty line. */
  readonly body: string;
}

export function basicAuth({ username, password }: Login): string {
  return `Authorization: Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Sends these lines as the head of one request, with `Connection: close`, and reads until the server closes. */
export async function rawRequest(
  port: number,
  lines: readonly string[],
  body: Buffer | string = '',
): Promise<RawAnswer> {
  const head = [...lines, 'Connection: close', '', ''].join('\r\n');
  const text = await rawExchange(port, Buffer.concat([Buffer.from(head), Buffer.from(body as string)]));
  return parseAnswer(text);
}

/** Sends bytes and reads until the server closes. */
export async function rawExchange(port: number, bytes: Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

export function parseAnswer(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n');
  const [statusLine, ...lines] = text.slice(0, end).split('\r\n');
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()]);
  }
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine ?? '')?.[1]), headers, body: text.slice(end + 4) };
}
