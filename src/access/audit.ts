/** Who may see what of the audit log. */
import type { Queryer } from '../database/pool.ts';
import type { AuditFilter, AuditVisibility } from '../events/audit-search.ts';
import type { Subject } from './policy.ts';
import { listOwnedNamespaces } from './sql/audit.ts';
import { findPlace } from './sql/explain.ts';

/**
 * Administrators of the site see everything (with a token that was made for `admin:read`), others what they did themselves
 * and all of the namespaces that they own. A robot sees its namespace, unless it is one of a single repository.
 * @param apiScopes what the credential was made for; null when it has no such limit
 */
export async function auditVisibility(
  queryer: Queryer,
  { user, robot }: Subject,
  apiScopes: readonly string[] | null,
): Promise<AuditVisibility> {
  if (user?.admin === true && (apiScopes === null || apiScopes.includes('admin:read'))) return { all: true };
  if (user !== null) return { userId: user.id, namespaceIds: await listOwnedNamespaces(queryer, user.id) };
  return { userId: null, namespaceIds: robot === null || robot.repositoryId !== null ? [] : [robot.namespaceId] };
}

/**
 * The filter for a namespace or a repository. What the caller sees all of is found by its id, under whatever name it was;
 * everything else by the text of the name alone, whether or not there is such a thing, as the difference would tell.
 */
export async function auditPlace(
  queryer: Queryer,
  visible: AuditVisibility,
  names: { readonly namespace: string | undefined; readonly repository: string | undefined },
): Promise<Pick<AuditFilter, 'namespaceId' | 'repositoryId' | 'within'>> {
  const name = names.repository ?? names.namespace;
  if (name === undefined) return {};
  // No name is empty: what is not asked for is not found.
  const { namespaceId, repositoryId } = await findPlace(queryer, names.repository ?? '', names.namespace ?? '');
  const mine = namespaceId !== null && (visible.all === true || visible.namespaceIds.includes(namespaceId));
  if (!mine || (names.repository !== undefined && repositoryId === null)) return { within: name };
  return repositoryId === null ? { namespaceId } : { repositoryId };
}
