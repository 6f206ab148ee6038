/** Upload sessions: where a blob's bytes gather until their digest is known to be right. */
import type { Queryer } from '../../database/pool.ts';
import { digestAlgorithm, digestToBytes, type Digest, type DigestAlgorithm } from '../../oci/digest.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { UploadState } from '../../storage/port.ts';

export interface UploadRow {
  readonly id: string;
  readonly repository_name: string;
  readonly algorithm: DigestAlgorithm;
  /** Bytes received and durable. */
  readonly byte_offset: number;
  /** Null while there are no bytes, and where their digest is not known until they are an object. */
  readonly digest_so_far: Buffer | null;
  readonly storage_state: UploadState | null;
  /** Places beside `storage_state` that may hold bytes. */
  readonly other_places: readonly UploadState[];
  /** Whether the bytes may have become an object already, so that nothing can be appended. */
  readonly closed: boolean;
}

const columns = 'id, repository_name, algorithm, byte_offset, digest_so_far, storage_state, other_places, closed';

export interface NewUpload {
  readonly id: string;
  readonly name: RepositoryName;
  readonly credentialId: number;
  readonly userId: number | null;
  readonly algorithm: DigestAlgorithm;
  readonly expiryHours: number;
  /** Open uploads that one account may have. */
  readonly perAccountMax: number;
}

/**
 * Opens a session. Its commit need not reach the disk: nothing was promised but a place to write, and the first PATCH's
 * commit carries it. The setting is made inside the statement: a plain SET would stay on the pooled connection.
 * @returns false when the account has too many open uploads
 */
export async function insertUpload(queryer: Queryer, upload: NewUpload): Promise<boolean> {
  const rows = await queryer.query(
    `WITH asynchronous AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
     INSERT INTO uploads (id, repository_name, credential_id, user_id, algorithm, expires_at)
     SELECT $1, $2, $3::bigint, $4, $5, now() + make_interval(hours => $6) FROM asynchronous
     WHERE (SELECT count(*) FROM (
       SELECT 1 FROM uploads WHERE user_id = $4 OR ($4::bigint IS NULL AND credential_id = $3::bigint) LIMIT $7
     ) open) < $7
     RETURNING id`,
    [
      upload.id,
      upload.name,
      upload.credentialId,
      upload.userId,
      upload.algorithm,
      upload.expiryHours,
      upload.perAccountMax,
    ],
  );
  return rows.length > 0;
}

export interface LeasedUpload extends Omit<NewUpload, 'perAccountMax'> {
  readonly lease: string;
  readonly leaseSeconds: number;
  /** A place that is about to get its first byte. */
  readonly place: UploadState;
}

/** Notes a blob that comes in one request where its place is, durably: whoever dies writing it leaves a session that expires. */
export async function insertLeasedUpload(queryer: Queryer, upload: LeasedUpload): Promise<void> {
  await queryer.query(
    `INSERT INTO uploads (id, repository_name, credential_id, user_id, algorithm, expires_at, lease, lease_expires_at, other_places)
     VALUES ($1, $2, $3, $4, $5, now() + make_interval(hours => $6), $7, now() + make_interval(secs => $8), jsonb_build_array($9::jsonb))`,
    [
      upload.id,
      upload.name,
      upload.credentialId,
      upload.userId,
      upload.algorithm,
      upload.expiryHours,
      upload.lease,
      upload.leaseSeconds,
      JSON.stringify(upload.place),
    ],
  );
}

/** A session that has not expired. */
export async function findUpload(queryer: Queryer, id: string, name: RepositoryName): Promise<UploadRow | undefined> {
  const rows = await queryer.query<UploadRow>(
    `SELECT ${columns} FROM uploads WHERE id = $1 AND repository_name = $2 AND expires_at > now()`,
    [id, name],
  );
  return rows[0];
}

export interface LeasedRow extends UploadRow {
  /** True when the last writer never gave its lease back: it may still wake and write into the old place. */
  readonly taken_over: boolean;
}

/**
 * Takes the lease if nobody holds a live one. While the upload is empty its writer gets a place of its own, so losing this
 * commit in a crash harms nothing; from then on the lease is what keeps two writers out of one place, and must be durable.
 */
export async function takeLease(
  queryer: Queryer,
  id: string,
  name: RepositoryName,
  lease: string,
  leaseSeconds: number,
): Promise<LeasedRow | undefined> {
  const rows = await queryer.query<LeasedRow>(
    `WITH open AS MATERIALIZED (
       SELECT id, lease IS NOT NULL AS taken_over, set_config('synchronous_commit', CASE WHEN byte_offset = 0 THEN 'off' ELSE 'on' END, true)
       FROM uploads
       WHERE id = $1 AND repository_name = $2 AND expires_at > now() AND (lease IS NULL OR lease_expires_at < now())
       FOR UPDATE
     )
     UPDATE uploads SET lease = $3, lease_expires_at = now() + make_interval(secs => $4)
     FROM open WHERE uploads.id = open.id
     RETURNING ${columns.replace('id,', 'uploads.id,')}, open.taken_over`,
    [id, name, lease, leaseSeconds],
  );
  return rows[0];
}

/** Keeps a lease alive. False when it is lost. */
export async function renewLease(queryer: Queryer, id: string, lease: string, leaseSeconds: number): Promise<boolean> {
  const rows = await queryer.query(
    'UPDATE uploads SET lease_expires_at = now() + make_interval(secs => $3) WHERE id = $1 AND lease = $2 RETURNING id',
    [id, lease, leaseSeconds],
  );
  return rows.length > 0;
}

/** Adds a place that is about to get its first byte, durably. False when the lease is lost. */
export async function noteOtherPlace(
  queryer: Queryer,
  id: string,
  lease: string,
  place: UploadState,
): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE uploads SET other_places = other_places || jsonb_build_array($3::jsonb) WHERE id = $1 AND lease = $2 RETURNING id`,
    [id, lease, JSON.stringify(place)],
  );
  return rows.length > 0;
}

export interface Progress {
  readonly offset: number;
  /** Its algorithm becomes that of the session; null where the digest is not known. */
  readonly digest: Digest | null;
  readonly state: UploadState;
  readonly otherPlaces: readonly UploadState[];
  /** True: nothing can be appended from now on. */
  readonly closed: boolean;
}

/** Records durable bytes in one durable statement. False when the lease was lost: nothing is recorded then. */
export async function recordProgress(
  queryer: Queryer,
  id: string,
  lease: string,
  progress: Progress,
  options: { readonly expiryHours: number; readonly keepLease: boolean },
): Promise<boolean> {
  const rows = await queryer.query(
    `UPDATE uploads SET byte_offset = $3, digest_so_far = $4, algorithm = COALESCE($5, algorithm), storage_state = $6,
       expires_at = now() + make_interval(hours => $7), other_places = $9, closed = closed OR $10,
       lease = CASE WHEN $8 THEN lease END, lease_expires_at = CASE WHEN $8 THEN lease_expires_at END
     WHERE id = $1 AND lease = $2 RETURNING id`,
    [
      id,
      lease,
      progress.offset,
      progress.digest === null ? null : digestToBytes(progress.digest),
      progress.digest === null ? null : digestAlgorithm(progress.digest),
      JSON.stringify(progress.state),
      options.expiryHours,
      options.keepLease,
      JSON.stringify(progress.otherPlaces),
      progress.closed,
    ],
  );
  return rows.length > 0;
}

/**
 * Gives the lease back and records nothing. The lease of a row that was taken over becomes one that is over and that nobody
 * can renew: the stalled writer may still wake, so whoever comes next has to take over as well.
 */
export async function releaseLease(
  queryer: Queryer,
  id: string,
  lease: string,
  row: { readonly taken_over: boolean },
): Promise<void> {
  await queryer.query(
    `UPDATE uploads SET lease = CASE WHEN $3 THEN gen_random_uuid() END,
       lease_expires_at = CASE WHEN $3 THEN '-infinity'::timestamptz END
     WHERE id = $1 AND lease = $2`,
    [id, lease, row.taken_over],
  );
}

/** Ends a session whose lease is held. False when the lease was lost. */
export async function deleteLeasedUpload(queryer: Queryer, id: string, lease: string): Promise<boolean> {
  const rows = await queryer.query('DELETE FROM uploads WHERE id = $1 AND lease = $2 RETURNING id', [id, lease]);
  return rows.length > 0;
}

/** Where the bytes of a session lie, or may lie. */
export type SessionPlaces = Pick<UploadRow, 'storage_state' | 'other_places'>;

/** Takes some expired sessions away and returns their places. Nobody's writer is interrupted: a live lease keeps a session. */
export async function deleteExpiredUploads(queryer: Queryer, limit: number): Promise<SessionPlaces[]> {
  // As an array: a subquery under IN may be run more than once, and would then take more than its limit.
  return queryer.query<SessionPlaces>(
    `DELETE FROM uploads WHERE id = ANY (ARRAY(
       SELECT id FROM uploads WHERE expires_at < now() AND (lease IS NULL OR lease_expires_at < now())
       ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
     )) RETURNING storage_state, other_places`,
    [limit],
  );
}

/** Which of these places belong to no session, in one look at all of them. What a session knows of its place may say more than a listing. */
export async function findAbandonedPlaces(queryer: Queryer, places: readonly UploadState[]): Promise<UploadState[]> {
  const rows = await queryer.query<{ position: number }>(
    `SELECT place.position FROM unnest($1::text[]) WITH ORDINALITY AS place (name, position)
     WHERE NOT EXISTS (SELECT 1 FROM uploads WHERE storage_state ->> 'upload' = place.name)
       AND NOT EXISTS (
         SELECT 1 FROM uploads, jsonb_array_elements(other_places) AS other WHERE other ->> 'upload' = place.name
       )`,
    [places.map((place) => place['upload'])],
  );
  return rows.map((row) => places[row.position - 1]!);
}
