/** Blobs of a Berth on S3, and who is sent to S3 for them. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, startS3Server, type S3Server } from '../support/s3-server.ts';

const name = 'acme/redirected';
const large = blobOf(200_000);
const small = blobOf(999);

function blobOf(length: number) {
  const bytes = randomBytes(length);
  return { bytes, digest: digestOf(bytes) };
}

describe.skipIf(noS3Server !== undefined)(titled('redirects to S3', noS3Server), () => {
  let server: S3Server;
  let berth: TestBerth;
  let client: Client;
  beforeAll(async () => {
    server = await startS3Server();
    await server.makeBucket('redirects');
    berth = await startTestBerth({
      ...server.settings('redirects'),
      BERTH_S3_PREFIX: 'hub',
      BERTH_S3_REDIRECT: 'on',
      BERTH_S3_REDIRECT_BYTES_MIN: '1000',
      // Another name of the same machine: what is signed holds for the host that the client asks.
      BERTH_S3_REDIRECT_ENDPOINT: server.url.replace('127.0.0.1', 'localhost'),
      BERTH_S3_REDIRECT_NOT_FOR: 'cannot-follow, old/1',
    });
    client = clientOf(berth.url, berth.admin);
    for (const blob of [large, small]) await client.pushBlob(name, blob);
  });
  afterAll(async () => {
    await berth.stop();
    await server.stop();
  });

  const ask = (method: 'get' | 'head', { digest }: { digest: string }) =>
    client.request(method, `/v2/${name}/blobs/${digest}`).redirects(0);

  it('sends a GET of a large blob to an address where anybody gets it, and any range of it, for a minute', async () => {
    const answer = await ask('get', large);
    expect(answer.status).toBe(307);
    expect(answer.headers['docker-content-digest']).toBe(large.digest);
    expect(answer.headers['cache-control']).toBe('no-store');
    const address = new URL(answer.headers['location']!);
    expect(address.hostname).toBe('localhost');
    expect(address.pathname).toMatch(/^\/redirects\/hub\/blobs\//);
    expect(address.searchParams.get('X-Amz-Expires')).toBe('60');

    const whole = await fetch(address);
    expect(whole.status).toBe(200);
    expect(Buffer.from(await whole.arrayBuffer()).equals(large.bytes)).toBe(true);
    const part = await fetch(address, { headers: { Range: 'bytes=5-9' } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(large.bytes.subarray(5, 10))).toBe(true);
  });

  it('lets a client that follows keep the range that it asked for', async () => {
    const authorization = `Basic ${Buffer.from(`${berth.admin.username}:${berth.admin.password}`).toString('base64')}`;
    const headers = { Authorization: authorization, Range: 'bytes=100000-100099' };
    const answer = await fetch(`${berth.url}/v2/${name}/blobs/${large.digest}`, { headers });
    expect(answer.redirected).toBe(true);
    expect(answer.status).toBe(206);
    expect(Buffer.from(await answer.arrayBuffer()).equals(large.bytes.subarray(100_000, 100_100))).toBe(true);
  });

  it('lets nobody change what was signed', async () => {
    const address = new URL((await ask('get', large)).headers['location']!);
    address.searchParams.set('X-Amz-Expires', '600000');
    const answer = await fetch(address);
    await answer.arrayBuffer();
    expect(answer.status).toBe(403);
  });

  it('sends the bytes itself where the blob is small, or the client cannot follow', async () => {
    const answers = [
      await ask('get', small),
      await ask('get', large).set('User-Agent', 'Cannot-Follow/2.0'),
      await ask('get', large).set('User-Agent', 'some old/1'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.map(({ body }) => digestOf(body as Buffer))).toEqual([small.digest, large.digest, large.digest]);
  });

  it('answers HEAD itself, and refuses a range outside of the blob', async () => {
    const head = await ask('head', large);
    expect(head.status).toBe(200);
    expect(head.headers['content-length']).toBe(String(large.bytes.length));
    expect((await ask('get', large).set('Range', 'bytes=200000-')).status).toBe(416);
  });

  it('sends nobody there who may not pull', async () => {
    const answer = await clientOf(berth.url).request('get', `/v2/${name}/blobs/${large.digest}`).redirects(0);
    expect(answer.status).toBe(401);
    expect(answer.headers['location']).toBeUndefined();
  });
});
