/**
 * Roles on single repositories. Functions that change something are for a repository whose namespace the caller has locked
 * and on which they may manage members (`policy.ts`, action `members`).
 */
import type { Queryer } from '../database/pool.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import type { By } from './namespaces.ts';
import { roleName, type Role } from './roles.ts';
import {
  deleteCollaborator,
  findRepositoryMember,
  putCollaborator,
  type Collaborator,
  type RepositoryKey,
  type RepositoryMemberRow,
} from './sql/collaborators.ts';
import { findUserId } from './sql/members.ts';
import { refreshGrantedRoles } from './sql/roles.ts';
import { findTeam } from './sql/teams.ts';

/** Somebody, or a team, with everything that gives them a role on a repository. */
export type RepositoryMember = RepositoryMemberRow;

export interface RepositoryPlace extends RepositoryKey {
  readonly name: string;
}

export interface Grantee {
  readonly kind: 'user' | 'team';
  readonly name: string;
}

/** @throws ApiError `notFound`, the same whether or not there is such an account or team */
export async function repositoryMemberOf(
  queryer: Queryer,
  repository: RepositoryPlace,
  { kind, name }: Grantee,
): Promise<RepositoryMember> {
  const member = await findRepositoryMember(queryer, repository, kind, name);
  if (member === undefined) throw noRole(repository, { kind, name });
  return member;
}

function noRole(repository: RepositoryPlace, { kind, name }: Grantee): ApiError {
  const invite = 'Invite them: POST /api/v1/repositories/NAME/-/invitations.';
  return new ApiError('notFound', `no ${kind} ${quote(name)} has a role on ${repository.name}`, {
    ...(kind === 'user' && { next: invite }),
  });
}

/** The role that somebody was given on this repository itself; null when it comes from elsewhere. */
export function ownRole(member: RepositoryMember | undefined): Role | null {
  return member?.sources.find(({ source }) => source === 'collaborator')?.role ?? null;
}

/**
 * Who has a role on the repository already can be given another one, administrators of the registry may take any account,
 * and members of the organization any of its teams. Everybody else hears the same, whoever there is.
 */
async function granteeOf(
  queryer: Queryer,
  { subject }: By,
  repository: RepositoryPlace,
  { kind, name }: Grantee,
  known: boolean,
  inside: boolean,
): Promise<Collaborator> {
  const reachable = known || subject.user?.admin === true || (kind === 'team' && inside);
  const find = async (): Promise<number | undefined> =>
    kind === 'user' ? findUserId(queryer, name) : (await findTeam(queryer, repository.namespaceId, name))?.id;
  const id = reachable ? await find() : undefined;
  if (id === undefined) throw noRole(repository, { kind, name });
  return { kind, id };
}

export interface CollaboratorChange extends Grantee {
  readonly role: Role;
  /** Whether whoever asks is inside the namespace, and so knows its teams. */
  readonly inside: boolean;
}

/**
 * Gives a user or a team a role on one repository, or changes it.
 * @param check told what they have there now, undefined for nothing; throws where that is not what was seen
 * @throws ApiError `notFound` for who is to be invited instead, the same whether or not there is such an account
 */
export async function setCollaborator(
  queryer: Queryer,
  by: By,
  repository: RepositoryPlace,
  change: CollaboratorChange,
  check: (member: RepositoryMember | undefined) => void,
): Promise<RepositoryMember> {
  const { kind, name, role, inside } = change;
  const before = await findRepositoryMember(queryer, repository, kind, name);
  const who = await granteeOf(queryer, by, repository, change, before !== undefined, inside);
  check(before);
  const own = ownRole(before);
  if (own !== role) await giveRole(queryer, by, repository, { ...who, name }, own, role);
  return repositoryMemberOf(queryer, repository, { kind, name });
}

/** Gives a role on one repository to whoever may have it. @param before the role that they were given on it so far */
export async function giveRole(
  queryer: Queryer,
  { actor }: By,
  repository: RepositoryPlace,
  who: Collaborator & Grantee,
  before: Role | null,
  role: Role,
): Promise<void> {
  const { kind, name } = who;
  await putCollaborator(queryer, repository.repositoryId, who, role);
  await refreshGrantedRoles(queryer, repository.namespaceId);
  await recordAudit(queryer, actor, {
    action: before === null ? 'collaborator.add' : 'collaborator.change',
    namespaceId: repository.namespaceId,
    repositoryId: repository.repositoryId,
    target: repository.name,
    before: before === null ? undefined : { [kind]: name, role: roleName(before) },
    after: { [kind]: name, role: roleName(role) },
    outcome: 'done',
  });
}

/**
 * Takes away what a user or a team was given on one repository itself; what they are in the whole namespace stays.
 * @param check told what they have there now; throws where that is not what was seen
 * @throws ApiError `notFound` when they have nothing there, `conflict` when all of it comes from elsewhere
 */
export async function removeCollaborator(
  queryer: Queryer,
  { actor }: By,
  repository: RepositoryPlace,
  { kind, name }: Grantee,
  check: (member: RepositoryMember) => void,
): Promise<void> {
  const member = await repositoryMemberOf(queryer, repository, { kind, name });
  check(member);
  const role = ownRole(member);
  if (role === null)
    throw new ApiError('conflict', `what ${name} is on ${repository.name} does not come from the repository itself`, {
      next: 'Change their role in the organization, or the team that gives it.',
    });
  const id =
    kind === 'user' ? await findUserId(queryer, name) : (await findTeam(queryer, repository.namespaceId, name))?.id;
  await deleteCollaborator(queryer, repository.repositoryId, { kind, id: id! });
  await refreshGrantedRoles(queryer, repository.namespaceId);
  await recordAudit(queryer, actor, {
    action: 'collaborator.remove',
    namespaceId: repository.namespaceId,
    repositoryId: repository.repositoryId,
    target: repository.name,
    before: { [kind]: name, role: roleName(role) },
    outcome: 'done',
  });
}
