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

export interface Review {
  readonly digest: Buffer;
  readonly reason: ReviewReason;
}

async function queue(
  queryer: Queryer,
  table: 'gc_link_reviews' | 'gc_manifest_reviews',
  repositoryId: number,
  reviews: readonly Review[],
  delayHours: number,
): Promise<void> {
  if (reviews.length === 0) return;
  // One row for each digest: a statement must not meet its own.
  const each = [...new Map(reviews.map((review) => [review.digest.toString('hex'), review])).values()];
  await queryer.query(
    `INSERT INTO ${table} AS review (repository_id, digest, review_after, reason)
     SELECT $1, digest, now() + make_interval(hours => $4), reason
     FROM unnest($2::bytea[], $3::text[]) AS born (digest, reason) ORDER BY digest
     ON CONFLICT (repository_id, digest) DO UPDATE
     SET review_after = greatest(review.review_after, excluded.review_after), reason = excluded.reason`,
    [repositoryId, each.map(({ digest }) => digest), each.map(({ reason }) => reason), delayHours],
  );
}

export async function queueLinkReviews(
  queryer: Queryer,
  repositoryId: number,
  digests: readonly Buffer[],
  reason: ReviewReason,
  delayHours: number,
): Promise<void> {
  const reviews = digests.map((digest) => ({ digest, reason }));
  await queue(queryer, 'gc_link_reviews', repositoryId, reviews, delayHours);
}

/**
 * To be asked once in a transaction, after its tags are locked, with all that it has to say: rows are written in key order,
 * and two transactions that each hold a review or a tag which the other one wants cost a second of waiting.
 */
export async function queueManifestReviews(
  queryer: Queryer,
  repositoryId: number,
  reviews: readonly Review[],
  delayHours: number,
): Promise<void> {
  await queue(queryer, 'gc_manifest_reviews', repositoryId, reviews, delayHours);
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
