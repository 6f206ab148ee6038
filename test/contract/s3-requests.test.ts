/** How many requests of S3 an upload takes: each one costs money and a round trip. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { randomBytes, randomUUID } from 'node:crypto';
import { digestOf } from '../../src/oci/digest.ts';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { startS3Proxy, type S3Operation, type S3Proxy } from '../support/s3-proxy.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';
import { append, collect } from './storage.ts';

const mib = 1024 * 1024;
const megabyte = randomBytes(mib);

describe.skipIf(noS3Server !== undefined)(titled('requests of S3', noS3Server), () => {
  let server: S3Server;
  let proxy: S3Proxy;
  let store: S3BlobStore;
  let elsewhere: S3BlobStore;
  beforeAll(async () => {
    server = await startS3Server();
    proxy = await startS3Proxy(server.url);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });
  beforeEach(async () => {
    const bucket = randomUUID();
    await server.makeBucket(bucket);
    const options = { ...s3OptionsOf(server, bucket), endpoint: new URL(proxy.url) };
    store = new S3BlobStore(options);
    elsewhere = new S3BlobStore(options);
    await Promise.all([store.start(), elsewhere.start()]);
  });
  afterEach(() => Promise.all([store.close(), elsewhere.close()]));

  async function requestsOf(work: () => Promise<void>): Promise<Partial<Record<S3Operation, number>>> {
    const before = proxy.asked.length;
    await work();
    const counts: Partial<Record<S3Operation, number>> = {};
    for (const operation of proxy.asked.slice(before)) counts[operation] = (counts[operation] ?? 0) + 1;
    return counts;
  }

  /** Requests that bring one chunk each, to one store or in turn to several. */
  async function chunked(count: number, stores: readonly S3BlobStore[]): Promise<void> {
    let state = stores[0]!.begin('chunked');
    for (let at = 0; at < count; at += 1)
      state = await append(stores[at % stores.length]!, state, at * mib, [[megabyte]]);
    const key = await stores[0]!.commit(state, digestOf('any'), count * mib);
    const bytes = await collect(await stores[0]!.read(key, { start: (count - 1) * mib, length: mib }));
    expect(bytes.equals(megabyte)).toBe(true);
  }

  it('a blob that comes at once and fits a part takes one', async () => {
    const counts = await requestsOf(async () => {
      const writer = await store.openWriter(store.begin('u'), 0);
      await writer.write([megabyte, megabyte]);
      const state = await writer.finish({ committing: true });
      await store.commit(state, digestOf('any'), 2 * mib);
    });
    expect(counts).toEqual({ PutObject: 1 });
  });

  it('one long chunk goes in parts of 8 MiB, without a tail, and its commit adds one', async () => {
    const counts = await requestsOf(async () => {
      const batches = Array.from({ length: 100 }, () => [megabyte]);
      const state = await append(store, store.begin('u'), 0, batches);
      await store.commit(state, digestOf('any'), 100 * mib);
    });
    expect(counts).toEqual({ CreateMultipartUpload: 1, UploadPart: 13, CompleteMultipartUpload: 1 });
  });

  it('64 chunks of 1 MiB take two requests each, and none copies what came before', async () => {
    const counts = await requestsOf(() => chunked(64, [store]));
    // Every fifth makes a part of what waits; the others leave a tail, and take away the one before.
    expect(counts).toEqual({
      PutObject: 52,
      DeleteObject: 52,
      CreateMultipartUpload: 1,
      UploadPart: 13,
      CompleteMultipartUpload: 1,
      GetObject: 1,
    });
  });

  it('and a third where another process has to read the tail', async () => {
    const counts = await requestsOf(() => chunked(10, [store, elsewhere]));
    expect(counts).toEqual({
      PutObject: 8,
      DeleteObject: 8,
      CreateMultipartUpload: 1,
      UploadPart: 2,
      CompleteMultipartUpload: 1,
      // And one by the test.
      GetObject: 9,
    });
  });

  it('what is not gone on with takes none', async () => {
    const state = await append(store, store.begin('u'), 0, [Array.from({ length: 6 }, () => megabyte)]);
    const counts = await requestsOf(async () => {
      const writer = await elsewhere.openWriter(state, 6 * mib);
      expect(await writer.finish()).toEqual(state);
    });
    expect(counts).toEqual({});
  });
});
