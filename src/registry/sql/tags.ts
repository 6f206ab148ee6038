/** Tags: names that move from manifest to manifest, and the record of their moves. */
import type { Queryer } from '../../database/pool.ts';

export interface TagRow {
  readonly name: string;
  readonly digest: Buffer;
}

/** Locks tags that are there, in key order, against deadlocks between pushes of several. */
export async function lockTags(queryer: Queryer, repositoryId: number, names: readonly string[]): Promise<TagRow[]> {
  return queryer.query<TagRow>(
    'SELECT name, digest FROM tags WHERE repository_id = $1 AND name = ANY ($2::text[]) ORDER BY name FOR UPDATE',
    [repositoryId, names],
  );
}

/** Inserts tags in key order; returns the names that were new. The others were just made by somebody else. */
export async function insertTags(
  queryer: Queryer,
  repositoryId: number,
  names: readonly string[],
  digest: Buffer,
): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `INSERT INTO tags (repository_id, name, digest)
     SELECT $1, name, $3 FROM unnest($2::text[]) AS name ORDER BY name COLLATE "C"
     ON CONFLICT (repository_id, name) DO NOTHING RETURNING name`,
    [repositoryId, names, digest],
  );
  return rows.map((row) => row.name);
}

/** Moves tags that are locked. */
export async function moveTags(
  queryer: Queryer,
  repositoryId: number,
  names: readonly string[],
  digest: Buffer,
): Promise<void> {
  await queryer.query(
    'UPDATE tags SET digest = $3, updated_at = now() WHERE repository_id = $1 AND name = ANY ($2::text[])',
    [repositoryId, names, digest],
  );
}

export async function deleteTag(queryer: Queryer, repositoryId: number, name: string): Promise<void> {
  await queryer.query('DELETE FROM tags WHERE repository_id = $1 AND name = $2', [repositoryId, name]);
}

/** Locks every tag of a manifest, in key order, and returns their names. */
export async function lockTagsOf(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    'SELECT name FROM tags WHERE repository_id = $1 AND digest = $2 ORDER BY name FOR UPDATE',
    [repositoryId, digest],
  );
  return rows.map((row) => row.name);
}

export async function deleteTags(queryer: Queryer, repositoryId: number, names: readonly string[]): Promise<void> {
  await queryer.query('DELETE FROM tags WHERE repository_id = $1 AND name = ANY ($2::text[])', [repositoryId, names]);
}

export interface TagMove {
  readonly name: string;
  readonly from: Buffer | null;
  readonly to: Buffer | null;
}

export async function insertTagHistory(
  queryer: Queryer,
  repositoryId: number,
  credentialId: number,
  moves: readonly TagMove[],
): Promise<void> {
  if (moves.length === 0) return;
  await queryer.query(
    `INSERT INTO tag_history (repository_id, name, from_digest, to_digest, credential_id)
     SELECT $1, name, from_digest, to_digest, $2 FROM unnest($3::text[], $4::bytea[], $5::bytea[]) AS move (name, from_digest, to_digest)`,
    [
      repositoryId,
      credentialId,
      moves.map((move) => move.name),
      moves.map((move) => move.from),
      moves.map((move) => move.to),
    ],
  );
}

/** Names behind `last`, in byte order: an index-only walk over one page, however many tags there are. */
export async function listTags(queryer: Queryer, repositoryId: number, last: string, limit: number): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    'SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3',
    [repositoryId, last, limit],
  );
  return rows.map((row) => row.name);
}
