/**
 * A process that dies anywhere in its work on S3. Each statement and each request to S3 is a step; a process is let live for
 * 0, 1, 2, ... steps, and whatever it is about to do then never happens. Another process takes up what it left, as for a client
 * that tries again, and in the end nothing may be left that nobody asks for.
 */
import { Readable } from 'node:stream';
import { randomBytes } from 'node:crypto';
import { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { commandLine } from '../../src/access/actor.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import type { Actor } from '../../src/events/actor.ts';
import { digestOf, digestToBytes, type Digest, type DigestAlgorithm } from '../../src/oci/digest.ts';
import { RegistryError } from '../../src/oci/errors.ts';
import { parseRepositoryName } from '../../src/oci/reference.ts';
import { createCommitBlob } from '../../src/registry/commit-blob.ts';
import { createRepositories } from '../../src/registry/repositories.ts';
import { createSweep, type Sweep } from '../../src/registry/sweep.ts';
import { createLeases } from '../../src/registry/upload-lease.ts';
import { createPlaces, type Chunk } from '../../src/registry/upload-place.ts';
import { createUploads, type Uploads } from '../../src/registry/uploads.ts';
import type { BlobStore, StorageKey } from '../../src/storage/port.ts';
import { partBytesMin } from '../../src/storage/s3/options.ts';
import { S3BlobStore } from '../../src/storage/s3/store.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, s3OptionsOf, startS3Server, type S3Server } from '../support/s3-server.ts';

const mib = 1024 * 1024;
const bucket = 'crashes';
const name = parseRepositoryName('acme/crashes');
const actor: Actor = { ...commandLine('test'), credentialId: 0 };
const become = (digest: Digest) => ({ name, digest, actor });
const limits = { uploadsPerAccountMax: 1000, uploadExpiryHours: 1 };
const nothing: Chunk = { body: null, range: null };
const chunkOf = (bytes: Buffer): Chunk => ({ body: Readable.from([bytes]), range: null });
const { signal } = new AbortController();

/** What nobody has sent before, without the cost of so much chance. */
const newBytes = (length: number) => Buffer.alloc(length, randomBytes(64));

class DeadError extends Error {
  override readonly name = 'DeadError';
}

/** So many steps, and none after them: not even the answer to an earlier one is heard. */
class Life {
  #left = Number.POSITIVE_INFINITY;
  endAfter(steps: number): void {
    this.#left = steps;
  }
  get isOver(): boolean {
    return this.#left < 0;
  }
  async step<T>(work: () => Promise<T>): Promise<T> {
    this.#left -= 1;
    if (this.isOver) throw new DeadError('the process has died');
    const result = await work();
    if (this.isOver) throw new DeadError('the process has died');
    return result;
  }
}

/** As much of a Berth as uploads need. */
interface Process {
  readonly life: Life;
  readonly store: BlobStore;
  readonly uploads: Uploads;
  readonly sweep: Sweep;
}

let facts: TestDatabase;
let database: Database;
let server: S3Server;
const stores: BlobStore[] = [];
/** Whose step a request to S3 is. */
const lives = new WeakMap<object, Life>();
let newest: Life;

async function startProcess(): Promise<Process> {
  const store = new S3BlobStore({
    ...s3OptionsOf(server, bucket),
    partBytes: partBytesMin,
    credentials: { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey },
  });
  stores.push(store);
  const life = new Life();
  // Its client is known from here on.
  newest = life;
  await store.abort(store.begin('greeting'));
  const seen: Database = {
    query: (text, values) => life.step(() => database.query(text, values)),
    transaction: (work) => life.step(() => database.transaction(work)),
    hot: database.hot,
    patient: database.patient,
    ping: (msMax) => database.ping(msMax),
    close: async () => undefined,
  };
  const repositories = createRepositories(seen, 'private');
  const commitBlob = createCommitBlob({ database: seen, store, repositories, reviewDelayHours: 24 });
  // Ended by the test: nobody waits for it.
  const leases = createLeases(seen, 3600);
  const places = createPlaces(store, 1024 ** 3);
  return {
    life,
    store,
    uploads: createUploads({ database: seen, store, leases, places, commitBlob, limits }),
    // As if everything had been there for hours.
    sweep: createSweep({ database: seen, store, uploadExpiryHours: -2 }),
  };
}

/** What a client wants done, and how it goes about it again with a process that lives. */
interface Work<State> {
  /** By processes that live. */
  prepare(other: Process): Promise<State>;
  act(dying: Process, state: State): Promise<unknown>;
  again(living: Process, state: State): Promise<unknown>;
}

/** Has a new process die after 0, 1, 2, ... steps of the work, until one lives through it. @returns how many died */
async function dieEverywhere<State>(work: Work<State>): Promise<number> {
  const [other, living] = [await startProcess(), await startProcess()];
  for (let steps = 0; ; steps += 1) {
    const state = await work.prepare(other);
    const dying = await startProcess();
    dying.life.endAfter(steps);
    const failure = await work.act(dying, state).then(
      () => undefined,
      (error: unknown) => error,
    );
    const died = dying.life.isOver;
    if (!died && failure !== undefined) throw failure;
    // Nothing of what it still tries reaches anybody.
    dying.life.endAfter(-1);
    await database.query(`UPDATE uploads SET lease_expires_at = '-infinity' WHERE lease IS NOT NULL`);
    try {
      await work.again(living, state);
      await sweepAll(living);
    } catch (error) {
      throw new Error(`after ${steps} steps`, { cause: error });
    }
    if (!died) return steps;
  }
}

/** As if hours had passed: nothing is left but blobs. */
async function sweepAll({ sweep }: Process): Promise<void> {
  await database.query(`UPDATE uploads SET expires_at = '-infinity'`);
  await database.query(`UPDATE storage_deletions SET try_after = '-infinity'`);
  for (const part of ['expiredUploads', 'abandonedUploads', 'queuedDeletions'] as const)
    expect(await sweep[part](signal)).toMatchObject({ failed: 0 });
  expect(await database.query('SELECT * FROM uploads')).toEqual([]);
  expect(await database.query('SELECT * FROM storage_deletions')).toEqual([]);
  const blobs = await database.query<{ storage_key: string }>('SELECT storage_key FROM blobs');
  expect(await server.stored(bucket)).toEqual(blobs.map((blob) => blob.storage_key).toSorted());
}

async function expectStored(store: BlobStore, bytes: Buffer, algorithm: DigestAlgorithm = 'sha256'): Promise<void> {
  const digest = digestOf(bytes, algorithm);
  const [blob] = await database.query<{ storage_key: StorageKey; size: number }>(
    'SELECT storage_key, size FROM blobs WHERE digest = $1',
    [digestToBytes(digest)],
  );
  expect(blob?.size).toBe(bytes.length);
  const pieces: Buffer[] = [];
  for await (const piece of await store.read(blob!.storage_key, { start: 0, length: bytes.length }))
    pieces.push(Buffer.from(piece));
  expect(digestOf(Buffer.concat(pieces), algorithm)).toBe(digest);
}

interface Session {
  readonly id: string;
  readonly first: Buffer;
  readonly rest: Buffer;
}

const open = async ({ uploads }: Process) => (await uploads.open(name, actor, 'sha256')).id;

/** With the first bytes acknowledged. */
async function sessionWith(process: Process, first: Buffer, rest: Buffer): Promise<Session> {
  const id = await open(process);
  if (first.length > 0) await process.uploads.append(id, name, chunkOf(first));
  return { id, first, rest };
}

/** Ends a session, unless that is done: then its blob is there. */
async function closeAgain(
  { uploads, store }: Process,
  id: string,
  bytes: Buffer,
  algorithm: DigestAlgorithm = 'sha256',
) {
  try {
    await uploads.complete(id, become(digestOf(bytes, algorithm)), nothing);
  } catch (error) {
    if (!(error instanceof RegistryError && error.kind === 'uploadUnknown')) throw error;
  }
  await expectStored(store, bytes, algorithm);
}

const small = 1000;
/** Enough for a part. */
const large = 5 * mib + 1000;

describe.skipIf(noS3Server !== undefined)(titled('a process that dies on S3', noS3Server), () => {
  beforeAll(async () => {
    facts = await createTestDatabase();
    database = createDatabase({ connection: facts.connection, poolSize: 5, hotLanes: 1 });
    await database.query("INSERT INTO namespaces (name, kind) VALUES ('acme', 'organization')");
    server = await startS3Server();
    await server.makeBucket(bucket);
    const send = Reflect.get(S3Client.prototype, 'send') as (...args: unknown[]) => Promise<unknown>;
    vi.spyOn(S3Client.prototype, 'send').mockImplementation(function (this: S3Client, ...args: unknown[]) {
      if (!lives.has(this)) lives.set(this, newest);
      return lives.get(this)!.step(() => send.apply(this, args));
    } as never);
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await Promise.all(stores.map((store) => store.close()));
    await server.stop();
    await database.close();
    await facts.drop();
  });

  test.for([
    ['a first small chunk', 0, small],
    ['a first large chunk', 0, large],
    ['a large chunk behind a small one', small, large],
    ['a small chunk behind a large one', large, small],
  ] as const)(
    'in %s: the next one goes on where the last bytes were acknowledged, or where these were',
    async ([, before, more]) => {
      const died = await dieEverywhere<Session>({
        prepare: (other) => sessionWith(other, newBytes(before), newBytes(more)),
        act: ({ uploads }, { id, rest }) => uploads.append(id, name, chunkOf(rest)),
        async again(living, { id, first, rest }) {
          const { offset } = await living.uploads.status(id, name);
          expect([first.length, first.length + rest.length]).toContain(offset);
          if (offset === first.length) await living.uploads.append(id, name, chunkOf(rest));
          await closeAgain(living, id, Buffer.concat([first, rest]));
        },
      });
      expect(died).toBeGreaterThan(2);
    },
  );

  test.for([
    ['small', small, 'sha256'],
    ['large', large, 'sha256'],
    ['large, by a digest that nobody could know before', large, 'sha512'],
  ] as const)(
    'in the closing PUT of an upload that is %s: the next one ends it, or finds it ended',
    async ([, size, algorithm]) => {
      const died = await dieEverywhere<Session>({
        prepare: (other) => sessionWith(other, newBytes(size), Buffer.alloc(0)),
        act: ({ uploads }, { id, first }) => uploads.complete(id, become(digestOf(first, algorithm)), nothing),
        again: (living, { id, first }) => closeAgain(living, id, first, algorithm),
      });
      expect(died).toBeGreaterThan(2);
    },
  );

  test('in a closing PUT with the last chunk: what was recorded of it counts', async () => {
    await dieEverywhere<Session>({
      prepare: (other) => sessionWith(other, newBytes(large), newBytes(small)),
      act: ({ uploads }, { id, first, rest }) =>
        uploads.complete(id, become(digestOf(Buffer.concat([first, rest]))), chunkOf(rest)),
      async again(living, { id, first, rest }) {
        const whole = Buffer.concat([first, rest]);
        const [row] = await database.query<{ byte_offset: number }>('SELECT byte_offset FROM uploads WHERE id = $1', [
          id,
        ]);
        if (row?.byte_offset === first.length) await living.uploads.append(id, name, chunkOf(rest));
        await closeAgain(living, id, whole);
      },
    });
  });

  test.for([
    ['empty', 0],
    ['small', small],
    ['large', large],
  ] as const)('with a %s blob that comes in one request: sent again it is there, once', async ([, size]) => {
    await dieEverywhere<Buffer>({
      prepare: async () => newBytes(size),
      act: ({ uploads }, bytes) => uploads.putWhole(become(digestOf(bytes)), chunkOf(bytes)),
      async again({ uploads, store }, bytes) {
        await uploads.putWhole(become(digestOf(bytes)), chunkOf(bytes));
        await expectStored(store, bytes);
      },
    });
  });

  test('in a cancel, or in a sweep: the next sweep finds what is left', async () => {
    await dieEverywhere<Session>({
      prepare: (other) => sessionWith(other, newBytes(large), Buffer.alloc(0)),
      act: ({ uploads }, { id }) => uploads.cancel(id, name),
      again: async () => undefined,
    });
    await dieEverywhere<Session>({
      prepare: (other) => sessionWith(other, newBytes(large), Buffer.alloc(0)),
      async act({ sweep }) {
        await database.query(`UPDATE uploads SET expires_at = '-infinity'`);
        await sweep.expiredUploads(signal);
        await sweep.queuedDeletions(signal);
      },
      again: async () => undefined,
    });
  });
});
