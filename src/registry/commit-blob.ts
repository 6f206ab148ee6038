/** The moment a blob becomes true: its bytes are durable in storage, then one transaction says so. */
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { digestToBytes, type Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/reference.ts';
import type { BlobStore, StorageKey, UploadState } from '../storage/port.ts';
import type { Repositories } from './repositories.ts';
import { insertLink, insertOrShareBlob } from './sql/blobs.ts';
import { queueLinkReviews } from './sql/reviews.ts';
import { queueStorageDeletion } from './sql/storage-deletions.ts';

/** What an upload is to become, and who says so. */
export interface BlobTarget {
  readonly name: RepositoryName;
  readonly digest: Digest;
  readonly actor: Actor;
}

export interface FinishedUpload extends BlobTarget {
  readonly size: number;
  readonly state: UploadState;
}

export interface CommitBlobParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly repositories: Repositories;
  /** Hours until a new link is first reviewed by the garbage collector. */
  readonly reviewDelayHours: number;
}

export interface CommitSteps {
  /** Looks at the object before anything names it; when it throws nothing does. */
  readonly check?: (key: StorageKey) => Promise<void>;
  /** Runs in the blob's transaction; when it throws nothing has happened but an object that nothing names. */
  readonly endSession: (queryer: Queryer) => Promise<void>;
}

export type CommitBlob = (upload: FinishedUpload, steps: CommitSteps) => Promise<void>;

/**
 * Commits bytes whose digest and size have been checked, or will be by `check`, and links them to the repository.
 *
 * A crash between the two steps leaves an object that nothing names (the reconciler finds it), never a blob without
 * bytes. When the same digest is committed twice at once the first copy stays, and the other is queued for deletion.
 */
export function createCommitBlob({ database, store, repositories, reviewDelayHours }: CommitBlobParts): CommitBlob {
  return async (upload, { check, endSession }) => {
    const key = await store.commit(upload.state, upload.digest, upload.size);
    await check?.(key);
    const digest = digestToBytes(upload.digest);
    await database.transaction(async (queryer) => {
      const { id: repositoryId, namespaceId } = await repositories.ensure(queryer, upload.name, upload.actor);
      const kept = await insertOrShareUntilThere(queryer, digest, upload.size, key);
      if (kept !== key) await queueStorageDeletion(queryer, key, 'the same blob was already there');
      await insertLink(queryer, repositoryId, digest);
      await queueLinkReviews(queryer, repositoryId, [digest], 'uploaded', reviewDelayHours);
      await recordAudit(queryer, upload.actor, {
        action: 'blob.push',
        namespaceId,
        repositoryId,
        target: `${upload.name}@${upload.digest}`,
        after: { size: upload.size },
        outcome: 'done',
      });
      await endSession(queryer);
    });
  };
}

async function insertOrShareUntilThere(queryer: Queryer, digest: Buffer, size: number, key: string): Promise<string> {
  for (;;) {
    const kept = await insertOrShareBlob(queryer, digest, size, key);
    if (kept !== undefined) return kept;
  }
}
