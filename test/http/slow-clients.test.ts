/** Clients that trickle, stall or never read: each is let go of within its time-out, and leaves nothing open. */
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, randomContent } from '../support/images.ts';
import { basicHeader, rawBytes, rawConnection, rawRequest } from '../support/raw.ts';
import { openFiles, storedFiles, tracesOf } from '../support/traces.ts';

/** Seconds of each time-out, and how much later it may be noticed: Berth looks every two seconds, and this machine is busy. */
const timeoutSeconds = 1;
const noticedMs = 10_000;

let berth: TestBerth;
let admin: Client;
let auth: [string, string];
const large = randomContent(24_000_000);
beforeAll(async () => {
  berth = await startTestBerth({
    BERTH_HEADERS_TIMEOUT_SECONDS: String(timeoutSeconds),
    BERTH_BODY_IDLE_TIMEOUT_SECONDS: String(timeoutSeconds),
    BERTH_KEEPALIVE_TIMEOUT_SECONDS: String(timeoutSeconds),
  });
  admin = clientOf(berth.url, berth.admin);
  auth = basicHeader(berth.admin);
  await admin.pushBlob('acme/app', large);
});
afterAll(() => berth.stop());

async function within<T>(work: Promise<T>): Promise<T> {
  const startedAt = Date.now();
  const result = await work;
  expect(Date.now() - startedAt).toBeLessThan(timeoutSeconds * 1000 + noticedMs);
  return result;
}

test('headers that trickle: 408, however often a byte comes', async () => {
  await using connection = await rawConnection(berth.port);
  await connection.send('GET /v2/ HTTP/1.1\r\nHost: berth.test\r\nX-Slow: ');
  // Never silent for as long as the idle time-out.
  const trickle = setInterval(() => connection.socket.write('x'), 100);
  try {
    const answer = await within(connection.answer());
    expect(answer).toMatchObject({ status: 408, headers: { connection: 'close' } });
    expect(JSON.parse(answer.body.toString())).toEqual({
      errors: [{ code: 'UNSUPPORTED', message: 'the request took too long to arrive' }],
    });
    await within(connection.closed());
  } finally {
    clearInterval(trickle);
  }
});

test('a connection on which nothing comes is ended', async () => {
  await using connection = await rawConnection(berth.port);
  await within(connection.closed());
});

test('a connection that has been answered and stays silent is ended', async () => {
  await using connection = await rawConnection(berth.port);
  await connection.send(rawBytes({ target: '/v2/', headers: [auth] }));
  expect((await connection.answer()).status).toBe(200);
  expect(await within(connection.closed())).toHaveLength(0);
});

test('a body that stalls: the connection is ended, and what came is kept for the session', async () => {
  const blob = randomContent(100_000);
  const opened = await admin.request('post', '/v2/acme/app/blobs/uploads/');
  const path = new URL(opened.headers['location'] as string, berth.url).pathname;
  await using connection = await rawConnection(berth.port);
  const part = blob.bytes.subarray(0, 40_000);
  const headers = [auth, ['Content-Length', '100000'] as const];
  await connection.send(rawBytes({ method: 'PATCH', target: path, headers, body: part }));
  await within(connection.closed());
  await vi.waitFor(async () => expect((await admin.request('get', path)).headers['range']).toBe('0-39999'), {
    timeout: noticedMs,
    interval: 50,
  });
  expect(await openFiles(berth)).toEqual([]);

  const closed = await admin
    .request('put', `${path}?digest=${blob.digest}`)
    .set({ 'Content-Type': 'application/octet-stream', 'Content-Range': '40000-99999' })
    .send(blob.bytes.subarray(40_000));
  expect(closed.status).toBe(201);
});

test('a whole blob that stalls: nothing is left of it', async () => {
  const before = await tracesOf(berth);
  const { digest } = randomContent(8);
  await using connection = await rawConnection(berth.port);
  const headers = [auth, ['Transfer-Encoding', 'chunked'] as const];
  const target = `/v2/acme/app/blobs/uploads/?digest=${digest}`;
  await connection.send(rawBytes({ method: 'POST', target, headers, body: '4\r\nhalf\r\n' }));
  await vi.waitFor(async () => expect(await storedFiles(berth)).not.toEqual(before.files), { interval: 5 });
  await within(connection.closed());
  await vi.waitFor(async () => expect(await tracesOf(berth)).toEqual(before), { timeout: noticedMs, interval: 50 });
  expect(await openFiles(berth)).toEqual([]);
});

test('a manifest that stalls holds nobody else up', async () => {
  const image = makeImage();
  await admin.pushImage('acme/app', 'v1', image);
  await using connection = await rawConnection(berth.port);
  const headers = [auth, ['Content-Length', String(image.bytes.length)] as const];
  const put = rawBytes({
    method: 'PUT',
    target: '/v2/acme/app/manifests/v1',
    headers,
    body: image.bytes.subarray(0, 9),
  });
  await connection.send(put);
  await admin.pushManifest('acme/app', 'v1', image);
  await within(connection.closed());
});

test('a client that waits for a slow server is not one that stalls', async () => {
  const blob = randomContent();
  const target = `/v2/acme/app/blobs/uploads/?digest=${blob.digest}`;
  const locked = Promise.withResolvers<void>();
  const blocked = berth.database.transaction(async (queryer) => {
    await queryer.query('LOCK TABLE blobs IN EXCLUSIVE MODE');
    locked.resolve();
    const waiting = `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'blobs'::regclass`;
    await vi.waitFor(async () => expect(await berth.database.query(waiting)).not.toEqual([]), {
      timeout: noticedMs,
      interval: 50,
    });
    await queryer.query('SELECT pg_sleep($1)', [timeoutSeconds * 2]);
  });
  await locked.promise;
  const headers = [auth, ['Content-Length', String(blob.bytes.length)] as const];
  const answer = await rawRequest(berth.port, { method: 'POST', target, headers, body: blob.bytes });
  expect(answer.status).toBe(201);
  await blocked;
});

test('a reader that stalls: the connection is ended, and the file closed', async () => {
  await using connection = await rawConnection(berth.port);
  const { socket } = connection;
  socket.pause();
  await connection.send(rawBytes({ target: `/v2/acme/app/blobs/${large.digest}`, headers: [auth] }));
  await vi.waitFor(async () => expect(await openFiles(berth)).toHaveLength(1), { timeout: noticedMs, interval: 5 });
  await within(
    vi.waitFor(async () => expect(await openFiles(berth)).toEqual([]), { timeout: noticedMs * 2, interval: 50 }),
  );
  // What was on the way can still be read; the whole blob it is not.
  const ended = once(socket, 'close');
  socket.resume();
  await connection.closed();
  socket.destroy();
  await ended;
  expect(socket.bytesRead).toBeLessThan(large.bytes.length);
});

test('a reader that is slow but alive gets everything', async () => {
  await using connection = await rawConnection(berth.port);
  const { socket } = connection;
  await connection.send(rawBytes({ target: `/v2/acme/app/blobs/${large.digest}`, headers: [auth] }));
  // Stops for a while after every three megabytes or so; together the stops are longer than the time-out.
  let stops = 0;
  socket.on('data', () => {
    if (socket.bytesRead < stops * 3_000_000) return;
    stops += 1;
    socket.pause();
    setTimeout(() => socket.resume(), 250);
  });
  const answer = await connection.answer();
  expect(answer.body.equals(large.bytes)).toBe(true);
  expect(stops * 250).toBeGreaterThan(timeoutSeconds * 1000);
});

test('a crowd that stalls keeps nobody from being served', async () => {
  const crowd = await Promise.all(Array.from({ length: 200 }, () => rawConnection(berth.port)));
  try {
    await Promise.all(crowd.map((connection) => connection.send('GET /v2/ HTTP/1.1\r\nHost: berth.test\r\nX-Slow: ')));
    const answer = await rawRequest(berth.port, { target: '/v2/acme/app/tags/list', headers: [auth] });
    expect(answer.status).toBe(200);
    await within(Promise.all(crowd.map((connection) => connection.closed())));
  } finally {
    for (const connection of crowd) await connection[Symbol.asyncDispose]();
  }
});
