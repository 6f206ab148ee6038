/**
 * Robot accounts: they belong to a namespace or to one repository, and not to whoever made them. A robot logs in as
 * `acme+ci` or `acme/api+ci`, and is the owner of what it belongs to as far as its grants go.
 */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit, type AuditAction, type AuditEntry } from '../events/audit.ts';
import { ApiError, type FieldError } from '../oci/problem.ts';
import { apiScopeNames, type ApiScope } from './api-scopes.ts';
import { matchesPattern, type Grant, type GrantAction } from './grants.ts';
import {
  auditValueOf,
  checkRoom,
  expiryOf,
  makeCredential,
  rotateCredential,
  tidyGrants,
  tidyScopes,
  type CredentialRules,
  type MadeCredential,
  type Rotation,
} from './named-credentials.ts';
import {
  findNamedCredential,
  holdRepository,
  revokeCredential,
  type NamedCredentialRow,
} from './sql/named-credentials.ts';
import { lockNamespace } from './sql/roles.ts';

/** What a namespace's robot may be made for at the management API: what concerns nobody's account. */
export const robotApiScopes = apiScopeNames.filter(
  (scope) => scope.startsWith('organizations:') || scope === 'audit:read',
);

/** The namespace of names without a slash; a robot of such a repository is called `_/NAME+ci`, for `NAME` is a namespace's name, too. */
const rootNamespace = '_';

/** What a robot belongs to. */
export interface RobotOwner {
  readonly namespaceId: number;
  readonly namespace: string;
  /** Null: the whole namespace. */
  readonly repository: { readonly id: number; readonly name: string } | null;
}

export interface NewRobot {
  /** What stands behind the `+`. */
  readonly name: string;
  readonly grants: readonly Grant[];
  readonly apiScopes: readonly ApiScope[];
  /** Null: never. Undefined: the default. */
  readonly expiresAt: Date | null | undefined;
}

/** What a robot logs in with. */
function loginOf({ namespace, repository }: RobotOwner, name: string): string {
  if (repository === null) return `${namespace}+${name}`;
  return `${namespace === rootNamespace ? `${rootNamespace}/` : ''}${repository.name}+${name}`;
}

/** Grants of a repository's robot: that repository, and no other. */
export function grantsFor(repository: string, actions: readonly GrantAction[]): Grant[] {
  return [{ repositories: repository, actions: [...actions] }];
}

/** @throws ApiError `unprocessable` when a pattern names what may lie outside of the namespace */
export function checkPatterns(namespace: string, grants: readonly Grant[]): void {
  const within = (pattern: string): boolean =>
    namespace === rootNamespace ? !pattern.includes('/') : matchesPattern(`${namespace}/*`, pattern);
  const errors: FieldError[] = grants.flatMap(({ repositories }, i) => {
    const message =
      namespace === rootNamespace
        ? 'must name repositories without a slash'
        : `must begin with ${namespace}/: a robot of ${namespace} gets no further`;
    return within(repositories) ? [] : [{ path: `body.grants.${i}.repositories`, message }];
  });
  if (errors.length > 0)
    throw new ApiError('unprocessable', errors.map(({ path, message }) => `${path} ${message}`).join('; '), { errors });
}

/** Locks what a robot belongs to, namespaces before repositories. Undefined when it is gone, or is somewhere else. */
async function holdOwner(queryer: Queryer, owner: RobotOwner): Promise<RobotOwner | undefined> {
  if (!(await lockNamespace(queryer, owner.namespaceId))) return undefined;
  if (owner.repository === null) return owner;
  const name = await holdRepository(queryer, owner.repository.id, owner.namespaceId);
  return name === undefined ? undefined : { ...owner, repository: { id: owner.repository.id, name } };
}

/**
 * Makes a robot, in the caller's transaction. That the actor may do so was checked before.
 * @throws ApiError `conflict` when a live robot has the name, `unprocessable` for grants beyond the owner or a life beyond the maximum
 */
export async function createRobot(
  queryer: Queryer,
  actor: Actor,
  owner: RobotOwner,
  wanted: NewRobot,
  rules: CredentialRules,
): Promise<MadeCredential> {
  const expiresAt = expiryOf(wanted.expiresAt, rules);
  checkPatterns(owner.namespace, wanted.grants);
  const held = await holdOwner(queryer, owner);
  if (held === undefined || held.repository?.name !== owner.repository?.name)
    throw new ApiError('conflict', 'it was renamed, moved or deleted meanwhile; look at it again');
  const name = loginOf(held, wanted.name);
  await checkRoom(queryer, { namespaceId: owner.namespaceId }, name);
  const made = await makeCredential(queryer, actor, {
    kind: 'robot',
    name,
    owner: { userId: null, namespaceId: owner.namespaceId, repositoryId: owner.repository?.id ?? null },
    grants: tidyGrants(wanted.grants),
    apiScopes: tidyScopes(wanted.apiScopes),
    expiresAt,
  });
  await record(queryer, actor, 'robot.create', made.row, { after: auditValueOf(made.row) });
  return made;
}

/** A robot, locked with what it belongs to. @throws ApiError `notFound` when either is gone */
async function lockRobot(queryer: Queryer, id: number): Promise<{ row: NamedCredentialRow; owner: RobotOwner }> {
  const found = await findNamedCredential(queryer, 'robot', id);
  const owner = found === undefined ? undefined : ownerOf(found);
  const held = owner === undefined ? undefined : await holdOwner(queryer, owner);
  const row = held === undefined ? undefined : await findNamedCredential(queryer, 'robot', id);
  if (row === undefined || held === undefined) throw unknownRobot(id);
  return { row, owner: held };
}

export function unknownRobot(id: number | string): ApiError {
  return new ApiError('notFound', `there is no robot ${id}, or you may not see it`);
}

/** What a robot belongs to; undefined when that was deleted. */
export function ownerOf(row: NamedCredentialRow): RobotOwner | undefined {
  const { namespace_id: namespaceId, namespace, repository_id: id, repository: name } = row;
  if (namespaceId === null || namespace === null) return undefined;
  if (id === null) return { namespaceId, namespace, repository: null };
  return name === null ? undefined : { namespaceId, namespace, repository: { id, name } };
}

/**
 * Gives a robot a successor of the same rights. Where its repository was renamed, name and grants follow.
 * @throws ApiError `notFound`, `conflict` when it has ended or was rotated before, `unprocessable`
 */
export async function rotateRobot(
  queryer: Queryer,
  actor: Actor,
  id: number,
  rotation: Rotation,
  rules: CredentialRules,
): Promise<MadeCredential> {
  const { row, owner } = await lockRobot(queryer, id);
  const { repository } = owner;
  const change =
    repository === null
      ? {}
      : {
          name: loginOf(owner, row.name.slice(row.name.lastIndexOf('+') + 1)),
          grants: row.grants.map((grant) => ({ ...grant, repositories: repository.name })),
        };
  const { before, after, ...made } = await rotateCredential(queryer, actor, row, rotation, rules, change);
  await record(queryer, actor, 'robot.rotate', made.row, { before, after });
  return made;
}

/**
 * Ends a robot with the next request, together with those that it was rotated from and that still work. One that has ended
 * already is left as it is.
 * @throws ApiError `notFound`
 */
export async function revokeRobot(queryer: Queryer, actor: Actor, id: number): Promise<void> {
  const { row } = await lockRobot(queryer, id);
  const revoked = await revokeCredential(queryer, id);
  if (revoked.length > 0)
    await record(queryer, actor, 'robot.revoke', row, { before: auditValueOf(row), after: { revoked } });
}

async function record(
  queryer: Queryer,
  actor: Actor,
  action: AuditAction,
  row: NamedCredentialRow,
  change: Pick<AuditEntry, 'before' | 'after'>,
): Promise<void> {
  await recordAudit(queryer, actor, {
    action,
    namespaceId: row.namespace_id ?? undefined,
    repositoryId: row.repository_id ?? undefined,
    target: `robot ${row.name}`,
    ...change,
    outcome: 'done',
  });
}
