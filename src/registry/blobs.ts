/**
 * Blobs of a repository: read, mounted from another one, unlinked.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs
 */
import type { Caller } from '../access/caller.ts';
import { findInGroups, hotBatch, subjectKey, type Found, type Standing } from '../access/lookup.ts';
import type { Subject } from '../access/policy.ts';
import { createBatch, type Ask } from '../database/batch.ts';
import type { Database } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { digestFromBytes, digestToBytes, type Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/reference.ts';
import { StorageUnavailableError, type BlobStore, type ByteRange, type StorageKey } from '../storage/port.ts';
import { createByteCache } from './byte-cache.ts';
import type { Repositories } from './repositories.ts';
import {
  deleteLink,
  findReferringManifest,
  hasLink,
  hasReadableLink,
  insertLink,
  lockLink,
  shareBlob,
} from './sql/blobs.ts';
import { findBlobs, type BlobRow } from './sql/hot.ts';
import { queueBlobReview, queueLinkReviews } from './sql/reviews.ts';
import { shareRepository } from './sql/repositories.ts';

/** A blob as a repository has it. */
export interface Blob {
  readonly digest: Digest;
  readonly size: number;
  readonly storageKey: StorageKey;
}

export interface Blobs {
  /** The caller's standing and the blob, in one hot statement; `blob` is null when the repository has no link to it. */
  find(
    caller: Caller,
    name: RepositoryName,
    digest: Digest,
  ): Promise<{ readonly standing: Standing; readonly blob: Blob | null }>;
  /** All bytes of a small blob from memory; undefined when it is too large to be kept there. @throws StorageUnavailableError, as `read` */
  readSmall(blob: Blob): Promise<Buffer | undefined>;
  /**
   * Streams part of a blob; see the port for how the buffers are lent.
   * @throws StorageUnavailableError also where the blob is in a storage that is not set up here
   */
  read(blob: Blob, range: ByteRange): Promise<AsyncIterable<Buffer>>;
  /** Where the blob can be fetched from storage itself, for a short time, whatever becomes of rights; null where it cannot. */
  addressOf(blob: Blob): Promise<string | null>;
  /** Links a blob that is there already; false when there is nothing to mount. The caller has checked that the source may be read. */
  mount(name: RepositoryName, digest: Digest, actor: Actor): Promise<boolean>;
  isLinked(repositoryId: number, digest: Digest): Promise<boolean>;
  /** Whether the blob is in any repository that the subject may read. */
  isReadable(subject: Subject, digest: Digest): Promise<boolean>;
  /** Removes the link; the bytes are left to the garbage collector. @throws RegistryError `blobUnknown`, `blobInUse` */
  unlink(name: RepositoryName, digest: Digest, actor: Actor): Promise<void>;
}

export interface BlobParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly repositories: Repositories;
  readonly reviewDelayHours: number;
  /** Memory for small blobs, and the largest that is kept; both in bytes. */
  readonly cache: { readonly blobBytes: number; readonly blobEntryBytesMax: number };
}

export function createBlobs({ database, store, repositories, reviewDelayHours, cache }: BlobParts): Blobs {
  const small = createByteCache(cache.blobBytes);

  function keyOf({ digest, storageKey: key }: Blob): StorageKey {
    if (store.recognizes(key)) return key;
    throw new StorageUnavailableError(
      `${digest} is stored as ${key}, in a storage that is not set up here: BERTH_STORAGE or BERTH_STORAGE_PREVIOUS has to name it`,
    );
  }

  const ask: Ask<{ caller: Caller; name: RepositoryName; digest: Digest }, Found<BlobRow>> = createBatch(
    async (questions) =>
      findInGroups(
        questions,
        ({ digest }) => digestToBytes(digest).toString('hex'),
        (parameters) => findBlobs(database.hot, parameters),
      ),
    (question) => `${subjectKey(question)} ${question.digest}`,
    hotBatch,
  );

  return {
    async find(caller, name, digest) {
      const { standing, row } = await ask({ caller, name, digest });
      const blob =
        row.storage_key === null || row.size === null
          ? null
          : { digest, size: row.size, storageKey: row.storage_key as StorageKey };
      return { standing, blob };
    },

    async readSmall(blob) {
      if (blob.size > cache.blobEntryBytesMax) return undefined;
      const known = small.get(blob.digest);
      if (known !== undefined) return known;
      const bytes = Buffer.allocUnsafeSlow(blob.size);
      let at = 0;
      if (blob.size > 0)
        for await (const piece of await store.read(keyOf(blob), { start: 0, length: blob.size }))
          at += piece.copy(bytes, at);
      small.set(blob.digest, bytes);
      return bytes;
    },

    read: async (blob, range) => store.read(keyOf(blob), range),

    addressOf: async (blob) => (await store.presign?.(keyOf(blob))) ?? null,

    mount: (name, digest, actor) =>
      database.transaction(async (queryer) => {
        const stored = digestToBytes(digest);
        if (!(await shareBlob(queryer, stored))) return false;
        const { id: repositoryId, namespaceId } = await repositories.ensure(queryer, name, actor);
        await insertLink(queryer, repositoryId, stored);
        await queueLinkReviews(queryer, repositoryId, [stored], 'mounted', reviewDelayHours);
        const target = `${name}@${digest}`;
        await recordAudit(queryer, actor, { action: 'blob.mount', namespaceId, repositoryId, target, outcome: 'done' });
        return true;
      }),

    isLinked: (repositoryId, digest) => hasLink(database, repositoryId, digestToBytes(digest)),

    isReadable: (subject, digest) => hasReadableLink(database, digestToBytes(digest), subject),

    unlink: (name, digest, actor) =>
      database.transaction(async (queryer) => {
        const stored = digestToBytes(digest);
        const repository = await shareRepository(queryer, name);
        if (repository === undefined || !(await lockLink(queryer, repository.id, stored)))
          throw new RegistryError('blobUnknown', { detail: { digest } });
        const { id: repositoryId, namespaceId } = repository;
        // Locked first, looked second: a push that named this blob has committed, or will find the link gone.
        const user = await findReferringManifest(queryer, repositoryId, stored);
        if (user !== undefined) {
          const manifest = digestFromBytes(user);
          throw new RegistryError('blobInUse', {
            message: `the manifest ${manifest} still uses this blob; delete the manifest first`,
            detail: { digest, manifest },
          });
        }
        await deleteLink(queryer, repositoryId, stored);
        await queueBlobReview(queryer, stored, 'link-deleted', reviewDelayHours);
        const target = `${name}@${digest}`;
        await recordAudit(queryer, actor, {
          action: 'blob.delete',
          namespaceId,
          repositoryId,
          target,
          outcome: 'done',
        });
      }),
  };
}
