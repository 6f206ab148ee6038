/** What holds for the S3 store beyond the port: its parts, its memory, and what it says when it cannot start. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { UploadUnreadableError, type StorageKey, type UploadState } from '../../src/storage/port.ts';
import type { S3Options } from '../../src/storage/s3/options.ts';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { startS3Proxy } from '../support/s3-proxy.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';
import { append, collect, put } from './storage.ts';

const mib = 1024 * 1024;
/** Random, and no two windows of it alike. */
const material = randomBytes(32 * mib);

describe.skipIf(noS3Server !== undefined)(titled('the S3 store', noS3Server), () => {
  let server: S3Server;
  let opened: S3BlobStore[] = [];
  let bucket: string;
  beforeAll(async () => {
    server = await startS3Server();
  });
  afterAll(() => server.stop());
  afterEach(async () => {
    await Promise.all(opened.map((store) => store.close()));
    opened = [];
  });

  function open(options: Partial<S3Options> = {}): S3BlobStore {
    const store = new S3BlobStore({ ...s3OptionsOf(server, bucket), ...options });
    opened.push(store);
    return store;
  }

  async function openNew(options: Partial<S3Options> = {}): Promise<S3BlobStore> {
    bucket = randomUUID();
    await server.makeBucket(bucket);
    const store = open(options);
    await store.start();
    return store;
  }

  async function expectBytes(store: S3BlobStore, key: StorageKey, expected: Buffer): Promise<void> {
    const hash = createHash('sha256');
    for await (const chunk of await store.read(key, { start: 0, length: expected.length })) hash.update(chunk);
    expect(`sha256:${hash.digest('hex')}`).toBe(digestOf(expected));
  }

  /** What is left in the bucket below a folder; `parts` has what is left of multipart uploads. */
  const filesIn = async (folder: string): Promise<string[]> =>
    (await server.stored(bucket)).filter((file) => file.startsWith(`${folder}/`));

  const partsOf = (state: UploadState) => (state['parts'] ?? []) as readonly { n: number; size: number }[];

  describe('uploads in parts', () => {
    it('give back what came, wherever it ends', async () => {
      const store = await openNew();
      const ends = [5, 8, 10, 13, 18].flatMap((size) => [size * mib - 1, size * mib, size * mib + 1]);
      for (const [at, size] of ends.entries()) {
        const bytes = material.subarray(at, at + size);
        const writer = await store.openWriter(store.begin('u'), 0);
        for (let from = 0; from < size; from += 3 * mib) await writer.write([bytes.subarray(from, from + 3 * mib)]);
        const state = await writer.finish({ committing: at % 2 === 0 });
        const short = partsOf(state)
          .slice(0, -1)
          .filter((part) => part.size < 5 * mib);
        expect(short, `parts of ${size} bytes`).toEqual([]);
        const key = await store.commit(state, digestOf('any'), size);
        await expectBytes(store, key, bytes);
        await store.delete(key);
      }
      expect(await filesIn('parts')).toEqual([]);
      expect(await filesIn('uploads')).toEqual([]);
    });

    it('have one size where the server wants that', async () => {
      const store = await openNew({ equalParts: true, partBytes: 5 * mib });
      let state = store.begin('u');
      for (const [start, end] of [
        [0, 9],
        [9, 10],
        [10, 22],
        [22, 23],
      ] as const)
        state = await append(store, state, start * mib, [[material.subarray(start * mib, end * mib)]]);
      expect(partsOf(state).map(({ size }) => size / mib)).toEqual([5, 5, 5, 5]);
      const key = await store.commit(state, digestOf('any'), 23 * mib);
      await expectBytes(store, key, material.subarray(0, 23 * mib));
    });

    it('cannot be read back before they are an object', async () => {
      const store = await openNew();
      const state = await append(store, store.begin('u'), 0, [[material.subarray(0, 14 * mib)]]);
      await expect(collect(store.readUpload(state, mib))).rejects.toBeInstanceOf(UploadUnreadableError);
      const key = await store.commit(state, digestOf('any'), 14 * mib);
      expect(store.objectOf(state)).toBe(key);
      await expectBytes(store, key, material.subarray(0, 14 * mib));
    });

    it('are kept apart from those of a writer who does not know that he was replaced', async () => {
      const store = await openNew();
      const elsewhere = open();
      const recorded = await append(store, store.begin('u'), 0, [[material.subarray(0, 17 * mib)]]);
      const stalled = await store.openWriter(recorded, 17 * mib);
      await stalled.write([Buffer.alloc(14 * mib, 'old')]);
      const writer = await elsewhere.openWriter(recorded, 17 * mib, { takenOver: true });
      await writer.write([material.subarray(17 * mib, 30 * mib)]);
      await stalled.write([Buffer.alloc(9 * mib, 'old')]);
      const state = await writer.finish();
      await stalled.finish();
      const key = await elsewhere.commit(state, digestOf('any'), 30 * mib);
      await expectBytes(store, key, material.subarray(0, 30 * mib));
    });
  });

  describe('places', () => {
    it('of a writer who leaves at once are noted, or not left behind', async () => {
      const store = await openNew();
      const noted: UploadState[] = [];
      const writer = await store.openWriter(store.begin('u'), 0, { note: async (state) => void noted.push(state) });
      await writer.write([material.subarray(0, 14 * mib)]);
      await writer.close();
      for (const state of noted) await store.abort(state);
      expect(await filesIn('parts')).toEqual([]);
    });

    it.for([
      ['its name', 0],
      ['its id', 1],
    ] as const)(
      'are noted before they have a byte, so that they can be freed by a note of %s alone',
      async ([, nth]) => {
        const store = await openNew();
        const noted: UploadState[] = [];
        const writer = await store.openWriter(store.begin('u'), 0, {
          note: async (state) => {
            noted.push(state);
            const files = await filesIn('parts');
            expect(files.map((file) => path.basename(file))).toEqual(noted.length === 1 ? [] : ['upload']);
          },
        });
        await writer.write([material.subarray(0, 20 * mib)]);
        // And nobody records what it returns.
        await writer.finish();
        expect(noted).toHaveLength(2);
        expect(await filesIn('parts')).not.toEqual([]);
        await open().abort(noted[nth]!);
        expect(await filesIn('parts')).toEqual([]);
      },
    );

    it('whose multipart uploads S3 does not list are freed as far as they are known', async () => {
      const store = await openNew();
      const proxy = await startS3Proxy(server.url);
      try {
        const state = store.begin('u');
        await append(store, state, 0, [[material.subarray(0, 1000)]]);
        const far = open({ endpoint: new URL(proxy.url) });
        proxy.fail('ListMultipartUploads', { kind: 'status', status: 501 });
        await far.abort(state);
        expect(await filesIn('uploads')).toEqual([]);
      } finally {
        await proxy.close();
      }
    });

    it('get no byte when they cannot be noted', async () => {
      const store = await openNew();
      const note = async () => Promise.reject(new Error('the lease was lost'));
      for (const size of [1000, 14 * mib]) {
        const writer = await store.openWriter(store.begin('u'), 0, { note });
        const written = (async () => {
          await writer.write([material.subarray(0, size)]);
          return writer.finish({ committing: true });
        })();
        await expect(written).rejects.toThrow('the lease was lost');
        await writer.close();
      }
      expect(await filesIn('parts')).toEqual([]);
      expect(await filesIn('blobs')).toEqual([]);
    });

    it('of two prefixes of one bucket do not meet', async () => {
      const store = await openNew({ prefix: 'one/' });
      const other = open({ prefix: 'other/' });
      const key = await put(store, Buffer.from('bytes'));
      await append(store, store.begin('u'), 0, [[Buffer.from('more')]]);
      for await (const { key: listed } of other.listObjects()) expect(listed).toBe('nothing');
      for await (const { state } of other.listUploads()) expect(state).toBe('nothing');
      await other.delete(key);
      expect((await collect(await store.read(key, { start: 0, length: 5 }))).toString()).toBe('bytes');
    });
  });

  it('has memory for a few parts only, and every upload gets on, also beside those that stand still', async () => {
    // Two buffers.
    const store = await openNew({ memoryBytes: 16 * mib });
    const still = await Promise.all(
      [0, 1].map(async (at) => {
        const writer = await store.openWriter(store.begin('still'), 0);
        await writer.write([material.subarray(at, at + mib)]);
        return writer;
      }),
    );
    const sizes = Array.from({ length: 6 }, (_, at) => (11 + at) * mib);
    const states = await Promise.all(
      sizes.map(async (size, at) => {
        const batches = Array.from({ length: size / mib }, (_, n) => [
          material.subarray(at + n * mib, at + (n + 1) * mib),
        ]);
        return append(store, store.begin('busy'), 0, batches);
      }),
    );
    for (const [at, state] of states.entries()) {
      const key = await store.commit(state, digestOf('any'), sizes[at]!);
      await expectBytes(store, key, material.subarray(at, at + sizes[at]!));
    }
    for (const [at, writer] of still.entries()) {
      await writer.write([material.subarray(at + mib, at + 2 * mib)]);
      const state = await writer.finish();
      const key = await store.commit(state, digestOf('any'), 2 * mib);
      await expectBytes(store, key, material.subarray(at, at + 2 * mib));
    }
    expect(await filesIn('uploads')).toEqual([]);
  });

  it('frees the connections of readers that leave early', async () => {
    const store = await openNew({ socketsMax: 4 });
    const bytes = material.subarray(0, 4 * mib);
    const key = await put(store, bytes);
    for (let reader = 0; reader < 12; reader += 1) {
      const pieces = (await store.read(key, { start: 0, length: bytes.length }))[Symbol.asyncIterator]();
      if (reader % 2 === 0) await pieces.next();
      await pieces.return?.();
    }
    await expectBytes(store, key, bytes);
  });

  it('does without If-None-Match where the server does not know it', async () => {
    await openNew();
    const proxy = await startS3Proxy(server.url);
    proxy.failAll({ kind: 'no-conditions' });
    try {
      const store = open({ endpoint: new URL(proxy.url) });
      await store.start();
      const bytes = material.subarray(0, 1000);
      const state = await append(store, store.begin('u'), 0, [[bytes]]);
      // Nor is it asked again: the second of two commits looks what is there.
      for (let commit = 0; commit < 2; commit += 1)
        await expectBytes(store, await store.commit(state, digestOf('any'), bytes.length), bytes);
      expect(await filesIn('blobs')).toHaveLength(1);
    } finally {
      await proxy.close();
    }
  });

  describe('says what is missing at start', () => {
    it('a bucket', async () => {
      bucket = 'not-there';
      await expect(open().start()).rejects.toThrow(
        `The S3 server at ${server.url} has no bucket not-there: make it, or set BERTH_S3_BUCKET to another.`,
      );
    });

    it('right credentials', async () => {
      await openNew();
      const wrong = { accessKeyId: server.accessKeyId, secretAccessKey: 'another' };
      await expect(open({ credentials: wrong }).start()).rejects.toThrow(
        `The S3 server at ${server.url} does not accept the credentials (SignatureDoesNotMatch): check BERTH_S3_ACCESS_KEY_ID and BERTH_S3_SECRET_ACCESS_KEY.`,
      );
    });

    it('the server', async () => {
      await openNew();
      await expect(open({ endpoint: new URL('http://127.0.0.1:1') }).start()).rejects.toThrow(
        'The S3 server at http://127.0.0.1:1 cannot be reached (ECONNREFUSED): check BERTH_S3_ENDPOINT, or try again later.',
      );
    });
  });
});
