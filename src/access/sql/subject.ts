/**
 * The joins that say who is asking and what they may do, to be put into a statement over `question` rows with the columns
 * `name` (repository), `namespace`, `credential_id` and `kid`. Revocation holds with the next request because these joins
 * ride in the very statement that answers it.
 */
import type { Subject, RepositoryFacts, Visibility } from '../policy.ts';

/** Columns that `subjectJoins` provides, in this order, for row mode `object`. */
export const subjectColumns = `
  subject.credential_id, subject.user_id, subject.is_admin,
  r.id AS repository_id, r.visibility, n.owner_id`;

/**
 * A credential counts while it, the credential it came from, its account and the key that signed its token are all alive;
 * otherwise the subject's columns are null. `kid` is null when the caller came with a password.
 *
 * Every join is a lateral one with OFFSET 0, which PostgreSQL does not flatten: it can only look up each question's row in
 * an index. Of plain joins it may make a walk through the whole table, when that was tiny at the time of planning.
 */
export const subjectJoins = `
  LEFT JOIN LATERAL (
    SELECT c.id AS credential_id, u.id AS user_id, u.is_admin
    FROM credentials c
    LEFT JOIN LATERAL (SELECT revoked_at, expires_at FROM credentials WHERE id = c.root_id OFFSET 0) root ON true
    LEFT JOIN LATERAL (SELECT id, is_admin, disabled_at FROM users WHERE id = c.user_id OFFSET 0) u ON true
    WHERE c.id = question.credential_id
      AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now())
      AND (c.root_id IS NULL OR (root.revoked_at IS NULL AND (root.expires_at IS NULL OR root.expires_at > now())))
      AND (c.user_id IS NULL OR u.disabled_at IS NULL)
      AND (question.kid IS NULL OR EXISTS (SELECT 1 FROM signing_keys k WHERE k.kid = question.kid AND k.revoked_at IS NULL))
    OFFSET 0
  ) subject ON true
  LEFT JOIN LATERAL (SELECT id, visibility FROM repositories WHERE name = question.name OFFSET 0) r ON true
  LEFT JOIN LATERAL (SELECT owner_id FROM namespaces WHERE name = question.namespace OFFSET 0) n ON true`;

export interface SubjectRow {
  readonly credential_id: number | null;
  readonly user_id: number | null;
  readonly is_admin: boolean | null;
  readonly repository_id: number | null;
  readonly visibility: Visibility | null;
  readonly owner_id: number | null;
}

export function subjectOf(row: SubjectRow): Subject | null {
  if (row.credential_id === null) return null;
  return {
    credentialId: row.credential_id,
    user: row.user_id === null ? null : { id: row.user_id, admin: row.is_admin === true },
  };
}

export function factsOf(row: SubjectRow): RepositoryFacts {
  return { visibility: row.visibility, ownerId: row.owner_id };
}
