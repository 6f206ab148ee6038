/** Organizations: namespaces that belong to their members. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { RegistryError } from '../oci/errors.ts';
import { isAccountName, isReservedName } from './names.ts';
import { roleOf } from './roles.ts';
import { findAdministrator } from './sql/accounts.ts';
import { insertNamespace, putMember } from './sql/namespaces.ts';
import { refreshGrantedRoles } from './sql/roles.ts';

/** Whether the actor's account is an administrator of the registry at this moment. */
export async function isAdministrator(queryer: Queryer, actor: Actor): Promise<boolean> {
  return actor.userId !== null && (await findAdministrator(queryer, actor.userId));
}

/**
 * Makes an organization whose only owner is the actor. Nothing happens when the name is there already, whoever made it.
 * @returns its id; undefined when the name is taken
 * @throws RegistryError `denied` for names that nobody may have
 */
export async function foundOrganization(queryer: Queryer, actor: Actor, name: string): Promise<number | undefined> {
  if (isReservedName(name) || !isAccountName(name))
    throw new RegistryError('denied', { message: `${name} cannot be the name of an organization; choose another one` });
  if (actor.userId === null)
    throw new RegistryError('denied', { message: 'an organization needs an owner: sign in with an account' });
  const namespaceId = await insertNamespace(queryer, name, 'organization', null);
  if (namespaceId === undefined) return undefined;
  await putMember(queryer, namespaceId, actor.userId, roleOf('owner'));
  await refreshGrantedRoles(queryer, namespaceId);
  await recordAudit(queryer, actor, { action: 'organization.create', namespaceId, target: name, outcome: 'done' });
  return namespaceId;
}
