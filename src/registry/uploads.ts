/**
 * Uploads: sessions in which a blob's bytes arrive, in one piece or in many, through any process.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
 */
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Subject } from '../access/policy.ts';
import type { Database, Queryer } from '../database/pool.ts';
import { digestAlgorithm, type Digest, type DigestAlgorithm } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/reference.ts';
import { ObjectMissingError, ObjectSizeError, type BlobStore, type UploadState } from '../storage/port.ts';
import type { CommitBlob } from './commit-blob.ts';
import { deleteLeasedUpload, findUpload, insertUpload, recordProgress, type UploadRow } from './sql/uploads.ts';
import type { Lease, Leases } from './upload-lease.ts';
import { refuseOtherLength, type Chunk, type Place, type Places } from './upload-place.ts';

export interface UploadStatus {
  readonly id: string;
  /** Bytes that the session has, all of them durable. */
  readonly offset: number;
}

/** The chunk does not begin where the upload stands; the answer says where that is. */
export class UploadRangeError extends RegistryError {
  readonly status: UploadStatus;
  constructor(status: UploadStatus, message: string) {
    super('uploadRangeInvalid', { message, detail: { offset: status.offset } });
    this.status = status;
  }
}

export interface Uploads {
  /** @throws RegistryError `tooManyRequests` when the account has too many open uploads */
  open(name: RepositoryName, subject: Subject, algorithm: DigestAlgorithm): Promise<UploadStatus>;
  /** @throws RegistryError `uploadUnknown` */
  status(id: string, name: RepositoryName): Promise<UploadStatus>;
  /**
   * Appends a chunk; its bytes are durable when this resolves. When the sender leaves half-way, what came is kept and the
   * sender's error is thrown.
   * @throws UploadRangeError, RegistryError `uploadUnknown`, `uploadBusy`, `sizeInvalid`, `bodyTooLarge`
   */
  append(id: string, name: RepositoryName, chunk: Chunk): Promise<UploadStatus>;
  /**
   * Ends the session: appends the last chunk, if there is one, and makes a blob of the bytes if they have this digest.
   * Otherwise the session stays as it was.
   * @throws as `append`, and RegistryError `digestInvalid`
   */
  complete(id: string, name: RepositoryName, digest: Digest, chunk: Chunk): Promise<void>;
  /** Forgets the session and its bytes. @throws RegistryError `uploadUnknown`, `uploadBusy` */
  cancel(id: string, name: RepositoryName): Promise<void>;
  /** A whole blob in one request, without a session. @throws RegistryError `digestInvalid`, `bodyTooLarge` */
  putWhole(name: RepositoryName, digest: Digest, body: Readable | null): Promise<void>;
}

export interface UploadParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly leases: Leases;
  readonly places: Places;
  readonly commitBlob: CommitBlob;
  readonly limits: { readonly uploadsPerAccountMax: number; readonly uploadExpiryHours: number };
}

const noSignal = new AbortController().signal;

export function createUploads({ database, store, leases, places, commitBlob, limits }: UploadParts): Uploads {
  async function withLease<T>(id: string, name: RepositoryName, work: (lease: Lease) => Promise<T>): Promise<T> {
    const lease = await leases.acquire(id, name);
    try {
      return await work(lease);
    } catch (error) {
      if (error instanceof ObjectMissingError || error instanceof ObjectSizeError)
        throw new RegistryError('uploadInvalid', { cause: error });
      throw error;
    } finally {
      await lease.release();
    }
  }

  /** Makes the writer's bytes durable; when that fails, a place that nothing names yet is freed. */
  async function finish(place: Place, options?: { readonly committing: boolean }): Promise<UploadState> {
    try {
      return await place.writer.finish(options);
    } catch (error) {
      await places.discard(place);
      throw error;
    }
  }

  /** Makes what was received part of the session. */
  async function record({ row, token }: Lease, place: Place, keepLease: boolean): Promise<UploadState> {
    const state = await finish(place);
    const progress = { offset: place.digester.bytes, digest: place.digester.digest(), state };
    const options = { expiryHours: limits.uploadExpiryHours, keepLease };
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
  async function commitAtOnce(place: Place, name: RepositoryName, digest: Digest, lease?: Lease): Promise<void> {
    const state = await finish(place, { committing: true });
    try {
      await commitBlob({ name, digest, size: place.digester.bytes, state }, lease && endSession(lease));
    } catch (error) {
      await places.discard(place);
      throw error;
    }
  }

  /** Ends a session that gets a last chunk, that never had a byte, or whose last writer may still wake. */
  async function completeWith(chunk: Chunk, lease: Lease, name: RepositoryName, digest: Digest): Promise<void> {
    const { row } = lease;
    const place = await places.open(row, digestAlgorithm(digest), lease.signal);
    await receiveAll(place, chunk, digest, lease.signal);
    if (row.byte_offset === 0) return commitAtOnce(place, name, digest, lease);
    // Recorded before the bytes move to their final place: a crash from here on leaves a session that a PUT without a body
    // ends, instead of one whose acknowledged bytes are nowhere.
    const state = await record(lease, place, true);
    await commitBlob({ name, digest, size: place.digester.bytes, state }, endSession(lease));
  }

  /** False when the bytes have left their place: whoever died holding the lease had stored them, but not said so. */
  async function completedByCopy(chunk: Chunk, lease: Lease, name: RepositoryName, digest: Digest): Promise<boolean> {
    try {
      await completeWith(chunk, lease, name, digest);
      return true;
    } catch (error) {
      if (error instanceof ObjectMissingError) return false;
      throw error;
    }
  }

  /** Ends a session that has all its bytes. Their digest is known; none is read again unless the algorithm is another one. */
  async function completeReceived(
    state: UploadState,
    lease: Lease,
    name: RepositoryName,
    digest: Digest,
  ): Promise<void> {
    const { row, token } = lease;
    const size = row.byte_offset;
    refuseMismatch(digest, await places.digestSoFar(row, digestAlgorithm(digest), lease.signal), size);
    if (row.algorithm !== digestAlgorithm(digest)) {
      // As above: after a crash this digest must be known without the bytes.
      const options = { expiryHours: limits.uploadExpiryHours, keepLease: true };
      if (!(await recordProgress(database, row.id, token, { offset: size, digest, state }, options))) throw takenOver();
    }
    try {
      await commitBlob({ name, digest, size, state }, endSession(lease));
    } catch (error) {
      if (!(error instanceof ObjectSizeError)) throw error;
      // A chunk that was refused left its bytes behind those that count.
      const writer = await store.openWriter(state, size);
      const trimmed = await writer.finish({ committing: true });
      await commitBlob({ name, digest, size, state: trimmed }, endSession(lease));
    }
  }

  return {
    async open(name, subject, algorithm) {
      const id = randomUUID();
      const account = { credentialId: subject.credentialId, userId: subject.user?.id ?? null };
      if (
        !(await insertUpload(database, {
          id,
          name,
          ...account,
          algorithm,
          expiryHours: limits.uploadExpiryHours,
          perAccountMax: limits.uploadsPerAccountMax,
        }))
      ) {
        throw new RegistryError('tooManyRequests', {
          message: `this account has ${limits.uploadsPerAccountMax} unfinished uploads; finish or cancel some`,
        });
      }
      return { id, offset: 0 };
    },

    async status(id, name) {
      const row = await findUpload(database, id, name);
      if (row === undefined) throw new RegistryError('uploadUnknown', { detail: { upload: id } });
      return { id, offset: row.byte_offset };
    },

    append: (id, name, chunk) =>
      withLease(id, name, async (lease) => {
        const { row } = lease;
        refuseWrongStart(row, chunk);
        const place = await places.open(row, row.algorithm, lease.signal);
        const { bytes, interrupted } = await places.receive(place, chunk, lease.signal);
        if (bytes === 0) {
          await places.discard(place);
        } else {
          await record(lease, place, false);
          lease.settled();
          places.remember(row.id, place.digester);
        }
        if (interrupted !== undefined) throw interrupted;
        return { id, offset: row.byte_offset + bytes };
      }),

    complete: (id, name, digest, chunk) =>
      withLease(id, name, async (lease) => {
        const { row } = lease;
        refuseWrongStart(row, chunk);
        if (chunk.body !== null || row.storage_state === null) {
          await completeWith(chunk, lease, name, digest);
        } else {
          refuseOtherLength(chunk, 0);
          if (!row.taken_over || !(await completedByCopy(chunk, lease, name, digest)))
            await completeReceived(row.storage_state, lease, name, digest);
        }
        lease.settled();
        places.forget(row.id);
      }),

    cancel: (id, name) =>
      withLease(id, name, async (lease) => {
        const { row, token } = lease;
        if (!(await deleteLeasedUpload(database, row.id, token))) throw takenOver();
        lease.settled();
        places.forget(row.id);
        if (row.storage_state !== null) await store.abort(row.storage_state);
      }),

    async putWhole(name, digest, body) {
      const place = await places.create(randomUUID(), digestAlgorithm(digest));
      await receiveAll(place, { body, range: null }, digest, noSignal);
      await commitAtOnce(place, name, digest);
    },
  };
}

function refuseWrongStart(row: UploadRow, { range }: Chunk): void {
  if (range === null || range.start === row.byte_offset) return;
  throw new UploadRangeError(
    { id: row.id, offset: row.byte_offset },
    `the chunk begins at byte ${range.start}, but the upload stands at ${row.byte_offset}; send on from there`,
  );
}

function refuseMismatch(expected: Digest, actual: Digest, size: number): void {
  if (expected === actual) return;
  throw new RegistryError('digestInvalid', {
    message: `the digest does not match: ${expected} was announced, but the ${size} bytes received have ${actual}`,
    detail: { expected, actual, size },
  });
}

function takenOver(): RegistryError {
  return new RegistryError('uploadBusy', { message: 'another request took over this upload' });
}
