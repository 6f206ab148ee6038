/**
 * A repository under another name, in the same namespace or in another one. Pulls by the old name go on (`repository_aliases`)
 * until somebody takes it.
 */
import { ConstraintError, type Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { lockNamespace, refreshGrantedRoles } from '../access/sql/roles.ts';
import type { Visibility } from '../access/policy.ts';
import { ApiError } from '../oci/problem.ts';
import type { RepositoryName } from '../oci/reference.ts';
import { lockForDeletion } from './sql/deletions.ts';
import { isNameTaken, leaveNamespace, lockRepository, renameRepository, takeAlias } from './sql/repositories.ts';

export interface Rename {
  readonly repositoryId: number;
  readonly name: RepositoryName;
  readonly namespaceId: number;
  readonly to: RepositoryName;
  /** Where it goes; the actor may create repositories there, as the caller has checked. */
  readonly toNamespaceId: number;
  /** Told how the repository is when nobody else can change it any more; ends the rename by throwing. */
  readonly check: (visibility: Visibility) => void;
}

/**
 * Renames; in the caller's transaction. Waits for pushes that are under way; those that come later by the old name are told
 * the new one.
 * @throws ApiError `conflict` when the name is taken, or the repository was moved meanwhile
 */
export async function rename(queryer: Queryer, change: Rename, actor: Actor): Promise<void> {
  const { repositoryId, namespaceId, toNamespaceId } = change;
  // Namespaces before repositories, each in key order, as everybody locks them.
  for (const id of [...new Set([namespaceId, toNamespaceId])].toSorted((a, b) => a - b)) {
    if (!(await lockNamespace(queryer, id))) throw moved(change);
  }
  await lockForDeletion(queryer, [repositoryId]);
  const now = await lockRepository(queryer, repositoryId);
  if (now?.name !== change.name || now.namespaceId !== namespaceId) throw moved(change);
  change.check(now.visibility);
  if (await isNameTaken(queryer, change.to)) throw taken(change.to);
  await takeAlias(queryer, change.to);
  if (toNamespaceId !== namespaceId) await leaveNamespace(queryer, repositoryId);
  await renameRepository(queryer, repositoryId, change.to, toNamespaceId, change.name).catch((error: unknown) => {
    // A push has made one of that name since it was looked for.
    throw error instanceof ConstraintError ? taken(change.to) : error;
  });
  await refreshGrantedRoles(queryer, namespaceId);
  if (toNamespaceId !== namespaceId) await refreshGrantedRoles(queryer, toNamespaceId);
  const entry = { before: { name: change.name }, after: { name: change.to }, outcome: 'done' } as const;
  const action = toNamespaceId === namespaceId ? 'repository.rename' : 'repository.transfer';
  await recordAudit(queryer, actor, { action, namespaceId, repositoryId, target: change.name, ...entry });
  // Those who own where it went see it in their log, too.
  if (toNamespaceId !== namespaceId)
    await recordAudit(queryer, actor, {
      action,
      namespaceId: toNamespaceId,
      repositoryId,
      target: change.to,
      ...entry,
    });
}

function taken(name: RepositoryName): ApiError {
  return new ApiError('conflict', `the name ${name} is taken; choose another one`);
}

function moved({ name }: Rename): ApiError {
  return new ApiError('conflict', `${name} was changed by somebody else meanwhile; look at it again`);
}
