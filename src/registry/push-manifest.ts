/**
 * A manifest push: one transaction in which everything that the manifest names is there and stays there.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
 */
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { digestFromBytes, digestToBytes, type Digest } from '../oci/digest.ts';
import { RegistryError, RegistryErrors } from '../oci/errors.ts';
import type { ManifestReference, ParsedManifest } from '../oci/manifest.ts';
import type { RepositoryName, Tag } from '../oci/reference.ts';
import { moveTagsTo, type TagCondition } from './move-tags.ts';
import type { Repositories } from './repositories.ts';
import { shareLinks } from './sql/blobs.ts';
import { insertManifest, insertReferences, shareManifests } from './sql/manifests.ts';
import { queueManifestReviews } from './sql/reviews.ts';
import type { TagMove } from './sql/tags.ts';

export interface ManifestPush {
  readonly name: RepositoryName;
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly manifest: ParsedManifest;
  readonly tags: readonly Tag[];
  readonly condition: TagCondition;
  readonly actor: Actor;
}

export interface PushManifestParts {
  readonly database: Database;
  readonly repositories: Repositories;
  /** Whether manifests may name content that is not there. */
  readonly sparse: 'accept' | 'reject';
  readonly reviewDelayHours: number;
}

/** @throws RegistryErrors with one `manifestBlobUnknown` for each missing content; RegistryError `preconditionFailed` */
export type PushManifest = (push: ManifestPush) => Promise<void>;

export function createPushManifest({
  database,
  repositories,
  sparse,
  reviewDelayHours,
}: PushManifestParts): PushManifest {
  return (push) =>
    database.transaction(async (queryer) => {
      const { id: repositoryId, namespaceId } = await repositories.ensure(queryer, push.name, push.actor);
      const missing = await shareContents(queryer, repositoryId, push.manifest.references);
      if (missing.length > 0 && sparse === 'reject') throw new RegistryErrors(missing.map(unknownContent));
      const digest = digestToBytes(push.digest);
      await insertOrShare(queryer, repositoryId, digest, push);
      const moves = await moveTagsTo(queryer, {
        repositoryId,
        tags: push.tags,
        digest,
        condition: push.condition,
        credentialId: push.actor.credentialId!,
      });
      const losers = moves.flatMap((move) => (move.from === null ? [] : [move.from]));
      const reviews = [
        { digest, reason: 'pushed' } as const,
        ...losers.map((loser) => ({ digest: loser, reason: 'tag-moved' }) as const),
      ];
      await queueManifestReviews(queryer, repositoryId, reviews, reviewDelayHours);
      await recordAudit(queryer, push.actor, {
        action: 'manifest.push',
        namespaceId,
        repositoryId,
        target: `${push.name}@${push.digest}`,
        before: tagsBefore(moves),
        after: { mediaType: push.manifest.mediaType, size: push.bytes.length, tags: push.tags },
        outcome: 'done',
      });
    });
}

/** Where each moved tag pointed; null for one that is new. */
function tagsBefore(moves: readonly TagMove[]): Record<string, string | null> {
  return Object.fromEntries(moves.map(({ name, from }) => [name, from === null ? null : digestFromBytes(from)]));
}

/** Locks what the manifest names, and returns what it needs and does not have. */
async function shareContents(
  queryer: Queryer,
  repositoryId: number,
  references: readonly ManifestReference[],
): Promise<ManifestReference[]> {
  const bytesOf = (kinds: (reference: ManifestReference) => boolean): Buffer[] =>
    references.filter(kinds).map((reference) => digestToBytes(reference.digest));
  const links = await shareLinks(
    queryer,
    repositoryId,
    bytesOf((reference) => reference.kind !== 'manifest'),
  );
  const manifests = await shareManifests(
    queryer,
    repositoryId,
    bytesOf((reference) => reference.kind === 'manifest'),
  );
  const there = {
    links: new Set(links.map((digest) => digest.toString('hex'))),
    manifests: new Set(manifests.map((digest) => digest.toString('hex'))),
  };
  const missing = references.filter((reference) => {
    const set = reference.kind === 'manifest' ? there.manifests : there.links;
    return reference.required && !set.has(digestToBytes(reference.digest).toString('hex'));
  });
  return [...new Map(missing.map((reference) => [reference.digest, reference])).values()];
}

/** Inserts the manifest with what it names; one that is there already is locked instead. */
async function insertOrShare(
  queryer: Queryer,
  repositoryId: number,
  digest: Buffer,
  { bytes, manifest }: ManifestPush,
): Promise<void> {
  const row = {
    digest,
    mediaType: manifest.mediaType,
    artifactType: manifest.artifactType ?? null,
    bytes,
    subject: manifest.subject === undefined ? null : digestToBytes(manifest.subject.digest),
    annotations: manifest.annotations,
  };
  for (;;) {
    if (await insertManifest(queryer, repositoryId, row)) {
      await insertReferences(queryer, repositoryId, digest, manifest.references);
      return;
    }
    // Deleted between the two statements: insert again.
    if ((await shareManifests(queryer, repositoryId, [digest])).length > 0) return;
  }
}

function unknownContent(reference: ManifestReference): RegistryError {
  const { kind, digest, mediaType, size } = reference;
  return new RegistryError('manifestBlobUnknown', {
    message: `the manifest names the ${kind} ${digest}, which is not in this repository; push it first`,
    detail: { kind, digest, mediaType, size },
  });
}
