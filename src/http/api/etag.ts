/** Versions of what the API shows: entity tags, and the conditions that name them (RFC 9110 section 13). */
import { createHash } from 'node:crypto';
import { ApiError } from '../../oci/problem.ts';

const etagChars = 22;

/** JSON with sorted keys: the same value is the same text, in whatever order its fields were put together. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

/** A strong entity tag: equal exactly for equal JSON. */
export function etagOf(value: unknown): string {
  return `"${createHash('sha256').update(canonicalJson(value)).digest('base64url').slice(0, etagChars)}"`;
}

/**
 * Refuses an edit of something that is not (any more) what its editor saw.
 * @param ifMatch the header; undefined passes, and so does `*` (it is there, or nobody would ask)
 * @param current what an operation that reads would send now, or its `version` where it gives one
 * @throws ApiError `preconditionFailed`
 */
export function checkIfMatch(ifMatch: string | undefined, current: unknown): void {
  if (ifMatch === undefined || ifMatch.trim() === '*') return;
  const etag = etagOf(current);
  // Strong comparison: a weak tag equals nothing.
  if (ifMatch.split(',').some((each) => each.trim() === etag)) return;
  throw new ApiError('preconditionFailed', 'this was changed since you read it; nothing was done');
}
