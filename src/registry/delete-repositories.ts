/** Repositories and namespaces deleted: first said, then done, and only as it was said. */
import { lockNamespace, refreshGrantedRoles } from '../access/sql/roles.ts';
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import {
  countContents,
  countNamespace,
  deleteNamespaceRow,
  deleteRepositories,
  lockForDeletion,
  lockNamespaceForDeletion,
  repositoriesOf,
  type Contents,
  type NamespaceContents,
} from './sql/deletions.ts';

/** What will go, as a dry run says it. */
export interface DeletionPlan extends Contents {
  /** Their names, in byte order. */
  readonly repositories: readonly string[];
}

export interface NamespaceDeletionPlan extends DeletionPlan, NamespaceContents {}

interface Repository {
  readonly id: number;
  readonly name: string;
  readonly namespaceId: number;
}

export async function planRepositoryDeletion(queryer: Queryer, { id, name }: Repository): Promise<DeletionPlan> {
  return { repositories: [name], ...(await countContents(queryer, [id])) };
}

/**
 * Deletes a repository with all that is in it; in the caller's transaction.
 * @param check told the plan as it is under the locks; throws when that is not what was agreed to, or the right to it has gone meanwhile
 */
export async function deleteRepository(
  queryer: Queryer,
  repository: Repository,
  check: (plan: DeletionPlan) => Promise<void>,
  parts: { actor: Actor; reviewDelayHours: number },
): Promise<DeletionPlan> {
  if (!(await lockNamespace(queryer, repository.namespaceId))) throw gone(repository.name);
  await lockForDeletion(queryer, [repository.id]);
  const plan = await planRepositoryDeletion(queryer, repository);
  await check(plan);
  await deleteRepositories(queryer, [repository.id], parts.reviewDelayHours);
  await refreshGrantedRoles(queryer, repository.namespaceId);
  const { tags, manifests, blobs } = plan;
  await recordAudit(queryer, parts.actor, {
    action: 'repository.delete',
    namespaceId: repository.namespaceId,
    repositoryId: repository.id,
    target: repository.name,
    before: { tags, manifests, blobs },
    outcome: 'done',
  });
  return plan;
}

export async function planNamespaceDeletion(queryer: Queryer, namespaceId: number): Promise<NamespaceDeletionPlan> {
  const repositories = await repositoriesOf(queryer, namespaceId);
  const ids = repositories.map(({ id }) => id);
  return {
    repositories: repositories.map(({ name }) => name),
    ...(await countContents(queryer, ids)),
    ...(await countNamespace(queryer, namespaceId)),
  };
}

/** Deletes an organization with everything that is in it; in the caller's transaction. @param check as for `deleteRepository` */
export async function deleteNamespace(
  queryer: Queryer,
  namespace: { readonly id: number; readonly name: string },
  check: (plan: NamespaceDeletionPlan) => Promise<void>,
  parts: { actor: Actor; reviewDelayHours: number },
): Promise<NamespaceDeletionPlan> {
  if (!(await lockNamespaceForDeletion(queryer, namespace.id))) throw gone(namespace.name);
  const ids = (await repositoriesOf(queryer, namespace.id)).map(({ id }) => id);
  await lockForDeletion(queryer, ids);
  const plan = await planNamespaceDeletion(queryer, namespace.id);
  await check(plan);
  await deleteRepositories(queryer, ids, parts.reviewDelayHours);
  await deleteNamespaceRow(queryer, namespace.id);
  const { tags, manifests, blobs, members, teams, robots, repositories } = plan;
  await recordAudit(queryer, parts.actor, {
    action: 'namespace.delete',
    namespaceId: namespace.id,
    target: namespace.name,
    before: { repositories, tags, manifests, blobs, members, teams, robots },
    outcome: 'done',
  });
  return plan;
}

function gone(name: string): ApiError {
  return new ApiError('conflict', `${name} was changed by somebody else meanwhile; look at it again`);
}
