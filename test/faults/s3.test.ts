/** What lies between Berth and S3 goes wrong, each time in one exact way, and what a client sees of it. */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { callerOf, closing, type Caller } from '../support/faults.ts';
import { startS3Proxy, type S3Fault, type S3Operation, type S3Proxy } from '../support/s3-proxy.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, startS3Server, type S3Server } from '../support/s3-server.ts';

const mib = 1024 * 1024;
const name = 'acme/faults';
const bucket = 'faults';
/** Larger than one part and its rest: it goes in parts. */
const large = 14 * mib;
/** Goes in one request. */
const small = 100_000;

describe.skipIf(noS3Server !== undefined)(titled('between Berth and S3', noS3Server), () => {
  let server: S3Server;
  let proxy: S3Proxy;
  let berth: TestBerth;
  let call: Caller;

  beforeAll(async () => {
    server = await startS3Server();
    await server.makeBucket(bucket);
    proxy = await startS3Proxy(server.url);
    berth = await startTestBerth({
      ...server.settings(bucket),
      BERTH_S3_ENDPOINT: proxy.url,
      // What is remembered would not be asked for.
      BERTH_BLOB_CACHE_BYTES: '0',
      BERTH_S3_TIMEOUT_SECONDS: '2',
    });
    call = callerOf(berth.url, berth.admin);
  });
  afterEach(() => {
    proxy.failAll();
    expect(proxy.unused()).toBe(0);
  });
  afterAll(async () => {
    await berth.stop();
    await proxy.close();
    await server.stop();
  });

  async function openSession(): Promise<string> {
    const { headers } = await call('POST', `/v2/${name}/blobs/uploads/`);
    return new URL(headers.get('location')!, berth.url).pathname;
  }

  /** As docker pushes. @returns the answers' statuses */
  async function push(bytes: Buffer): Promise<number[]> {
    const session = await openSession();
    const patched = await call('PATCH', session, { body: bytes });
    const put = await call('PUT', closing(session, digestOf(bytes)));
    return [patched.status, put.status];
  }

  /** As most clients push what is small. */
  const pushWhole = async (bytes: Buffer): Promise<number> =>
    (await call('POST', `/v2/${name}/blobs/uploads/?digest=${digestOf(bytes)}`, { body: bytes })).status;

  const pull = (bytes: Buffer) => call('GET', `/v2/${name}/blobs/${digestOf(bytes)}`);
  async function expectIsThere(bytes: Buffer): Promise<void> {
    const answer = await pull(bytes);
    expect(answer.status).toBe(200);
    expect(answer.body.equals(bytes)).toBe(true);
  }

  const survived: [S3Operation, S3Fault][] = [
    ['UploadPart', { kind: 'delay', ms: 200 }],
    ['UploadPart', { kind: 'status', status: 503 }],
    ['UploadPart', { kind: 'break-request', afterBytes: mib }],
    ['UploadPart', { kind: 'truncate-request', bytes: 6 * mib }],
    ['UploadPart', { kind: 'damage-request' }],
    ['UploadPart', { kind: 'lose-answer' }],
    ['CreateMultipartUpload', { kind: 'lose-answer' }],
    ['CompleteMultipartUpload', { kind: 'status', status: 500 }],
    ['CompleteMultipartUpload', { kind: 'lose-answer' }],
  ];
  test.each(survived)('a push in parts survives it once: %s, %o', async (operation, fault) => {
    const bytes = randomBytes(large);
    proxy.fail(operation, fault);
    expect(await push(bytes)).toEqual([202, 201]);
    await expectIsThere(bytes);
  });

  const survivedWhole: S3Fault[] = [
    { kind: 'status', status: 503 },
    { kind: 'break-request', afterBytes: small / 2 },
    { kind: 'truncate-request', bytes: small / 2 },
    { kind: 'damage-request' },
    { kind: 'lose-answer' },
  ];
  test.each(survivedWhole)('a small push survives it once: %o', async (fault) => {
    const bytes = randomBytes(small);
    proxy.fail('PutObject', fault);
    expect(await pushWhole(bytes)).toBe(201);
    await expectIsThere(bytes);
  });

  const survivedByPull: S3Fault[] = [
    { kind: 'status', status: 500 },
    { kind: 'break-answer', afterBytes: 3 * mib },
    { kind: 'lose-answer' },
  ];
  // The second time it is the SDK that asks.
  const timesByPull = survivedByPull.flatMap((fault) => [1, 2].map((times) => [fault, times] as const));
  test.each(timesByPull)('a pull survives it, and goes on where it was: %o, times: %d', async (fault, times) => {
    const bytes = randomBytes(large);
    expect(await push(bytes)).toEqual([202, 201]);
    proxy.fail('GetObject', fault, times);
    await expectIsThere(bytes);
    expect(proxy.unused()).toBe(0);
  });

  test('what always arrives damaged is never part of a blob: 503, and the session is where it was', async () => {
    const bytes = randomBytes(large);
    const session = await openSession();
    proxy.failAll({ kind: 'damage-request' });
    const patched = await call('PATCH', session, { body: bytes });
    expect(patched.status).toBe(503);
    expect(patched.headers.get('retry-after')).toMatch(/^\d+$/);
    proxy.failAll();
    expect((await call('PATCH', session, { body: bytes })).status).toBe(202);
    expect((await call('PUT', closing(session, digestOf(bytes)))).status).toBe(201);
    await expectIsThere(bytes);
  });

  test('an entity tag that was misheard makes no blob, and a push anew does', async () => {
    const bytes = randomBytes(large);
    proxy.fail('UploadPart', { kind: 'wrong-etag' });
    const [patched, put] = await push(bytes);
    expect([patched, put]).toEqual([202, 400]);
    expect((await pull(bytes)).status).toBe(404);
    expect(await push(bytes)).toEqual([202, 201]);
    await expectIsThere(bytes);
  });

  test('while S3 is away: 503 in time for what needs it, answers to all else, and nothing is lost', async () => {
    const kept = randomBytes(large);
    expect(await push(kept)).toEqual([202, 201]);
    const session = await openSession();
    expect((await call('PATCH', session, { body: kept.subarray(0, mib) })).status).toBe(202);

    for (const fault of [{ kind: 'status', status: 503 }, { kind: 'silence' }] as const) {
      proxy.failAll(fault);
      const unready = await fetch(`${berth.url}/readyz`);
      expect({ status: unready.status, body: await unready.json() }).toEqual({
        status: 503,
        body: { status: 'unavailable', database: 'ok', storage: 'unavailable' },
      });
      expect((await fetch(`${berth.url}/healthz`)).status).toBe(200);
      const closingPut = closing(session, digestOf(kept.subarray(0, mib)));
      const [got, put] = await Promise.all([pull(kept), call('PUT', closingPut)]);
      const refused = [got, put, await call('PATCH', session, { body: kept })];
      for (const { status, headers, body } of refused) {
        expect({ status, body: body.toString() }).toEqual({ status: 503, body: expect.stringContaining('storage') });
        expect(headers.get('retry-after')).toMatch(/^\d+$/);
      }
      expect((await call('HEAD', `/v2/${name}/blobs/${digestOf(kept)}`)).headers.get('content-length')).toBe(
        String(large),
      );
      expect((await call('GET', session)).headers.get('range')).toBe(`0-${mib - 1}`);
      proxy.failAll();
    }

    expect((await fetch(`${berth.url}/readyz`)).status).toBe(200);
    await expectIsThere(kept);
    expect((await call('PATCH', session, { body: kept.subarray(mib) })).status).toBe(202);
    expect((await call('PUT', closing(session, digestOf(kept)))).status).toBe(201);
  });
});
