import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { StorageUnavailableError } from '../port.ts';
import type { Answer } from './answer.ts';
import { DirectReads } from './direct-reads.ts';

const timeoutMs = 10_000;
const text = 'what the object has';
const range = { start: 5, length: text.length };
const head = (fields: readonly string[] = [], status = '206 Partial Content'): string =>
  [`HTTP/1.1 ${status}`, ...fields, '', ''].join('\r\n');
const promised = [`Content-Range: bytes 5-${4 + text.length}/100`, `Content-Length: ${text.length}`];
const whole = head(promised) + text;

const ends: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

/** A server that says what it is told to, and takes note of what it is asked. */
async function startServer(answer: (socket: Socket, nth: number) => void) {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (request) => {
      requests.push(request.toString('latin1'));
      answer(socket, requests.length);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/bucket/key?signed`);
  return { requests, sockets, address };
}

function open(options: { timeoutMs?: number; socketsMax?: number } = {}): DirectReads {
  const reads = new DirectReads({ socketsMax: 10, connectTimeoutMs: timeoutMs, timeoutMs, ...options });
  ends.push(() => reads.close());
  return reads;
}

async function textOf(answer: Answer | undefined): Promise<string> {
  expect(answer?.length).toBe(text.length);
  const pieces: Buffer[] = [];
  for (let piece = await answer!.next(); piece !== undefined; piece = await answer!.next())
    pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

/** Says the pieces one after the other, each when the one before has most likely been read. */
async function say(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    await new Promise((resolve) => socket.write(piece, resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('asks for the range, and reuses the connection once all of it was read', async () => {
  const { requests, sockets, address } = await startServer((socket) => socket.write(whole));
  const reads = open();
  for (let i = 0; i < 3; i += 1) expect(await textOf(await reads.get(address, range, timeoutMs))).toBe(text);
  expect(sockets.size).toBe(1);
  expect(requests[0]).toBe(
    `GET /bucket/key?signed HTTP/1.1\r\nHost: ${address.host}\r\nAccept-Encoding: identity\r\nRange: bytes=5-23\r\n\r\n`,
  );
});

test.for([
  ['byte by byte', whole.split('')],
  ['with a break in the empty line', [whole.slice(0, whole.indexOf(text) - 1), whole.slice(whole.indexOf(text) - 1)]],
  ['the head first', [head(promised), text]],
] as const)('an answer that comes %s', async ([, pieces]) => {
  const { address } = await startServer((socket) => void say(socket, pieces));
  expect(await textOf(await open().get(address, range, timeoutMs))).toBe(text);
});

test.for([
  ['an error', head(['Content-Length: 0'], '503 Slow Down')],
  ['the whole object', head([`Content-Length: ${text.length}`], '200 OK') + text],
  ['other bytes', whole.replace('bytes 5-', 'bytes 4-')],
  ['fewer bytes', whole.replace(`Length: ${text.length}`, `Length: ${text.length - 1}`)],
  ['chunks', head([...promised, 'Transfer-Encoding: chunked'])],
  ['something packed', head([...promised, 'Content-Encoding: gzip']) + text],
  ['another protocol', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
  ['a head without an end', `HTTP/1.1 206 OK\r\nX: ${'x'.repeat(100_000)}`],
] as const)('%s is left to whoever knows what to make of it', async ([, answer]) => {
  const { address, sockets } = await startServer((socket) => socket.write(answer));
  expect(await open().get(address, range, timeoutMs)).toBeUndefined();
  await vi.waitFor(() => expect(sockets.size).toBe(0));
});

test('a server that answers a range in another way is not asked again; one that once fails is', async () => {
  for (const [first, asked] of [
    [head(['Transfer-Encoding: chunked']), 1],
    [head(['Content-Length: 0'], '500 Oh'), 2],
  ] as const) {
    const { address, requests } = await startServer((socket, nth) => socket.write(nth === 1 ? first : whole));
    const reads = open();
    expect(await reads.get(address, range, timeoutMs)).toBeUndefined();
    expect((await reads.get(address, range, timeoutMs)) !== undefined).toBe(asked === 2);
    expect(requests).toHaveLength(asked);
  }
});

test('no answer in time, no server, or no connection left: undefined', async () => {
  const silent = await startServer(() => undefined);
  expect(await open().get(silent.address, range, 20)).toBeUndefined();
  const closing = await startServer((socket) => socket.destroy());
  expect(await open().get(closing.address, range, timeoutMs)).toBeUndefined();
  expect(await open().get(new URL('http://127.0.0.1:1/'), range, timeoutMs)).toBeUndefined();
  const { address } = await startServer((socket) => socket.write(whole));
  const few = open({ socketsMax: 1 });
  const first = await few.get(address, range, timeoutMs);
  expect(await few.get(address, range, timeoutMs)).toBeUndefined();
  expect(await textOf(first)).toBe(text);
});

test.for([
  ['breaks off', 'broke off', (socket: Socket) => socket.end()],
  ['is reset', 'broke off', (socket: Socket) => socket.resetAndDestroy()],
  ['stands still', 'broke off', () => undefined],
  ['goes on too long', 'more than it said', (socket: Socket) => socket.write(`${text.slice(-1)}more`)],
] as const)('an answer that %s: the error says that it may go better another time', async ([, message, misbehave]) => {
  const { address, sockets } = await startServer((socket) => socket.write(whole.slice(0, -1)));
  const answer = await open({ timeoutMs: 50 }).get(address, range, timeoutMs);
  for (const socket of sockets) misbehave(socket);
  const error = await textOf(answer).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StorageUnavailableError);
  expect((error as Error).message).toContain(message);
  answer!.destroy();
  await vi.waitFor(() => expect(sockets.size).toBe(0));
});

test('one that is given up frees the connection, and whoever waits is told', async () => {
  const { address, sockets } = await startServer((socket) => socket.write(whole.slice(0, -1)));
  const answer = await open().get(address, range, timeoutMs);
  const reading = textOf(answer);
  answer!.destroy();
  await expect(reading).rejects.toBeInstanceOf(StorageUnavailableError);
  await vi.waitFor(() => expect(sockets.size).toBe(0));
});

test.for([
  ['closes', (socket: Socket) => socket.end()],
  ['says something on', (socket: Socket) => socket.write('408 idle')],
] as const)('an idle connection that the server %s is not used again', async ([, disturb]) => {
  const { address, requests, sockets } = await startServer((socket) => socket.write(whole));
  const reads = open();
  await textOf(await reads.get(address, range, timeoutMs));
  for (const socket of sockets) disturb(socket);
  await vi.waitFor(() => expect(sockets.size).toBe(0));
  expect(await textOf(await reads.get(address, range, timeoutMs))).toBe(text);
  expect(requests).toHaveLength(2);
});

test.for([
  ['all of which was read is given back at once', whole, 0],
  ['that is given up stays for whoever has not yet sent it on', whole.slice(0, -1), text.length - 1],
] as const)('the memory of an answer %s', async ([, said, left]) => {
  const { address, sockets } = await startServer((socket) => socket.write(said));
  const reads = open();
  const answer = await reads.get(address, range, timeoutMs);
  const lent = await answer!.next();
  if (said === whole) expect(await answer!.next()).toBeUndefined();
  answer!.destroy();
  reads.close();
  await vi.waitFor(() => {
    expect(sockets.size).toBe(0);
    expect(lent).toHaveLength(left);
  });
});

test('a server that closes after each answer is connected to anew', async () => {
  const { address, sockets } = await startServer((socket) =>
    socket.write(head([...promised, 'Connection: close']) + text),
  );
  const reads = open();
  for (let i = 0; i < 2; i += 1) {
    expect(await textOf(await reads.get(address, range, timeoutMs))).toBe(text);
    await vi.waitFor(() => expect(sockets.size).toBe(0));
  }
});
