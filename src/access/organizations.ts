/** Organizations: namespaces that belong to their members. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { RegistryError } from '../oci/errors.ts';
import { ApiError } from '../oci/problem.ts';
import { isAccountName, isReservedName } from './names.ts';
import { roleOf } from './roles.ts';
import { findAdministrator } from './sql/accounts.ts';
import { putMember } from './sql/members.ts';
import { insertNamespace } from './sql/namespaces.ts';
import { refreshGrantedRoles } from './sql/roles.ts';

/** Whether the actor's account is an administrator of the registry at this moment. */
export async function isAdministrator(queryer: Queryer, actor: Actor): Promise<boolean> {
  return actor.userId !== null && (await findAdministrator(queryer, actor.userId));
}

/** What there is to say of a new organization. */
export interface NewOrganization {
  readonly name: string;
  readonly description: string;
  /** The account that owns it. */
  readonly ownerId: number;
}

/** @returns the id of a new organization; undefined when the name is taken, by whomever */
async function insertOrganization(
  queryer: Queryer,
  actor: Actor,
  { name, description, ownerId }: NewOrganization,
): Promise<number | undefined> {
  const namespaceId = await insertNamespace(queryer, name, 'organization', null, description);
  if (namespaceId === undefined) return undefined;
  await putMember(queryer, namespaceId, ownerId, roleOf('owner'));
  await refreshGrantedRoles(queryer, namespaceId);
  const after = description === '' ? undefined : { description };
  await recordAudit(queryer, actor, {
    action: 'organization.create',
    namespaceId,
    target: name,
    after,
    outcome: 'done',
  });
  return namespaceId;
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
  return insertOrganization(queryer, actor, { name, description: '', ownerId: actor.userId });
}

/**
 * Makes an organization as somebody asked for it.
 * @throws ApiError `conflict` when nobody may have the name, or somebody has it: in the same words
 */
export async function createOrganization(queryer: Queryer, actor: Actor, made: NewOrganization): Promise<number> {
  const namespaceId = isReservedName(made.name) ? undefined : await insertOrganization(queryer, actor, made);
  if (namespaceId === undefined)
    throw new ApiError('conflict', `the name ${made.name} cannot be taken; choose another one`);
  return namespaceId;
}
