/**
 * The hot reads: one statement answers who is asking, what it may see, and what it asked for. Each is prepared once and
 * asked over arrays (`database/batch.ts`). The joins are lateral with OFFSET 0 for the reason that `pullingSubjectJoins` gives.
 */
import { pullingSubjectJoins, subjectColumnsWhere, type SubjectRow } from '../../access/sql/subject.ts';
import type { Queryer } from '../../database/pool.ts';

/**
 * A question is a caller and a repository, and the list of what is asked for in it, parted by spaces: whoever asks for many
 * things at once is looked up once. The rows come in the order of the lists; the first of each list has the subject.
 */
const questions = `unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
  WITH ORDINALITY AS question (name, namespace, credential_id, kid, asked, i)`;
const askedJoin = `
  CROSS JOIN LATERAL unnest(string_to_array(question.asked, ' ')) WITH ORDINALITY AS asked (text, j)`;
const subjectOnce = subjectColumnsWhere('asked.j = 1');

/** `digest` and the rest are null when there is no such manifest. The digest is hex of the stored bytea: cheaper to read than a Buffer. */
export interface ManifestRow extends SubjectRow {
  readonly digest: string | null;
  readonly media_type: string | null;
  readonly size: number | null;
}

const manifestByTagSql = `
  SELECT ${subjectOnce}, encode(t.digest, 'hex') AS digest, m.media_type, m.size
  FROM ${questions} ${pullingSubjectJoins} ${askedJoin}
  LEFT JOIN LATERAL (SELECT digest FROM tags WHERE repository_id = r.id AND name = asked.text OFFSET 0) t ON true
  LEFT JOIN LATERAL (SELECT media_type, size FROM manifests WHERE repository_id = r.id AND digest = t.digest OFFSET 0) m ON true
  ORDER BY question.i, asked.j`;

const manifestByDigestSql = `
  SELECT ${subjectOnce}, encode(m.digest, 'hex') AS digest, m.media_type, m.size
  FROM ${questions} ${pullingSubjectJoins} ${askedJoin}
  LEFT JOIN LATERAL (
    SELECT digest, media_type, size FROM manifests WHERE repository_id = r.id AND digest = decode(asked.text, 'hex') OFFSET 0
  ) m ON true
  ORDER BY question.i, asked.j`;

export interface BlobRow extends SubjectRow {
  /** Null when the repository has no link to the blob. */
  readonly storage_key: string | null;
  readonly size: number | null;
}

const blobSql = `
  SELECT ${subjectOnce}, b.storage_key, b.size
  FROM ${questions} ${pullingSubjectJoins} ${askedJoin}
  LEFT JOIN LATERAL (
    SELECT digest FROM repository_blobs WHERE repository_id = r.id AND digest = decode(asked.text, 'hex') OFFSET 0
  ) l ON true
  LEFT JOIN LATERAL (SELECT storage_key, size FROM blobs WHERE digest = l.digest OFFSET 0) b ON true
  ORDER BY question.i, asked.j`;

export const findManifestsByTag = (queryer: Queryer, parameters: unknown[]): Promise<ManifestRow[]> =>
  queryer.query<ManifestRow>(manifestByTagSql, parameters);

/** Asks for digests as hex of their stored form. */
export const findManifestsByDigest = (queryer: Queryer, parameters: unknown[]): Promise<ManifestRow[]> =>
  queryer.query<ManifestRow>(manifestByDigestSql, parameters);

/** Asks for digests as hex of their stored form. */
export const findBlobs = (queryer: Queryer, parameters: unknown[]): Promise<BlobRow[]> =>
  queryer.query<BlobRow>(blobSql, parameters);
