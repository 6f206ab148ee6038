/** Points tags at a manifest, inside the transaction that pushes it. */
import type { Queryer } from '../database/pool.ts';
import { digestFromBytes, type Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Tag } from '../oci/reference.ts';
import { insertTagHistory, insertTags, lockTags, moveTags, type TagMove } from './sql/tags.ts';

/**
 * What must be true of a tag for a request to count, RFC 9110 section 13.1: `absent` is `If-None-Match: *`, `present` is
 * `If-Match: *`, a list of digests is `If-Match` with those.
 */
export type TagCondition = 'absent' | 'present' | readonly Digest[] | null;

export interface TagMoves {
  readonly repositoryId: number;
  readonly tags: readonly Tag[];
  readonly digest: Buffer;
  readonly condition: TagCondition;
  readonly credentialId: number;
}

/**
 * @returns the tags that were made or moved
 * @throws RegistryError `preconditionFailed`
 */
export async function moveTagsTo(
  queryer: Queryer,
  { repositoryId, tags, digest, condition, credentialId }: TagMoves,
): Promise<TagMove[]> {
  const moves: TagMove[] = [];
  let open: readonly string[] = [...new Set<string>(tags)];
  // Each round settles the tags that are there and those that nobody else makes at this moment; the rest were made by
  // somebody meanwhile and are there in the next round, unless they were deleted again.
  while (open.length > 0) {
    const present = await lockTags(queryer, repositoryId, open);
    const names = new Set(present.map((row) => row.name));
    for (const name of open) checkCondition(condition, name, present.find((row) => row.name === name)?.digest ?? null);
    const moved = present.filter((row) => !row.digest.equals(digest));
    if (moved.length > 0) {
      const moving = moved.map((row) => row.name);
      await moveTags(queryer, repositoryId, moving, digest);
      moves.push(...moved.map((row) => ({ name: row.name, from: row.digest, to: digest })));
    }
    const absent = open.filter((name) => !names.has(name));
    const inserted = absent.length === 0 ? [] : await insertTags(queryer, repositoryId, absent, digest);
    moves.push(...inserted.map((name) => ({ name, from: null, to: digest })));
    open = absent.filter((name) => !inserted.includes(name));
  }
  await insertTagHistory(queryer, repositoryId, credentialId, moves);
  return moves;
}

/** @throws RegistryError `preconditionFailed` */
export function checkCondition(condition: TagCondition, tag: string, current: Buffer | null): void {
  if (condition === null) return;
  const digest = current === null ? null : digestFromBytes(current);
  if (
    condition === 'absent'
      ? digest === null
      : digest !== null && (condition === 'present' || condition.includes(digest))
  )
    return;
  const state = digest === null ? `the tag ${tag} does not exist` : `the tag ${tag} points to ${digest}`;
  throw new RegistryError('preconditionFailed', {
    message: `${state}, which is not what the request demands`,
    detail: { tag, digest },
  });
}
