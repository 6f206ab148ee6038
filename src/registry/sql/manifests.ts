/** Manifests, what they name, and who refers to them. */
import type { Queryer } from '../../database/pool.ts';
import type { ManifestReference } from '../../oci/manifest.ts';
import { digestToBytes } from '../../oci/digest.ts';

export interface NewManifest {
  readonly digest: Buffer;
  readonly mediaType: string;
  readonly artifactType: string | null;
  readonly bytes: Buffer;
  readonly subject: Buffer | null;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Inserts a manifest. False when it is there already; a concurrent push of the same one is waited for. */
export async function insertManifest(queryer: Queryer, repositoryId: number, manifest: NewManifest): Promise<boolean> {
  const rows = await queryer.query(
    `INSERT INTO manifests (repository_id, digest, media_type, artifact_type, bytes, subject, annotations)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (repository_id, digest) DO NOTHING RETURNING size`,
    [
      repositoryId,
      manifest.digest,
      manifest.mediaType,
      manifest.artifactType,
      manifest.bytes,
      manifest.subject,
      Object.keys(manifest.annotations).length === 0 ? null : JSON.stringify(manifest.annotations),
    ],
  );
  return rows.length > 0;
}

export async function insertReferences(
  queryer: Queryer,
  repositoryId: number,
  parent: Buffer,
  references: readonly ManifestReference[],
): Promise<void> {
  if (references.length === 0) return;
  await queryer.query(
    `INSERT INTO manifest_references (repository_id, parent, position, child, kind)
     SELECT $1, $2, i - 1, child, kind FROM unnest($3::bytea[], $4::text[]) WITH ORDINALITY AS reference (child, kind, i)`,
    [
      repositoryId,
      parent,
      references.map((reference) => digestToBytes(reference.digest)),
      references.map((reference) => reference.kind),
    ],
  );
}

/** Locks manifests against deletion and returns those that are there. In key order, against deadlocks. */
export async function shareManifests(
  queryer: Queryer,
  repositoryId: number,
  digests: readonly Buffer[],
): Promise<Buffer[]> {
  if (digests.length === 0) return [];
  const rows = await queryer.query<{ digest: Buffer }>(
    'SELECT digest FROM manifests WHERE repository_id = $1 AND digest = ANY ($2::bytea[]) ORDER BY digest FOR KEY SHARE',
    [repositoryId, digests],
  );
  return rows.map((row) => row.digest);
}

/** Locks one manifest for deletion. False when there is none. */
export async function lockManifest(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<boolean> {
  const rows = await queryer.query('SELECT 1 FROM manifests WHERE repository_id = $1 AND digest = $2 FOR UPDATE', [
    repositoryId,
    digest,
  ]);
  return rows.length > 0;
}

/** Deletes what a manifest names, and returns it: each has lost a holder. */
export async function deleteReferences(
  queryer: Queryer,
  repositoryId: number,
  parent: Buffer,
): Promise<{ child: Buffer; kind: ManifestReference['kind'] }[]> {
  return queryer.query(
    'DELETE FROM manifest_references WHERE repository_id = $1 AND parent = $2 RETURNING child, kind',
    [repositoryId, parent],
  );
}

/** Manifests whose subject this one is. */
export async function findReferrerDigests(queryer: Queryer, repositoryId: number, subject: Buffer): Promise<Buffer[]> {
  const rows = await queryer.query<{ digest: Buffer }>(
    'SELECT digest FROM manifests WHERE repository_id = $1 AND subject = $2',
    [repositoryId, subject],
  );
  return rows.map((row) => row.digest);
}

export async function deleteManifest(queryer: Queryer, repositoryId: number, digest: Buffer): Promise<void> {
  await queryer.query('DELETE FROM manifests WHERE repository_id = $1 AND digest = $2', [repositoryId, digest]);
}

/** The bytes of manifests in some repository, by digest: they are the same in all of them. Rows come in any order, one for each that is there. */
export async function findManifestBytes(
  queryer: Queryer,
  repositoryIds: readonly number[],
  digests: readonly Buffer[],
): Promise<{ i: number; bytes: Buffer | null }[]> {
  return queryer.query(
    `SELECT question.i, m.bytes FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS question (repository_id, digest, i)
     LEFT JOIN manifests m ON m.repository_id = question.repository_id AND m.digest = question.digest
     ORDER BY question.i`,
    [repositoryIds, digests],
  );
}

export interface ReferrerRow {
  readonly digest: Buffer;
  readonly media_type: string;
  readonly size: number;
  readonly artifact_type: string | null;
  readonly annotations: Readonly<Record<string, string>> | null;
}

/** Manifests that name this subject, behind `last`, in digest order. */
export async function findReferrers(
  queryer: Queryer,
  repositoryId: number,
  subject: Buffer,
  artifactType: string | null,
  last: Buffer,
  limit: number,
): Promise<ReferrerRow[]> {
  return queryer.query<ReferrerRow>(
    `SELECT digest, media_type, size, artifact_type, annotations FROM manifests
     WHERE repository_id = $1 AND subject = $2 AND digest > $4 AND ($3::text IS NULL OR artifact_type = $3)
     ORDER BY digest LIMIT $5`,
    [repositoryId, subject, artifactType, last, limit],
  );
}
