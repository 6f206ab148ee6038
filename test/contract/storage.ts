/** What every back end of `src/storage/port.ts` must do. A back end's own test file calls `describeBlobStore`. */
import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { ObjectMissingError, ObjectSizeError, StorageFullError } from '../../src/storage/port.ts';
import type { BlobStore, StorageKey, UploadState } from '../../src/storage/port.ts';

export interface StoreUnderTest {
  readonly store: BlobStore;
  /** The same bytes through a store of another process; for a back end that has no such thing, the same store. */
  readonly elsewhere: BlobStore;
  dispose(): Promise<void>;
}

export interface ContractOptions {
  /**
   * A store that holds 8 MiB at most and is not full yet; left out where this machine cannot make one, null where no machine
   * could.
   */
  readonly makeSmallStore?: (() => Promise<StoreUnderTest>) | null | undefined;
}

const mib = 1024 * 1024;

/** Random bytes, made quickly: every mistake in the order of blocks shows. */
const someBytes = (length: number) => randomBytes(length);

export async function collect(parts: AsyncIterable<Buffer>): Promise<Buffer> {
  const copies: Buffer[] = [];
  for await (const part of parts) copies.push(Buffer.from(part));
  return Buffer.concat(copies);
}

async function collectAll<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Appends and finishes; the state to go on with. */
export async function append(
  store: BlobStore,
  state: UploadState,
  offset: number,
  batches: readonly (readonly Buffer[])[],
): Promise<UploadState> {
  const writer = await store.openWriter(state, offset);
  try {
    for (const batch of batches) await writer.write(batch);
    return await writer.finish();
  } finally {
    await writer.close();
  }
}

export async function put(store: BlobStore, bytes: Buffer, uploadId = 'upload'): Promise<StorageKey> {
  const state = await append(store, store.begin(uploadId), 0, [[bytes]]);
  return store.commit(state, digestOf(bytes), bytes.length);
}

const readAll = async (store: BlobStore, key: StorageKey, length: number) =>
  collect(await store.read(key, { start: 0, length }));

export function describeBlobStore(
  name: string,
  makeStore: () => Promise<StoreUnderTest>,
  options: ContractOptions = {},
): void {
  describe(`blob store: ${name}`, () => {
    let made: StoreUnderTest;
    let store: BlobStore;
    beforeEach(async () => {
      made = await makeStore();
      store = made.store;
      await store.start();
    });
    afterEach(async () => {
      await store.close();
      await made.dispose();
    });
    const context = () => made;

    describeWriting(context);
    describeCommitting(context);
    describeReading(context);
    describeHousekeeping(context);
    describeAnySplit(context);
    if (options.makeSmallStore !== null) describeFull(options);
  });
}

function describeWriting(context: () => StoreUnderTest): void {
  describe('writing an upload', () => {
    it('gives every upload a place of its own, also for the same upload id', async () => {
      const { store } = context();
      const first = await append(store, store.begin('twin'), 0, [[Buffer.from('first')]]);
      const second = await append(store, store.begin('twin'), 0, [[Buffer.from('other')]]);
      expect((await collect(store.readUpload(first, 5))).toString()).toBe('first');
      expect((await collect(store.readUpload(second, 5))).toString()).toBe('other');
    });

    it('appends batches of buffers in order, empty ones too', async () => {
      const { store } = context();
      const parts = [[Buffer.from('a'), Buffer.alloc(0), Buffer.from('bc')], [], [Buffer.alloc(0)], [Buffer.from('d')]];
      const state = await append(store, store.begin('u'), 0, parts);
      expect((await collect(store.readUpload(state, 4))).toString()).toBe('abcd');
    });

    it('takes more buffers at once than the system takes in one call', async () => {
      const { store } = context();
      const parts = Array.from({ length: 3000 }, (_, at) => Buffer.from(`${at};`));
      const state = await append(store, store.begin('u'), 0, [parts]);
      const whole = Buffer.concat(parts);
      expect((await collect(store.readUpload(state, whole.length))).equals(whole)).toBe(true);
    });

    it('lets the caller reuse its buffers after a write', async () => {
      const { store } = context();
      const writer = await store.openWriter(store.begin('u'), 0);
      const buffer = Buffer.alloc(100_000, 1);
      await writer.write([buffer]);
      buffer.fill(2);
      await writer.write([buffer]);
      const state = await writer.finish();
      const read = await collect(store.readUpload(state, 200_000));
      expect(read.equals(Buffer.concat([Buffer.alloc(100_000, 1), Buffer.alloc(100_000, 2)]))).toBe(true);
    });

    it('goes on in another process from the state that finish returned', async () => {
      const { store, elsewhere } = context();
      const begun = await append(store, store.begin('u'), 0, [[Buffer.from('hello ')]]);
      const recorded = JSON.parse(JSON.stringify(begun)) as UploadState;
      const state = await append(elsewhere, recorded, 6, [[Buffer.from('world')]]);
      const key = await store.commit(state, digestOf('hello world'), 11);
      expect((await readAll(elsewhere, key, 11)).toString()).toBe('hello world');
    });

    it('drops the bytes that a writer left behind without finishing', async () => {
      const { store, elsewhere } = context();
      const kept = await append(store, store.begin('u'), 0, [[Buffer.from('kept')]]);
      const dying = await store.openWriter(kept, 4);
      await dying.write([Buffer.from(' and lost, and long')]);
      await dying.close();
      const state = await append(elsewhere, kept, 4, [[Buffer.from('!')]]);
      const key = await store.commit(state, digestOf('kept!'), 5);
      expect((await readAll(store, key, 5)).toString()).toBe('kept!');
    });

    it('drops everything when it is opened at 0 again', async () => {
      const { store } = context();
      const begun = await append(store, store.begin('u'), 0, [[Buffer.from('long ago')]]);
      const state = await append(store, begun, 0, [[Buffer.from('now')]]);
      await expect(store.commit(state, digestOf('now'), 8)).rejects.toBeInstanceOf(ObjectSizeError);
      await store.commit(state, digestOf('now'), 3);
    });

    it('refuses to append behind bytes that are not there', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('12345')]]);
      await expect(store.openWriter(state, 6)).rejects.toBeInstanceOf(ObjectSizeError);
      await expect(store.openWriter(store.begin('u'), 1)).rejects.toBeInstanceOf(ObjectMissingError);
    });

    it('ends a writer for good with finish, and closing it once more is no error', async () => {
      const { store } = context();
      const writer = await store.openWriter(store.begin('u'), 0);
      await writer.write([Buffer.from('x')]);
      await writer.finish();
      await writer.close();
      await writer.close();
      await expect(writer.write([Buffer.from('y')])).rejects.toThrow('closed');
      await expect(writer.finish()).rejects.toThrow('closed');
    });

    it('refuses upload ids that are no file names', () => {
      const { store } = context();
      for (const id of ['', '.', '..', 'a/b', '../../etc', 'a\0b', 'a\\b', 'ü', 'x'.repeat(200)]) {
        expect(() => store.begin(id), JSON.stringify(id)).toThrow('not an upload id');
      }
    });
  });

  describe('reading an upload back', () => {
    it('reads its first bytes, and none of 0', async () => {
      const { store } = context();
      const bytes = someBytes(3 * mib + 17);
      const state = await append(store, store.begin('u'), 0, [[bytes]]);
      expect((await collect(store.readUpload(state, 2 * mib + 1))).equals(bytes.subarray(0, 2 * mib + 1))).toBe(true);
      expect(await collect(store.readUpload(state, 0))).toHaveLength(0);
      expect(await collect(store.readUpload(store.begin('u'), 0))).toHaveLength(0);
    });

    it('says when fewer bytes or none are there', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('12345')]]);
      await expect(collect(store.readUpload(state, 6))).rejects.toBeInstanceOf(ObjectSizeError);
      await expect(collect(store.readUpload(state, 2 * mib))).rejects.toBeInstanceOf(ObjectSizeError);
      await expect(collect(store.readUpload(store.begin('u'), 1))).rejects.toBeInstanceOf(ObjectMissingError);
    });
  });
}

function describeCommitting(context: () => StoreUnderTest): void {
  describe('committing', () => {
    it('makes an object that every process reads, and the upload is gone', async () => {
      const { store, elsewhere } = context();
      const key = await put(store, Buffer.from('bytes'));
      expect((await readAll(elsewhere, key, 5)).toString()).toBe('bytes');
      expect(await collectAll(store.listUploads())).toEqual([]);
    });

    it('needs no more than a writer that was finished for it', async () => {
      const { store } = context();
      const writer = await store.openWriter(store.begin('u'), 0);
      await writer.write([Buffer.from('bytes')]);
      const state = await writer.finish({ committing: true });
      const key = await store.commit(state, digestOf('bytes'), 5);
      expect((await readAll(store, key, 5)).toString()).toBe('bytes');
    });

    it('keeps sha512 blobs beside sha256 ones', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('long')]]);
      const key = await store.commit(state, digestOf('long', 'sha512'), 4);
      expect((await readAll(store, key, 4)).toString()).toBe('long');
    });

    it('gives two uploads of the same bytes two keys, and deleting one leaves the other', async () => {
      const { store } = context();
      const first = await put(store, Buffer.from('same'), 'one');
      const second = await put(store, Buffer.from('same'), 'one');
      expect(second).not.toBe(first);
      await store.delete(first);
      expect((await readAll(store, second, 4)).toString()).toBe('same');
    });

    it('returns the same key when the answer was lost and the call comes again, from any process', async () => {
      const { store, elsewhere } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('bytes')]]);
      const key = await store.commit(state, digestOf('bytes'), 5);
      expect(await store.commit(state, digestOf('bytes'), 5)).toBe(key);
      expect(await elsewhere.commit(state, digestOf('bytes'), 5)).toBe(key);
      expect(await collectAll(store.listObjects())).toHaveLength(1);
    });

    it('makes one object of many commits of one upload at the same moment', async () => {
      const { store, elsewhere } = context();
      for (const bytes of [Buffer.from('bytes'), Buffer.alloc(0)]) {
        const state = await append(store, store.begin('u'), 0, [[bytes]]);
        const commits = [store, elsewhere, store, elsewhere].map((one) =>
          one.commit(state, digestOf(bytes), bytes.length),
        );
        expect(new Set(await Promise.all(commits)).size).toBe(1);
      }
    });

    it('keeps apart many uploads that end at the same moment', async () => {
      const { store } = context();
      const blobs = Array.from({ length: 40 }, (_, at) => Buffer.from(`blob ${at % 20}`));
      const keys = await Promise.all(blobs.map((bytes, at) => put(store, bytes, `upload-${at}`)));
      expect(new Set(keys).size).toBe(40);
      const read = await Promise.all(keys.map((key, at) => readAll(store, key, blobs[at]!.length)));
      expect(read.map(String)).toEqual(blobs.map(String));
    });

    it('never replaces an object, even when its upload is written anew', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('first')]]);
      const key = await store.commit(state, digestOf('first'), 5);
      await append(store, state, 0, [[Buffer.from('again')]]);
      expect(await store.commit(state, digestOf('first'), 5)).toBe(key);
      expect((await readAll(store, key, 5)).toString()).toBe('first');
      await store.abort(state);
      expect((await readAll(store, key, 5)).toString()).toBe('first');
    });

    it('refuses another number of bytes than promised, and the upload stays usable', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('12345')]]);
      for (const size of [0, 4, 6]) {
        await expect(store.commit(state, digestOf('12345'), size)).rejects.toBeInstanceOf(ObjectSizeError);
      }
      const key = await store.commit(state, digestOf('12345'), 5);
      await expect(store.commit(state, digestOf('12345'), 4)).rejects.toBeInstanceOf(ObjectSizeError);
      expect((await readAll(store, key, 5)).toString()).toBe('12345');
    });

    it('says when there is nothing to commit', async () => {
      const { store } = context();
      await expect(store.commit(store.begin('u'), digestOf('x'), 1)).rejects.toBeInstanceOf(ObjectMissingError);
      expect(await collectAll(store.listObjects())).toEqual([]);
    });

    it('makes an empty object of an upload that was never opened, again and again', async () => {
      const { store, elsewhere } = context();
      const state = store.begin('u');
      const key = await store.commit(state, digestOf(''), 0);
      expect(await elsewhere.commit(state, digestOf(''), 0)).toBe(key);
      expect(await readAll(store, key, 0)).toHaveLength(0);
      expect(await collectAll(store.listObjects())).toMatchObject([{ key, size: 0 }]);
    });
  });
}

function describeReading(context: () => StoreUnderTest): void {
  describe('reading an object', () => {
    it('reads any range, also across and at the edges of its buffers', async () => {
      const { store } = context();
      const bytes = someBytes(3 * mib + 5);
      const key = await put(store, bytes);
      const starts = [0, 1, 64 * 1024, mib - 1, mib, 2 * mib + 1, bytes.length - 1, bytes.length];
      const lengths = [0, 1, 64 * 1024, 64 * 1024 + 1, mib, mib + 1, 2 * mib, 3 * mib, bytes.length];
      for (const start of starts) {
        for (const length of lengths.filter((one) => start + one <= bytes.length)) {
          const read = await collect(await store.read(key, { start, length }));
          expect(read.equals(bytes.subarray(start, start + length)), `${length} bytes from ${start}`).toBe(true);
        }
      }
    });

    it('refuses before the first byte when the object is missing', async () => {
      const { store } = context();
      const key = await put(store, someBytes(2 * mib));
      await store.delete(key);
      for (const length of [0, 1, 2 * mib]) {
        await expect(store.read(key, { start: 0, length })).rejects.toBeInstanceOf(ObjectMissingError);
      }
    });

    it('says when the object ends before the range does', async () => {
      const { store } = context();
      const key = await put(store, Buffer.from('12345'));
      const attempt = async (start: number, length: number) => collect(await store.read(key, { start, length }));
      for (const [start, length] of [
        [0, 6],
        [5, 1],
        [1, 2 * mib],
        [9, 1],
      ] as const) {
        await expect(attempt(start, length)).rejects.toBeInstanceOf(ObjectSizeError);
      }
    });

    it('serves many readers at different speeds, each its own bytes', async () => {
      const { store } = context();
      const blobs = Array.from({ length: 12 }, (_, at) => someBytes(mib + at * 200_000));
      const keys = await Promise.all(blobs.map((bytes) => put(store, bytes)));
      const hashes = await Promise.all(
        keys.map(async (key, at) => {
          const hash = createHash('sha256');
          for await (const part of await store.read(key, { start: 0, length: blobs[at]!.length })) {
            for (let turn = 0; turn <= at; turn += 1) await new Promise(setImmediate);
            hash.update(part);
          }
          return `sha256:${hash.digest('hex')}`;
        }),
      );
      expect(hashes).toEqual(blobs.map((bytes) => digestOf(bytes)));
    });

    it('can be left at any moment, and the object still be read and deleted', async () => {
      const { store } = context();
      const bytes = someBytes(4 * mib);
      const key = await put(store, bytes);
      for await (const part of await store.read(key, { start: 0, length: bytes.length })) {
        expect(part.length).toBeGreaterThan(0);
        break;
      }
      const never = (await store.read(key, { start: 0, length: bytes.length }))[Symbol.asyncIterator]();
      await never.return?.();
      expect(await never.next()).toEqual({ done: true, value: undefined });
      const between = (await store.read(key, { start: 0, length: bytes.length }))[Symbol.asyncIterator]();
      await Promise.all([between.next(), between.return?.()]);
      expect(await between.next()).toEqual({ done: true, value: undefined });
      expect((await readAll(store, key, bytes.length)).equals(bytes)).toBe(true);
      await store.delete(key);
    });
  });
}

function describeHousekeeping(context: () => StoreUnderTest): void {
  describe('housekeeping', () => {
    it('forgets an aborted upload, and an unknown one is no error', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('bytes')]]);
      await store.abort(state);
      await store.abort(state);
      await store.abort(store.begin('never'));
      await expect(store.openWriter(state, 5)).rejects.toBeInstanceOf(ObjectMissingError);
      expect(await collectAll(store.listUploads())).toEqual([]);
    });

    it('does not touch the object when its upload is aborted afterwards', async () => {
      const { store } = context();
      const state = await append(store, store.begin('u'), 0, [[Buffer.from('bytes')]]);
      const key = await store.commit(state, digestOf('bytes'), 5);
      await store.abort(state);
      expect((await readAll(store, key, 5)).toString()).toBe('bytes');
    });

    it('deletes for good, for every process, and a second delete is no error', async () => {
      const { store, elsewhere } = context();
      const key = await put(store, Buffer.from('bytes'));
      await store.delete(key);
      await store.delete(key);
      await expect(elsewhere.read(key, { start: 0, length: 5 })).rejects.toBeInstanceOf(ObjectMissingError);
      expect(await collectAll(elsewhere.listObjects())).toEqual([]);
    });

    it('lists every object with its size and a time not before its commit', async () => {
      const { store, elsewhere } = context();
      const keys = [
        await put(store, Buffer.from('one')),
        await put(store, Buffer.from('three')),
        await put(store, Buffer.alloc(0)),
      ];
      const late = await append(store, store.begin('late'), 0, [[Buffer.from('late')]]);
      // File systems keep times by the tick of a clock that runs up to 10 ms behind ours.
      const before = Date.now() - 20;
      keys.push(await store.commit(late, digestOf('late'), 4));
      const listed = await collectAll(elsewhere.listObjects());
      expect(new Map(listed.map(({ key, size }) => [key, size]))).toEqual(
        new Map([
          [keys[0], 3],
          [keys[1], 5],
          [keys[2], 0],
          [keys[3], 4],
        ]),
      );
      expect(listed.find(({ key }) => key === keys[3])!.modifiedAt.getTime()).toBeGreaterThanOrEqual(before);
    });

    it('lists every unfinished upload with a state that can be gone on with or aborted', async () => {
      const { store, elsewhere } = context();
      const states = [
        await append(store, store.begin('a'), 0, [[Buffer.from('aa')]]),
        await append(store, store.begin('b'), 0, [[Buffer.from('bb')]]),
      ];
      await put(store, Buffer.from('committed'));
      const listed = await collectAll(elsewhere.listUploads());
      expect(listed).toHaveLength(2);
      for (const { state, modifiedAt } of listed) {
        expect(states).toContainEqual(state);
        expect(Math.abs(Date.now() - modifiedAt.getTime())).toBeLessThan(60_000);
        await elsewhere.abort(state);
      }
      expect(await collectAll(store.listUploads())).toEqual([]);
    });

    it('can be started again beside what is stored already', async () => {
      const { store, elsewhere } = context();
      const key = await put(store, Buffer.from('bytes'));
      await elsewhere.start();
      expect(await collectAll(elsewhere.listObjects())).toMatchObject([{ key, size: 5 }]);
      expect(await collectAll(elsewhere.listUploads())).toEqual([]);
    });

    it('refuses keys and states that it cannot have given, path tricks first of all', async () => {
      const { store } = context();
      const hex = digestOf('x').slice('sha256:'.length);
      const tail = `${hex}-${'0'.repeat(24)}`;
      const tricks = [
        '',
        '..',
        '/etc/passwd',
        'blobs/../../etc/passwd',
        'uploads/x',
        `blobs/sha256/00/${tail}`,
        `blobs/sha256/${hex.slice(0, 2)}/../${tail}`,
        `/blobs/sha256/${hex.slice(0, 2)}/${tail}`,
        `blobs/sha256/${hex.slice(0, 2)}/${tail}\n`,
        `blobs/sha256/${hex.slice(0, 2)}/${tail}/..`,
        `blobs/sha256/${hex.slice(0, 2)}/${tail}\0`,
      ];
      for (const trick of tricks as StorageKey[]) {
        await expect(store.read(trick, { start: 0, length: 1 }), trick).rejects.toThrow('not a storage key');
        await expect(store.delete(trick), trick).rejects.toThrow('not a storage key');
      }
      const states: UploadState[] = [
        {},
        { upload: '../x' },
        { upload: 'a/b.000000000000000000000000' },
        { upload: 7 },
        { upload: null },
        { upload: '' },
      ];
      for (const state of states) {
        await expect(store.openWriter(state, 0)).rejects.toThrow("not an upload's state");
        await expect(store.commit(state, digestOf(''), 0)).rejects.toThrow("not an upload's state");
        await expect(store.abort(state)).rejects.toThrow("not an upload's state");
        await expect(collect(store.readUpload(state, 1))).rejects.toThrow("not an upload's state");
      }
    });
  });
}

function describeAnySplit(context: () => StoreUnderTest): void {
  it('gives back the same bytes and any range of them, however they were split over writes and writers', async () => {
    const buffer = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.integer({ min: 0, max: 300_000 }).map((length) => Buffer.alloc(length, `${length},`)),
    );
    const session = fc.record({
      batches: fc.array(fc.array(buffer, { maxLength: 5 }), { maxLength: 4 }),
      crashes: fc.boolean(),
    });
    const scenario = fc.array(session, { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(scenario, fc.nat(), fc.nat(), async (sessions, a, b) => {
        const { store, elsewhere } = context();
        let state = store.begin('any');
        const kept: Buffer[] = [];
        let offset = 0;
        for (const [at, { batches, crashes }] of sessions.entries()) {
          const writer = await (at % 2 === 0 ? store : elsewhere).openWriter(state, offset);
          for (const batch of batches) await writer.write(batch);
          if (!crashes) {
            state = await writer.finish();
            kept.push(...batches.flat());
            offset = kept.reduce((sum, { length }) => sum + length, 0);
          }
          await writer.close();
        }
        // The bytes of a last crashed writer still lie behind the offset: whoever goes on cuts them off.
        if (sessions.at(-1)?.crashes === true) state = await append(store, state, offset, []);
        const whole = Buffer.concat(kept);
        const key = await elsewhere.commit(state, digestOf(whole), whole.length);
        const start = a % (whole.length + 1);
        const length = b % (whole.length - start + 1);
        expect((await readAll(store, key, whole.length)).equals(whole)).toBe(true);
        const read = await collect(await store.read(key, { start, length }));
        expect(read.equals(whole.subarray(start, start + length))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
}

function describeFull({ makeSmallStore }: ContractOptions): void {
  it.skipIf(makeSmallStore === undefined)(
    'says that it is full, keeps what it has, and takes more when there is room again',
    async () => {
      const small = await makeSmallStore!();
      const { store } = small;
      try {
        await store.start();
        const key = await put(store, Buffer.from('kept'));
        const state = await append(store, store.begin('big'), 0, [[Buffer.alloc(mib, 1)]]);
        const writer = await store.openWriter(state, mib);
        const fill = async () => {
          for (let at = 0; at < 12; at += 1) await writer.write([Buffer.alloc(mib, 2)]);
        };
        await expect(fill()).rejects.toBeInstanceOf(StorageFullError);
        await expect(writer.write([Buffer.from('more')])).rejects.toThrow();
        await expect(writer.finish()).rejects.toThrow();
        await writer.close();
        expect((await readAll(store, key, 4)).toString()).toBe('kept');
        const resumed = await append(store, state, mib, [[Buffer.alloc(mib, 3)]]);
        const whole = Buffer.concat([Buffer.alloc(mib, 1), Buffer.alloc(mib, 3)]);
        const bigKey = await store.commit(resumed, digestOf(whole), whole.length);
        expect((await readAll(store, bigKey, whole.length)).equals(whole)).toBe(true);
      } finally {
        await store.close();
        await small.dispose();
      }
    },
  );
}
