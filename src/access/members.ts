/**
 * Members of organizations. All functions are for an organization that the caller has locked (`lockOrganization`).
 *
 * There is always an owner by name whose account works: the last one can neither leave nor be removed nor become less. Owners
 * by a team do not count, since a team can be emptied by each of them; nor do disabled accounts, since nobody could manage
 * what is left to them. An administrator who disables the last owner can put another one in.
 */
import type { Queryer } from '../database/pool.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import type { By, Namespace } from './namespaces.ts';
import { roleName, roleOf, type Role } from './roles.ts';
import { deleteMember, findMember, findUserId, hasOtherOwner, putMember, type MemberRow } from './sql/members.ts';
import { refreshGrantedRoles } from './sql/roles.ts';

export type Member = MemberRow;
type Organization = Pick<Namespace, 'id' | 'name'>;

/** A member by name. @throws ApiError `notFound`, the same whether or not there is such an account */
export async function memberOf(queryer: Queryer, namespace: Namespace, name: string): Promise<Member> {
  const member = await findMember(queryer, namespace.id, name);
  if (member === undefined) throw noMember(namespace, name);
  return member;
}

function noMember({ name: organization }: Namespace, name: string): ApiError {
  return new ApiError('notFound', `there is no member ${quote(name)} in ${organization}`, {
    next: 'Invite them: POST /api/v1/namespaces/NAME/invitations.',
  });
}

/** @throws ApiError `conflict` when nobody would be left to manage the organization */
async function keepAnOwner(queryer: Queryer, namespace: Organization, member: Member): Promise<void> {
  if (member.role !== roleOf('owner') || (await hasOtherOwner(queryer, namespace.id, member.userId))) return;
  throw new ApiError('conflict', `${member.name} is the last owner of ${namespace.name} whose account works`, {
    next: 'Make somebody else an owner first, or delete the organization.',
  });
}

/** Changes what a member is. @throws ApiError `conflict` for the last owner */
export async function changeMember(
  queryer: Queryer,
  { actor }: By,
  namespace: Organization,
  member: Member,
  role: Role,
): Promise<Member> {
  if (role === member.role) return member;
  if (role < member.role) await keepAnOwner(queryer, namespace, member);
  await putMember(queryer, namespace.id, member.userId, role);
  await refreshGrantedRoles(queryer, namespace.id);
  await recordAudit(queryer, actor, {
    action: 'member.change',
    namespaceId: namespace.id,
    target: namespace.name,
    before: { user: member.name, role: roleName(member.role) },
    after: { user: member.name, role: roleName(role) },
    outcome: 'done',
  });
  return { ...member, role };
}

/** Makes an account a member: by an administrator of the registry, or by an invitation that it accepted. */
export async function addMember(
  queryer: Queryer,
  { actor }: By,
  namespace: Organization,
  user: { readonly id: number; readonly name: string },
  role: Role,
): Promise<void> {
  await putMember(queryer, namespace.id, user.id, role);
  await refreshGrantedRoles(queryer, namespace.id);
  await recordAudit(queryer, actor, {
    action: 'member.add',
    namespaceId: namespace.id,
    target: namespace.name,
    after: { user: user.name, role: roleName(role) },
    outcome: 'done',
  });
}

/**
 * Changes what somebody is in an organization. Only administrators of the registry may put somebody in who is no member.
 * @param check told the member, or undefined where there is none yet; throws where that is not what was seen
 * @throws ApiError `notFound`, the same whether or not there is such an account; `conflict` for the last owner
 */
export async function setMember(
  queryer: Queryer,
  by: By,
  namespace: Namespace,
  change: { readonly name: string; readonly role: Role },
  check: (member: Member | undefined) => void,
): Promise<Member> {
  const member = await findMember(queryer, namespace.id, change.name);
  if (member !== undefined) {
    check(member);
    return changeMember(queryer, by, namespace, member, change.role);
  }
  if (by.subject.user?.admin !== true) throw noMember(namespace, change.name);
  check(undefined);
  const id = await findUserId(queryer, change.name);
  if (id === undefined) throw new ApiError('notFound', `there is no account ${quote(change.name)}`);
  await addMember(queryer, by, namespace, { id, name: change.name }, change.role);
  return memberOf(queryer, namespace, change.name);
}

/** What went with a membership. */
export interface Removal {
  readonly teams: readonly string[];
  /** Where the account had a role of its own. */
  readonly repositories: readonly string[];
}

/**
 * Takes a member out, and out of all teams; roles on single repositories go, too, and invitations that are still open: whoever
 * removes somebody means all of it. What is public or internal stays visible to them.
 * @throws ApiError `conflict` for the last owner
 */
export async function removeMember(
  queryer: Queryer,
  { actor }: By,
  namespace: Namespace,
  member: Member,
): Promise<Removal> {
  await keepAnOwner(queryer, namespace, member);
  const removal = await deleteMember(queryer, namespace.id, member.userId);
  await refreshGrantedRoles(queryer, namespace.id);
  await recordAudit(queryer, actor, {
    action: 'member.remove',
    namespaceId: namespace.id,
    target: namespace.name,
    before: { user: member.name, role: roleName(member.role), ...removal },
    outcome: 'done',
  });
  return removal;
}
