/**
 * Moves the bytes of all blobs from one store to another while the registry serves. It may be ended at any moment and begun
 * again: a blob is either where it was or where it goes, and what is half there is given up after a day. Every byte is hashed
 * on its way; a blob whose bytes are not its own stays where it is, and is named.
 */
import { randomUUID } from 'node:crypto';
import type { Database } from '../database/pool.ts';
import { createDigester, digestAlgorithm, digestFromBytes, type Digest } from '../oci/digest.ts';
import type { BlobStore, StorageKey } from '../storage/port.ts';
import { moveBlob, pageOfBlobs, type StoredBlobRow } from './sql/moving.ts';
import { queuePlaceDeletions, queueStorageDeletion } from './sql/storage-deletions.ts';

export interface CopyParts {
  readonly database: Database;
  readonly from: BlobStore;
  readonly to: BlobStore;
  /** Blobs under way at once. */
  readonly concurrency: number;
  /** Hours until a moved blob's old bytes are deleted. */
  readonly keepHours: number;
}

export interface CopyProgress {
  /** Blobs that the old store had when they were counted, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  readonly blobsDone: number;
  readonly bytesDone: number;
  readonly failures: readonly CopyFailure[];
}

export interface CopyFailure {
  readonly digest: Digest;
  readonly reason: string;
}

/** What is half written is nobody's after this: longer than the largest blob takes. */
const givenUpAfterHours = 24;
const pageSize = 500;
/** So many failures are no accident. */
const failuresMax = 100;

/** The bytes are not those that their digest names. */
class DamagedBlobError extends Error {
  override readonly name = 'DamagedBlobError';
}

/**
 * Moves what the old store has, also what comes into it meanwhile. Failures of single blobs end nothing until there are too
 * many of them.
 * @param onProgress called after every piece of a blob
 */
export async function copyStorage(
  parts: CopyParts,
  onProgress: (progress: CopyProgress) => void,
  signal: AbortSignal,
): Promise<CopyProgress> {
  const { database, from } = parts;
  const failures: CopyFailure[] = [];
  const failed = new Set<StorageKey>();
  const progress = { ...(await countBlobs(parts, signal)), blobsDone: 0, bytesDone: 0, failures };
  onProgress(progress);

  async function one(blob: StoredBlobRow): Promise<void> {
    let bytes = 0;
    try {
      await copyBlob(parts, blob, signal, (more) => {
        bytes += more;
        progress.bytesDone += more;
        onProgress(progress);
      });
      progress.blobsDone += 1;
    } catch (error) {
      signal.throwIfAborted();
      progress.bytesDone -= bytes;
      failed.add(blob.storage_key);
      failures.push({ digest: digestFromBytes(blob.digest), reason: (error as Error).message });
      if (failures.length >= failuresMax) throw error;
    }
    onProgress(progress);
  }

  // Again from the start until nothing is left: blobs that came meanwhile lie anywhere between the others.
  for (let moved = 1; moved > 0;) {
    moved = 0;
    for await (const page of pagesOf(database, signal)) {
      const mine = page.filter(({ storage_key: key }) => from.recognizes(key) && !failed.has(key));
      moved += mine.length;
      await eachOf(mine, parts.concurrency, one);
    }
  }
  return progress;
}

async function countBlobs({ database, from }: CopyParts, signal: AbortSignal) {
  let blobs = 0;
  let bytes = 0;
  for await (const page of pagesOf(database, signal)) {
    for (const { size, storage_key: key } of page) {
      if (!from.recognizes(key)) continue;
      blobs += 1;
      bytes += size;
    }
  }
  return { blobs, bytes };
}

async function* pagesOf(database: Database, signal: AbortSignal): AsyncGenerator<StoredBlobRow[], void> {
  for (let after: Buffer = Buffer.alloc(0); ;) {
    signal.throwIfAborted();
    const page = await pageOfBlobs(database, after, pageSize);
    if (page.length === 0) return;
    yield page;
    after = page.at(-1)!.digest;
  }
}

/** Works on the items in order, so many at once. The first failure ends it, when those under way have ended. */
async function eachOf<T>(items: readonly T[], concurrency: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item);
  };
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

async function copyBlob(
  { database, from, to, keepHours }: CopyParts,
  blob: StoredBlobRow,
  signal: AbortSignal,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const digest = digestFromBytes(blob.digest);
  const digester = createDigester(digestAlgorithm(digest));
  const begun = to.begin(randomUUID());
  const writer = await to.openWriter(begun, 0, {
    note: (place) =>
      queuePlaceDeletions(database, [place], 'a copy to another storage that was not finished', givenUpAfterHours),
  });
  let state = begun;
  try {
    for await (const piece of await from.read(blob.storage_key, { start: 0, length: blob.size })) {
      signal.throwIfAborted();
      digester.update(piece);
      await writer.write([piece]);
      onBytes(piece.length);
    }
    const found = digester.digest();
    if (found !== digest) throw new DamagedBlobError(`its bytes are damaged: they have the digest ${found}`);
    state = await writer.finish({ committing: true });
  } catch (error) {
    await writer.close();
    // Should this fail, too, the note or the sweep of abandoned places frees it.
    await to.abort(begun).catch(() => undefined);
    throw error;
  }
  const key = await to.commit(state, digest, blob.size);
  await database.transaction(async (queryer) => {
    if (await moveBlob(queryer, blob, key))
      await queueStorageDeletion(queryer, blob.storage_key, 'moved to another storage', keepHours);
    else await queueStorageDeletion(queryer, key, 'copied to another storage, but its blob was gone by then');
  });
}
