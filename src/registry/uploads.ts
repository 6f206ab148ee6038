/**
 * Uploads: sessions in which a blob's bytes arrive, in one piece or in many, through any process.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs
 */
import { randomUUID } from 'node:crypto';
import type { Database } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import type { DigestAlgorithm } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/reference.ts';
import { ObjectMissingError, ObjectSizeError, type BlobStore } from '../storage/port.ts';
import type { BlobTarget, CommitBlob } from './commit-blob.ts';
import { createEndUpload } from './end-upload.ts';
import { findUpload, insertUpload, type UploadRow } from './sql/uploads.ts';
import type { Leases, SessionLease } from './upload-lease.ts';
import type { Chunk, Places } from './upload-place.ts';

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
  open(name: RepositoryName, actor: Actor, algorithm: DigestAlgorithm): Promise<UploadStatus>;
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
   * Otherwise the session stays as it was; but where only the whole object could tell its digest (the bytes came through
   * several processes, and the store gives none back before), they are all recorded, and none can follow: only the digest can
   * be given again.
   * @throws as `append`, and RegistryError `digestInvalid`
   */
  complete(id: string, target: BlobTarget, chunk: Chunk): Promise<void>;
  /** Forgets the session and its bytes. @throws RegistryError `uploadUnknown`, `uploadBusy` */
  cancel(id: string, name: RepositoryName): Promise<void>;
  /** A whole blob in one request, without a session. @throws RegistryError `digestInvalid`, `bodyTooLarge` */
  putWhole(target: BlobTarget, chunk: Chunk): Promise<void>;
}

export interface UploadParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly leases: Leases;
  readonly places: Places;
  readonly commitBlob: CommitBlob;
  readonly limits: { readonly uploadsPerAccountMax: number; readonly uploadExpiryHours: number };
}

export function createUploads({ database, store, leases, places, commitBlob, limits }: UploadParts): Uploads {
  const { uploadExpiryHours: expiryHours } = limits;
  const ending = createEndUpload({ database, store, leases, places, commitBlob, expiryHours });

  async function withLease<T>(id: string, name: RepositoryName, work: (lease: SessionLease) => Promise<T>): Promise<T> {
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

  /** An operator has changed the storage and not told this process of the one before. Only a cancel, or the expiry, needs no bytes. */
  function refuseElsewhere({ id, storage_state: state }: UploadRow): void {
    if (state === null || store.recognizes(state)) return;
    throw new RegistryError('uploadUnknown', {
      message: 'the bytes of this upload are in a storage that is not set up here any more; start a new one',
      detail: { upload: id },
    });
  }

  return {
    async open(name, actor, algorithm) {
      const id = randomUUID();
      if (
        !(await insertUpload(database, {
          id,
          name,
          credentialId: actor.credentialId!,
          userId: actor.userId,
          algorithm,
          expiryHours,
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
      refuseElsewhere(row);
      return { id, offset: row.byte_offset };
    },

    append: (id, name, chunk) =>
      withLease(id, name, async (lease) => {
        const { row } = lease;
        refuseElsewhere(row);
        refuseChunk(row, chunk);
        const place = await places.open(lease, row.algorithm);
        const { bytes, interrupted } = await places.receive(place, chunk, lease.signal);
        if (bytes === 0) {
          await places.discard(place);
        } else {
          await ending.record(lease, place);
          lease.settled();
          places.remember(row.id, place.digester);
        }
        if (interrupted !== undefined) throw interrupted;
        return { id, offset: row.byte_offset + bytes };
      }),

    complete: (id, target, chunk) =>
      withLease(id, target.name, async (lease) => {
        const { row } = lease;
        refuseElsewhere(row);
        refuseChunk(row, chunk);
        await ending.complete(lease, target, chunk);
        lease.settled();
        places.forget(row.id);
      }),

    cancel: (id, name) =>
      withLease(id, name, async (lease) => {
        await ending.cancel(lease);
        places.forget(id);
      }),

    putWhole: (target, chunk) => ending.whole(target, chunk),
  };
}

function refuseChunk(row: UploadRow, { body, range }: Chunk): void {
  if (row.closed && body !== null)
    throw new RegistryError('uploadInvalid', {
      message:
        'a digest was given for all of this upload, so that no more bytes can follow; give the right one, or start a new upload',
    });
  if (range === null || range.start === row.byte_offset) return;
  throw new UploadRangeError(
    { id: row.id, offset: row.byte_offset },
    `the chunk begins at byte ${range.start}, but the upload stands at ${row.byte_offset}; send on from there`,
  );
}
