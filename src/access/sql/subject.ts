/**
 * The joins that say who is asking and what they may do, to be put into a statement over `question` rows with the columns
 * `name` (repository), `namespace`, `credential_id` and `kid`. Revocation holds with the next request because these joins
 * ride in the very statement that answers it.
 */
import type { Grant } from '../grants.ts';
import type { CredentialKind, RepositoryFacts, Subject, Visibility } from '../policy.ts';
import type { Role } from '../roles.ts';

/** The columns of {@link SubjectRow}, and what of the joins each is. */
const columns: Readonly<Record<keyof SubjectRow, string>> = {
  credential_id: 'subject.credential_id',
  credential_kind: 'subject.credential_kind',
  credential_name: 'subject.credential_name',
  grants: 'subject.grants',
  robot_namespace_id: 'subject.robot_namespace_id',
  robot_repository_id: 'subject.robot_repository_id',
  user_id: 'subject.user_id',
  username: 'subject.username',
  is_admin: 'subject.is_admin',
  repository_id: 'r.id',
  visibility: 'r.visibility',
  namespace_id: 'COALESCE(r.namespace_id, n.id)',
  role: 'granted.role',
};

const columnsAs = (expressionOf: (column: string) => string): string =>
  Object.entries(columns)
    .map(([name, column]) => `${expressionOf(column)} AS ${name}`)
    .join(', ');

/** Columns that the joins provide, for row mode `object`. */
export const subjectColumns = columnsAs((column) => column);

/** The same, and nulls in all rows for which the condition is not true. */
export const subjectColumnsWhere = (condition: string): string =>
  columnsAs((column) => `CASE WHEN ${condition} THEN ${column} END`);

/**
 * A credential counts while it, the credential it came from, its account and the key that signed its token are all alive;
 * otherwise the subject's columns are null. `kid` is null when the caller came without an access token. A refresh token is
 * as much as the credential that it came from.
 *
 * Every join is a lateral one with OFFSET 0 or LIMIT, which PostgreSQL does not flatten: it can only look up each question's
 * row in an index. Of plain joins it may make a walk through the whole table, when that was tiny at the time of planning.
 */
const subjectJoin = `
  LEFT JOIN LATERAL (
    SELECT c.id AS credential_id,
      CASE WHEN c.kind = 'refresh_token' THEN root.kind ELSE c.kind END AS credential_kind,
      COALESCE(c.name, root.name) AS credential_name,
      COALESCE(c.grants, root.grants) AS grants,
      COALESCE(c.namespace_id, root.namespace_id) AS robot_namespace_id,
      COALESCE(c.repository_id, root.repository_id) AS robot_repository_id,
      u.id AS user_id, u.name AS username, u.is_admin
    FROM credentials c
    LEFT JOIN LATERAL (
      SELECT kind, name, grants, namespace_id, repository_id, revoked_at, expires_at FROM credentials WHERE id = c.root_id OFFSET 0
    ) root ON true
    LEFT JOIN LATERAL (SELECT id, name, is_admin, disabled_at FROM users WHERE id = c.user_id OFFSET 0) u ON true
    WHERE c.id = question.credential_id
      AND c.revoked_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > now())
      AND (c.root_id IS NULL OR (root.revoked_at IS NULL AND (root.expires_at IS NULL OR root.expires_at > now())))
      AND (c.user_id IS NULL OR u.disabled_at IS NULL)
      AND (question.kid IS NULL OR EXISTS (SELECT 1 FROM signing_keys k WHERE k.kid = question.kid AND k.revoked_at IS NULL))
    OFFSET 0
  ) subject ON true`;

/** The namespace matters by its name only where there is no repository; one role row says it all (`granted_roles`). */
const roleJoins = `
  LEFT JOIN LATERAL (SELECT id FROM namespaces WHERE r.id IS NULL AND name = question.namespace OFFSET 0) n ON true
  LEFT JOIN LATERAL (
    SELECT max(g.role) AS role FROM granted_roles g
    WHERE g.user_id = subject.user_id AND g.namespace_id = COALESCE(r.namespace_id, n.id) AND g.repository_id IN (0, r.id)
    OFFSET 0
  ) granted ON true`;

/** For whoever changes something: the repository of exactly this name. */
export const subjectJoins = `${subjectJoin}
  LEFT JOIN LATERAL (SELECT id, visibility, namespace_id FROM repositories WHERE name = question.name OFFSET 0) r ON true
  ${roleJoins}`;

/** For pulls: a former name finds its repository, too, as long as no other one has the name. */
export const pullingSubjectJoins = `${subjectJoin}
  LEFT JOIN LATERAL (
    SELECT id, visibility, namespace_id FROM repositories WHERE id = COALESCE(
      (SELECT id FROM repositories WHERE name = question.name),
      (SELECT repository_id FROM repository_aliases WHERE name = question.name)
    ) OFFSET 0
  ) r ON true
  ${roleJoins}`;

export interface SubjectRow {
  readonly credential_id: number | null;
  readonly credential_kind: CredentialKind | null;
  readonly credential_name: string | null;
  readonly grants: readonly Grant[] | null;
  readonly robot_namespace_id: number | null;
  readonly robot_repository_id: number | null;
  readonly user_id: number | null;
  readonly username: string | null;
  readonly is_admin: boolean | null;
  readonly repository_id: number | null;
  readonly visibility: Visibility | null;
  readonly namespace_id: number | null;
  readonly role: Role | null;
}

export function subjectOf(row: SubjectRow): Subject | null {
  if (row.credential_id === null) return null;
  return {
    credentialId: row.credential_id,
    kind: row.credential_kind!,
    credentialName: row.credential_name,
    user: row.user_id === null ? null : { id: row.user_id, name: row.username!, admin: row.is_admin === true },
    robot:
      row.robot_namespace_id === null
        ? null
        : { namespaceId: row.robot_namespace_id, repositoryId: row.robot_repository_id },
    grants: row.grants,
  };
}

const owner: Role = 4;

/** A robot is the owner of what it belongs to, as far as its grants go. */
function robotRole(row: SubjectRow): Role | null {
  if (row.robot_namespace_id === null || row.robot_namespace_id !== row.namespace_id) return null;
  return row.robot_repository_id === null || row.robot_repository_id === row.repository_id ? owner : null;
}

export function factsOf(row: SubjectRow): RepositoryFacts {
  return {
    visibility: row.visibility,
    namespace: row.namespace_id !== null,
    role: row.role ?? robotRole(row),
  };
}
