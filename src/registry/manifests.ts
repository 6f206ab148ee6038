/**
 * Manifests of a repository: found by tag or digest, deleted.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
 */
import { LRUCache } from 'lru-cache';
import type { Caller } from '../access/caller.ts';
import { findInGroups, hotBatch, subjectKey, type Found, type Standing } from '../access/lookup.ts';
import { createBatch, type Ask } from '../database/batch.ts';
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { digestFromBytes, digestToBytes, type Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Reference, RepositoryName, Tag } from '../oci/reference.ts';
import { createByteCache } from './byte-cache.ts';
import { checkCondition, type TagCondition } from './move-tags.ts';
import { findManifestsByDigest, findManifestsByTag, type ManifestRow } from './sql/hot.ts';
import {
  deleteManifest,
  deleteReferences,
  findManifestBytes,
  findReferrerDigests,
  lockManifest,
} from './sql/manifests.ts';
import { shareRepository } from './sql/repositories.ts';
import { queueLinkReviews, queueManifestReviews } from './sql/reviews.ts';
import { deleteTag, deleteTags, insertTagHistory, lockTags, lockTagsOf } from './sql/tags.ts';

/** A manifest as a repository has it. */
export interface Manifest {
  readonly repositoryId: number;
  readonly digest: Digest;
  readonly mediaType: string;
  /** In bytes. */
  readonly size: number;
}

export interface Manifests {
  /** The caller's standing and the manifest, in one hot statement; `manifest` is null when the repository has none by this reference. */
  find(
    caller: Caller,
    name: RepositoryName,
    reference: Reference,
  ): Promise<{ readonly standing: Standing; readonly manifest: Manifest | null }>;
  /** The bytes exactly as pushed; undefined when the manifest was deleted since it was found. */
  read(manifest: Manifest): Promise<Buffer | undefined>;
  /** Removes a tag; its manifest stays until the garbage collector finds that nothing holds it. @throws RegistryError `manifestUnknown`, `preconditionFailed` */
  untag(name: RepositoryName, tag: Tag, condition: TagCondition, actor: Actor): Promise<void>;
  /** Removes a manifest and every tag on it. @throws RegistryError `manifestUnknown` */
  delete(name: RepositoryName, digest: Digest, actor: Actor): Promise<void>;
}

export interface ManifestParts {
  readonly database: Database;
  readonly reviewDelayHours: number;
  /** Memory for manifests, in bytes. */
  readonly cacheBytes: number;
}

/** The stored form of a digest in hex, as the hot statements give it, and the digest; a few thousand are asked for again and again. */
const digestTextsMax = 10_000;

export function createManifests({ database, reviewDelayHours, cacheBytes }: ManifestParts): Manifests {
  const cached = createByteCache(cacheBytes);
  const digestTexts = new LRUCache<string, Digest>({ max: digestTextsMax });

  const byTag: Ask<{ caller: Caller; name: RepositoryName; tag: Tag }, Found<ManifestRow>> = createBatch(
    async (questions) =>
      findInGroups(
        questions,
        ({ tag }) => tag,
        (parameters) => findManifestsByTag(database.hot, parameters),
      ),
    (question) => `${subjectKey(question)} ${question.tag}`,
    hotBatch,
  );
  const byDigest: Ask<{ caller: Caller; name: RepositoryName; digest: Digest }, Found<ManifestRow>> = createBatch(
    async (questions) =>
      findInGroups(
        questions,
        ({ digest }) => digestToBytes(digest).toString('hex'),
        (parameters) => findManifestsByDigest(database.hot, parameters),
      ),
    (question) => `${subjectKey(question)} ${question.digest}`,
    hotBatch,
  );
  const bytesOf: Ask<Manifest, Buffer | null> = createBatch(
    async (questions) => {
      const rows = await findManifestBytes(
        database.hot,
        questions.map(({ repositoryId }) => repositoryId),
        questions.map(({ digest }) => digestToBytes(digest)),
      );
      return rows.map((row) => row.bytes);
    },
    ({ repositoryId, digest }) => `${repositoryId} ${digest}`,
    hotBatch,
  );

  function digestOfHex(hex: string): Digest {
    let digest = digestTexts.get(hex);
    if (digest === undefined) {
      digest = digestFromBytes(Buffer.from(hex, 'hex'));
      digestTexts.set(hex, digest);
    }
    return digest;
  }

  function manifestOf(row: ManifestRow, repositoryId: number | null): Manifest | null {
    if (row.digest === null || row.media_type === null || row.size === null || repositoryId === null) return null;
    return {
      repositoryId,
      digest: digestOfHex(row.digest),
      mediaType: row.media_type,
      size: row.size,
    };
  }

  return {
    async find(caller, name, reference) {
      const { standing, row } =
        reference.kind === 'tag'
          ? await byTag({ caller, name, tag: reference.tag })
          : await byDigest({ caller, name, digest: reference.digest });
      return { standing, manifest: manifestOf(row, standing.repositoryId) };
    },

    async read(manifest) {
      const known = cached.get(manifest.digest);
      if (known !== undefined) return known;
      const bytes = await bytesOf(manifest);
      if (bytes === null) return undefined;
      cached.set(manifest.digest, bytes);
      return bytes;
    },

    untag: (name, tag, condition, actor) =>
      database.transaction(async (queryer) => {
        const repository = await shareRepository(queryer, name);
        const [row] = repository === undefined ? [] : await lockTags(queryer, repository.id, [tag]);
        checkCondition(condition, tag, row?.digest ?? null);
        if (repository === undefined || row === undefined)
          throw new RegistryError('manifestUnknown', { detail: { tag } });
        const { id: repositoryId, namespaceId } = repository;
        await deleteTag(queryer, repositoryId, tag);
        await insertTagHistory(queryer, repositoryId, actor.credentialId!, [{ name: tag, from: row.digest, to: null }]);
        await recordAudit(queryer, actor, {
          action: 'tag.delete',
          namespaceId,
          repositoryId,
          target: `${name}:${tag}`,
          before: { digest: digestFromBytes(row.digest) },
          outcome: 'done',
        });
        await queueManifestReviews(
          queryer,
          repositoryId,
          [{ digest: row.digest, reason: 'tag-deleted' }],
          reviewDelayHours,
        );
      }),

    delete: (name, digest, actor) =>
      database.transaction(async (queryer) => {
        const stored = digestToBytes(digest);
        const repository = await shareRepository(queryer, name);
        // Locked before its tags are looked for: a push that tags it has committed, or waits and finds it gone.
        if (repository === undefined || !(await lockManifest(queryer, repository.id, stored)))
          throw new RegistryError('manifestUnknown', { detail: { digest } });
        const { id: repositoryId, namespaceId } = repository;
        const tags = await lockTagsOf(queryer, repositoryId, stored);
        await deleteTags(queryer, repositoryId, tags);
        await insertTagHistory(
          queryer,
          repositoryId,
          actor.credentialId!,
          tags.map((tag) => ({ name: tag, from: stored, to: null })),
        );
        await releaseContents(queryer, repositoryId, stored, reviewDelayHours);
        await deleteManifest(queryer, repositoryId, stored);
        await recordAudit(queryer, actor, {
          action: 'manifest.delete',
          namespaceId,
          repositoryId,
          target: `${name}@${digest}`,
          before: { tags },
          outcome: 'done',
        });
      }),
  };
}

/** What a manifest named, and what named it as its subject, has lost a holder: to be reviewed. */
async function releaseContents(
  queryer: Queryer,
  repositoryId: number,
  digest: Buffer,
  delayHours: number,
): Promise<void> {
  const released = await deleteReferences(queryer, repositoryId, digest);
  const children = released.filter(({ kind }) => kind === 'manifest').map(({ child }) => child);
  const blobs = released.filter(({ kind }) => kind !== 'manifest').map(({ child }) => child);
  const referrers = await findReferrerDigests(queryer, repositoryId, digest);
  await queueLinkReviews(queryer, repositoryId, blobs, 'parent-deleted', delayHours);
  const reviews = [
    ...children.map((child) => ({ digest: child, reason: 'parent-deleted' }) as const),
    ...referrers.map((referrer) => ({ digest: referrer, reason: 'subject-deleted' }) as const),
  ];
  await queueManifestReviews(queryer, repositoryId, reviews, delayHours);
}
