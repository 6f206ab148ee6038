/**
 * The hot reads: one statement answers who is asking, what it may see, and what it asked for. Each is prepared once and
 * asked over arrays (`database/batch.ts`). The joins are lateral with OFFSET 0 for the reason that `pullingSubjectJoins` gives.
 */
import { subjectColumns, pullingSubjectJoins, type SubjectRow } from '../../access/sql/subject.ts';
import type { Queryer } from '../../database/pool.ts';

const questions = 'unnest($1::text[], $2::text[], $3::bigint[], $4::text[]';

/** `digest` and the rest are null when there is no such manifest. The digest is hex of the stored bytea: cheaper to read than a Buffer. */
export interface ManifestRow extends SubjectRow {
  readonly digest: string | null;
  readonly media_type: string | null;
  readonly size: number | null;
}

const manifestByTagSql = `
  SELECT ${subjectColumns}, encode(t.digest, 'hex') AS digest, m.media_type, m.size
  FROM ${questions}, $5::text[]) WITH ORDINALITY AS question (name, namespace, credential_id, kid, tag, i)
  ${pullingSubjectJoins}
  LEFT JOIN LATERAL (SELECT digest FROM tags WHERE repository_id = r.id AND name = question.tag OFFSET 0) t ON true
  LEFT JOIN LATERAL (SELECT media_type, size FROM manifests WHERE repository_id = r.id AND digest = t.digest OFFSET 0) m ON true
  ORDER BY question.i`;

const manifestByDigestSql = `
  SELECT ${subjectColumns}, encode(m.digest, 'hex') AS digest, m.media_type, m.size
  FROM ${questions}, $5::bytea[]) WITH ORDINALITY AS question (name, namespace, credential_id, kid, digest, i)
  ${pullingSubjectJoins}
  LEFT JOIN LATERAL (
    SELECT digest, media_type, size FROM manifests WHERE repository_id = r.id AND digest = question.digest OFFSET 0
  ) m ON true
  ORDER BY question.i`;

export interface BlobRow extends SubjectRow {
  /** Null when the repository has no link to the blob. */
  readonly storage_key: string | null;
  readonly size: number | null;
}

const blobSql = `
  SELECT ${subjectColumns}, b.storage_key, b.size
  FROM ${questions}, $5::bytea[]) WITH ORDINALITY AS question (name, namespace, credential_id, kid, digest, i)
  ${pullingSubjectJoins}
  LEFT JOIN LATERAL (
    SELECT digest FROM repository_blobs WHERE repository_id = r.id AND digest = question.digest OFFSET 0
  ) l ON true
  LEFT JOIN LATERAL (SELECT storage_key, size FROM blobs WHERE digest = l.digest OFFSET 0) b ON true
  ORDER BY question.i`;

export async function findManifestsByTag(
  queryer: Queryer,
  subjects: unknown[],
  tags: readonly string[],
): Promise<ManifestRow[]> {
  return queryer.query<ManifestRow>(manifestByTagSql, [...subjects, tags]);
}

export async function findManifestsByDigest(
  queryer: Queryer,
  subjects: unknown[],
  digests: readonly Buffer[],
): Promise<ManifestRow[]> {
  return queryer.query<ManifestRow>(manifestByDigestSql, [...subjects, digests]);
}

export async function findBlobs(queryer: Queryer, subjects: unknown[], digests: readonly Buffer[]): Promise<BlobRow[]> {
  return queryer.query<BlobRow>(blobSql, [...subjects, digests]);
}
