/** The end of an upload: its last bytes, its digest, and the blob that it becomes. A crash between any two steps leaves a session that can still be ended. */
import { randomUUID } from 'node:crypto';
import type { Database, Queryer } from '../database/pool.ts';
import { digestAlgorithm, type Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { ObjectMissingError, ObjectSizeError, type BlobStore, type UploadState } from '../storage/port.ts';
import type { BlobTarget, CommitBlob } from './commit-blob.ts';
import { deleteLeasedUpload, recordProgress } from './sql/uploads.ts';
import { takenOver, type Lease } from './upload-lease.ts';
import { refuseOtherLength, type Chunk, type Place, type Places } from './upload-place.ts';

export interface EndUploadParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly places: Places;
  readonly commitBlob: CommitBlob;
  readonly expiryHours: number;
}

export interface EndUpload {
  /** Makes what was received part of the session. @throws RegistryError `uploadBusy` when the lease was lost */
  record(lease: Lease, place: Place, keepLease: boolean): Promise<UploadState>;
  /** Ends a leased session, with a last chunk or without. The lease is gone with it. @throws as `Uploads.complete` */
  complete(lease: Lease, target: BlobTarget, chunk: Chunk): Promise<void>;
  /** Makes a blob of one body, without a session. @throws as `Uploads.putWhole` */
  whole(target: BlobTarget, chunk: Chunk): Promise<void>;
}

const noSignal = new AbortController().signal;

export function createEndUpload({ database, store, places, commitBlob, expiryHours }: EndUploadParts): EndUpload {
  /** Makes the writer's bytes durable; when that fails, a place that nothing names yet is freed. */
  async function finish(place: Place, options?: { readonly committing: boolean }): Promise<UploadState> {
    try {
      return await place.writer.finish(options);
    } catch (error) {
      await places.discard(place);
      throw error;
    }
  }

  async function record({ row, token }: Lease, place: Place, keepLease: boolean): Promise<UploadState> {
    const state = await finish(place);
    const progress = { offset: place.digester.bytes, digest: place.digester.digest(), state };
    const options = { expiryHours, keepLease };
    if (!(await recordProgress(database, row.id, token, progress, options))) {
      await places.discard(place);
      throw takenOver();
    }
    if (place.replaces !== null) await store.abort(place.replaces);
    return state;
  }

  const endSession =
    ({ row, token }: Lease) =>
    async (queryer: Queryer): Promise<void> => {
      if (!(await deleteLeasedUpload(queryer, row.id, token))) throw takenOver();
    };

  /** Receives the end of a blob and checks all of it; what does not match counts for nothing. */
  async function receiveAll(place: Place, chunk: Chunk, digest: Digest, signal: AbortSignal): Promise<void> {
    const { interrupted } = await places.receive(place, chunk, signal);
    try {
      if (interrupted !== undefined) throw interrupted;
      refuseMismatch(digest, place.digester.digest(), place.digester.bytes);
    } catch (error) {
      await places.discard(place);
      throw error;
    }
  }

  /** Makes a blob of bytes that no session was told of: all of them came in this request. */
  async function commitAtOnce(place: Place, target: BlobTarget, lease?: Lease): Promise<void> {
    const state = await finish(place, { committing: true });
    try {
      await commitBlob({ ...target, size: place.digester.bytes, state }, lease && endSession(lease));
    } catch (error) {
      await places.discard(place);
      throw error;
    }
  }

  /** Ends a session that gets a last chunk, that never had a byte, or whose last writer may still wake. */
  async function completeWith(chunk: Chunk, lease: Lease, target: BlobTarget): Promise<void> {
    const { row } = lease;
    const place = await places.open(row, digestAlgorithm(target.digest), lease.signal);
    await receiveAll(place, chunk, target.digest, lease.signal);
    if (row.byte_offset === 0) return commitAtOnce(place, target, lease);
    // Recorded before the bytes move to their final place: a crash from here on leaves a session that a PUT without a body
    // ends, instead of one whose acknowledged bytes are nowhere.
    const state = await record(lease, place, true);
    await commitBlob({ ...target, size: place.digester.bytes, state }, endSession(lease));
  }

  /** False when the bytes have left their place: whoever died holding the lease had stored them, but not said so. */
  async function completedByCopy(chunk: Chunk, lease: Lease, target: BlobTarget): Promise<boolean> {
    try {
      await completeWith(chunk, lease, target);
      return true;
    } catch (error) {
      if (error instanceof ObjectMissingError) return false;
      throw error;
    }
  }

  /** Ends a session that has all its bytes. Their digest is known; none is read again unless the algorithm is another one. */
  async function completeReceived(state: UploadState, lease: Lease, target: BlobTarget): Promise<void> {
    const { row, token } = lease;
    const { digest } = target;
    const size = row.byte_offset;
    refuseMismatch(digest, await places.digestSoFar(row, digestAlgorithm(digest), lease.signal), size);
    if (row.algorithm !== digestAlgorithm(digest)) {
      // As above: after a crash this digest must be known without the bytes.
      const options = { expiryHours, keepLease: true };
      if (!(await recordProgress(database, row.id, token, { offset: size, digest, state }, options))) throw takenOver();
    }
    try {
      await commitBlob({ ...target, size, state }, endSession(lease));
    } catch (error) {
      if (!(error instanceof ObjectSizeError)) throw error;
      // A chunk that was refused left its bytes behind those that count.
      const writer = await store.openWriter(state, size);
      const trimmed = await writer.finish({ committing: true });
      await commitBlob({ ...target, size, state: trimmed }, endSession(lease));
    }
  }

  return {
    record,
    async complete(lease, target, chunk) {
      const { row } = lease;
      if (chunk.body !== null || row.storage_state === null) {
        await completeWith(chunk, lease, target);
      } else {
        refuseOtherLength(chunk, 0);
        if (!row.taken_over || !(await completedByCopy(chunk, lease, target)))
          await completeReceived(row.storage_state, lease, target);
      }
    },
    async whole(target, chunk) {
      const place = await places.create(randomUUID(), digestAlgorithm(target.digest));
      await receiveAll(place, chunk, target.digest, noSignal);
      await commitAtOnce(place, target);
    },
  };
}

function refuseMismatch(expected: Digest, actual: Digest, size: number): void {
  if (expected === actual) return;
  throw new RegistryError('digestInvalid', {
    message: `the digest does not match: ${expected} was announced, but the ${size} bytes received have ${actual}`,
    detail: { expected, actual, size },
  });
}
