/** The end of an upload: its last bytes, its digest, and the blob that it becomes. A crash between any two steps leaves a session that can still be ended. */
import { randomUUID } from 'node:crypto';
import type { Database } from '../database/pool.ts';
import { createDigester, digestAlgorithm, type Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import {
  ObjectMissingError,
  ObjectSizeError,
  UploadUnreadableError,
  type BlobStore,
  type StorageKey,
  type UploadState,
} from '../storage/port.ts';
import type { BlobTarget, CommitBlob, CommitSteps } from './commit-blob.ts';
import { placesInRows, refuseOtherLength, type Chunk, type Place, type Places } from './upload-place.ts';
import { takenOver, type Lease, type Leases, type SessionLease } from './upload-lease.ts';

export interface EndUploadParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly leases: Leases;
  readonly places: Places;
  readonly commitBlob: CommitBlob;
  readonly expiryHours: number;
}

export interface EndUpload {
  /** Makes what was received part of the session, and gives the lease back. @throws RegistryError `uploadBusy` when the lease was lost */
  record(lease: SessionLease, place: Place): Promise<void>;
  /** Ends a leased session, with a last chunk or without. The lease is gone with it. @throws as `Uploads.complete` */
  complete(lease: SessionLease, target: BlobTarget, chunk: Chunk): Promise<void>;
  /** Ends a leased session without a blob. @throws RegistryError `uploadBusy` when the lease was lost */
  cancel(lease: Lease): Promise<void>;
  /** Makes a blob of one body, without a session. @throws as `Uploads.putWhole` */
  whole(target: BlobTarget, chunk: Chunk): Promise<void>;
}

export function createEndUpload(parts: EndUploadParts): EndUpload {
  const { database, store, leases, places, commitBlob, expiryHours } = parts;

  /** Makes the writer's bytes durable; when that fails, a place that nothing names yet is freed. */
  async function finish(place: Place, options?: { readonly committing: boolean }): Promise<UploadState> {
    try {
      return await place.writer.finish(options);
    } catch (error) {
      await places.discard(place, error);
      throw error;
    }
  }

  async function record(
    lease: SessionLease,
    place: Place,
    { keepLease, closed }: { readonly keepLease: boolean; readonly closed: boolean },
  ): Promise<UploadState> {
    const state = await finish(place);
    const { bytes: offset } = place.digester;
    const digest = place.digester.digest();
    const { replaces } = place;
    // Its old writer may wake and make an object of it; known by its row alone, it is freed when the session has ended.
    const isLeft = replaces !== null && store.objectOf(replaces) !== null;
    const otherPlaces = [...withoutThoseOf(place, lease), ...(isLeft ? [replaces] : [])];
    if (!(await lease.record({ offset, digest, state, otherPlaces, closed }, { expiryHours, keepLease }))) {
      await places.discard(place);
      throw takenOver();
    }
    if (replaces !== null && !isLeft) await store.abort(replaces);
    return state;
  }

  /** The session ends with the blob; what else was begun for it is left to the sweep. */
  const ending = (lease: Lease, otherPlaces = lease.otherPlaces): CommitSteps => ({
    endSession: (queryer) => lease.end(queryer, otherPlaces),
  });

  /** Receives the end of a blob and checks all of it, as far as it can be known yet; what does not match counts for nothing. */
  async function receiveAll(place: Place, chunk: Chunk, digest: Digest, signal: AbortSignal): Promise<void> {
    const { interrupted } = await places.receive(place, chunk, signal);
    try {
      if (interrupted !== undefined) throw interrupted;
      const received = place.digester.digest();
      if (received !== null) refuseMismatch(digest, received, place.digester.bytes);
    } catch (error) {
      await places.discard(place, error);
      throw error;
    }
  }

  /** Makes a blob of bytes that no session was told of: all of them came in this request. */
  async function commitAtOnce(place: Place, target: BlobTarget, lease: Lease): Promise<void> {
    const state = await finish(place, { committing: true });
    try {
      // It may have been left to the commit to send the first byte to where only a row can tell of it.
      if (place.noted.length === 0 && store.objectOf(state) !== null) await place.note(state);
      const steps = ending(lease, withoutThoseOf(place, lease));
      await commitBlob({ ...target, size: place.digester.bytes, state }, steps);
    } catch (error) {
      await places.discard(place, error);
      throw error;
    }
  }

  /** Makes a blob of recorded bytes that have this digest, or, where nobody knows it yet, turn out to have it. */
  async function commitRecorded(
    lease: SessionLease,
    target: BlobTarget,
    recorded: { readonly state: UploadState; readonly size: number; readonly isKnown: boolean },
  ): Promise<void> {
    const { state, size, isKnown } = recorded;
    const check = (key: StorageKey): Promise<void> => checkObject(lease, target.digest, key, { state, size });
    await commitBlob({ ...target, size, state }, { ...ending(lease), ...(!isKnown && { check }) });
  }

  /** Reads an object back. Should it have another digest, that is recorded: it need not be read again. */
  async function checkObject(
    lease: SessionLease,
    expected: Digest,
    key: StorageKey,
    { state, size }: { readonly state: UploadState; readonly size: number },
  ): Promise<void> {
    const digester = createDigester(digestAlgorithm(expected));
    for await (const bytes of await store.read(key, { start: 0, length: size })) {
      lease.signal.throwIfAborted();
      digester.update(bytes);
    }
    const digest = digester.digest();
    if (digest === expected) return;
    const progress = { offset: size, digest, state, otherPlaces: lease.otherPlaces, closed: true };
    await lease.record(progress, { expiryHours, keepLease: true });
    refuseMismatch(expected, digest, size);
  }

  /** Ends a session that gets a last chunk, that never had a byte, or whose last writer may still wake. */
  async function completeWith(place: Place, chunk: Chunk, lease: SessionLease, target: BlobTarget): Promise<void> {
    await receiveAll(place, chunk, target.digest, lease.signal);
    if (lease.row.byte_offset === 0) return commitAtOnce(place, target, lease);
    const isKnown = place.digester.digest() !== null;
    // Recorded before the bytes move to their final place: a crash from here on leaves a session that a PUT without a body
    // ends, instead of one whose acknowledged bytes are nowhere.
    const state = await record(lease, place, { keepLease: true, closed: !isKnown });
    await commitRecorded(lease, target, { state, size: place.digester.bytes, isKnown });
  }

  /**
   * False where bytes cannot be copied: they have left their place, for whoever died holding the lease had stored them, but
   * not said so; or the store gives none back before they are an object, and keeps a writer that wakes away from it.
   */
  async function completedByCopy(chunk: Chunk, lease: SessionLease, target: BlobTarget): Promise<boolean> {
    try {
      await completeWith(await places.copy(lease, digestAlgorithm(target.digest)), chunk, lease, target);
      return true;
    } catch (error) {
      if (error instanceof ObjectMissingError || error instanceof UploadUnreadableError) return false;
      throw error;
    }
  }

  /** Ends a session that has all its bytes. Where their digest is known none is read again. */
  async function completeReceived(state: UploadState, lease: SessionLease, target: BlobTarget): Promise<void> {
    const { row } = lease;
    const { digest } = target;
    const size = row.byte_offset;
    const received = await places.digestSoFar(row, digestAlgorithm(digest), lease.signal);
    if (received !== null) refuseMismatch(digest, received, size);
    const isKnown = received !== null;
    if (!isKnown || row.algorithm !== digestAlgorithm(digest)) {
      // As above: after a crash this digest must be known without the bytes, or that they may be an object already.
      const progress = { offset: size, digest: received, state, otherPlaces: lease.otherPlaces, closed: !isKnown };
      if (!(await lease.record(progress, { expiryHours, keepLease: true }))) throw takenOver();
    }
    try {
      await commitRecorded(lease, target, { state, size, isKnown });
    } catch (error) {
      if (!(error instanceof ObjectSizeError)) throw error;
      // A chunk that was refused left its bytes behind those that count.
      const writer = await store.openWriter(state, size);
      const trimmed = await writer.finish({ committing: true });
      await commitRecorded(lease, target, { state: trimmed, size, isKnown });
    }
  }

  return {
    record: async (lease, place) => void (await record(lease, place, { keepLease: false, closed: false })),

    async complete(lease, target, chunk) {
      const { row } = lease;
      if (chunk.body !== null || row.storage_state === null) {
        await completeWith(await places.open(lease, digestAlgorithm(target.digest)), chunk, lease, target);
      } else {
        refuseOtherLength(chunk, 0);
        if (!row.taken_over || !(await completedByCopy(chunk, lease, target)))
          await completeReceived(row.storage_state, lease, target);
      }
    },

    async cancel(lease) {
      const { storage_state: state } = lease.row;
      const left = placesInRows(store, lease.row);
      if (left.length > 0) await database.transaction((queryer) => lease.end(queryer, left));
      else await lease.end(database, []);
      lease.settled();
      if (state !== null && left.length === 0) await store.abort(state);
    },

    async whole(target, chunk) {
      const { credentialId, userId } = target.actor;
      const algorithm = digestAlgorithm(target.digest);
      const { name } = target;
      const lease = leases.alone({
        id: randomUUID(),
        name,
        credentialId: credentialId!,
        userId,
        algorithm,
        expiryHours,
      });
      try {
        const place = await places.open(lease, algorithm);
        await receiveAll(place, chunk, target.digest, lease.signal);
        await commitAtOnce(place, target, lease);
        lease.settled();
      } finally {
        await lease.release();
      }
    },
  };
}

/** What the session has beside what this place has become. */
function withoutThoseOf(place: Place, lease: Lease): UploadState[] {
  return lease.otherPlaces.filter((other) => !place.noted.includes(other));
}

function refuseMismatch(expected: Digest, actual: Digest, size: number): void {
  if (expected === actual) return;
  throw new RegistryError('digestInvalid', {
    message: `the digest does not match: ${expected} was announced, but the ${size} bytes received have ${actual}`,
    detail: { expected, actual, size },
  });
}
