/**
 * What the garbage collector must look at again, and when. A review is queued when a thing is born and when it loses a
 * holder; a later signal moves the review further away and never loses one.
 */
import type { Queryer } from '../../database/pool.ts';

/** Why a review was queued; kept for the person who asks why a byte is still there. */
export type ReviewReason =
  | 'uploaded'
  | 'mounted'
  | 'pushed'
  | 'tag-moved'
  | 'tag-deleted'
  | 'parent-deleted'
  | 'subject-deleted'
  | 'link-deleted';

/** Arrays are sorted by their digests before they get here: rows of several reviews are always written in key order. */
const byDigest = (a: Buffer, b: Buffer): number => Buffer.compare(a, b);

async function queue(
  queryer: Queryer,
  table: 'gc_link_reviews' | 'gc_manifest_reviews',
  repositoryId: number,
  digests: readonly Buffer[],
  reason: ReviewReason,
  delayHours: number,
): Promise<void> {
  if (digests.length === 0) return;
  await queryer.query(
    `INSERT INTO ${table} AS review (repository_id, digest, review_after, reason)
     SELECT $1, digest, now() + make_interval(hours => $4), $3 FROM unnest($2::bytea[]) AS digest ORDER BY digest
     ON CONFLICT (repository_id, digest) DO UPDATE
     SET review_after = greatest(review.review_after, excluded.review_after), reason = excluded.reason`,
    [repositoryId, distinct(digests), reason, delayHours],
  );
}

function distinct(digests: readonly Buffer[]): Buffer[] {
  return [...new Map(digests.map((digest) => [digest.toString('hex'), digest])).values()].toSorted(byDigest);
}

export async function queueLinkReviews(
  queryer: Queryer,
  repositoryId: number,
  digests: readonly Buffer[],
  reason: ReviewReason,
  delayHours: number,
): Promise<void> {
  await queue(queryer, 'gc_link_reviews', repositoryId, digests, reason, delayHours);
}

export async function queueManifestReviews(
  queryer: Queryer,
  repositoryId: number,
  digests: readonly Buffer[],
  reason: ReviewReason,
  delayHours: number,
): Promise<void> {
  await queue(queryer, 'gc_manifest_reviews', repositoryId, digests, reason, delayHours);
}

export async function queueBlobReview(
  queryer: Queryer,
  digest: Buffer,
  reason: ReviewReason,
  delayHours: number,
): Promise<void> {
  await queryer.query(
    `INSERT INTO gc_blob_reviews AS review (digest, review_after, reason)
     VALUES ($1, now() + make_interval(hours => $3), $2)
     ON CONFLICT (digest) DO UPDATE
     SET review_after = greatest(review.review_after, excluded.review_after), reason = excluded.reason`,
    [digest, reason, delayHours],
  );
}
