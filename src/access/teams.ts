/** Teams of organizations. Functions that change something are for an organization that the caller has locked (`lockOrganization`). */
import type { Queryer } from '../database/pool.ts';
import { recordAudit, type AuditAction, type AuditValue } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import { memberOf } from './members.ts';
import type { By, Namespace } from './namespaces.ts';
import { roleName } from './roles.ts';
import { refreshGrantedRoles } from './sql/roles.ts';
import {
  deleteTeam,
  deleteTeamMember,
  findTeam,
  findTeamMember,
  insertTeam,
  insertTeamMember,
  updateTeam,
  type TeamRow,
} from './sql/teams.ts';

export type Team = TeamRow;

export const teamNameLengthMax = 64;
/** Lower-case letters and digits, with single dashes between them. */
export const teamNamePattern = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** @throws ApiError `notFound` */
export async function teamOf(queryer: Queryer, namespace: Namespace, name: string): Promise<Team> {
  const team = await findTeam(queryer, namespace.id, name);
  if (team === undefined) throw new ApiError('notFound', `there is no team ${quote(name)} in ${namespace.name}`);
  return team;
}

async function record(
  queryer: Queryer,
  { actor }: By,
  namespace: Namespace,
  entry: { action: AuditAction; team: string; before?: AuditValue; after?: AuditValue },
): Promise<void> {
  const { team, ...rest } = entry;
  const target = `${namespace.name}, team ${team}`;
  await recordAudit(queryer, actor, { ...rest, target, namespaceId: namespace.id, outcome: 'done' });
}

const auditOf = ({ name, role }: Pick<Team, 'name' | 'role'>): AuditValue => ({
  name,
  role: role === null ? null : roleName(role),
});

/** @throws ApiError `conflict` when there is one of that name */
export async function createTeam(
  queryer: Queryer,
  by: By,
  namespace: Namespace,
  { name, role }: Pick<Team, 'name' | 'role'>,
): Promise<Team> {
  const team = await insertTeam(queryer, namespace.id, name, role);
  if (team === undefined) throw taken(namespace, name);
  await record(queryer, by, namespace, { action: 'team.create', team: name, after: auditOf(team) });
  return team;
}

/** Changes name or role. @throws ApiError `conflict` when another team has the name */
export async function changeTeam(
  queryer: Queryer,
  by: By,
  namespace: Namespace,
  team: Team,
  change: Partial<Pick<Team, 'name' | 'role'>>,
): Promise<Team> {
  const changed = { ...team, ...change };
  if (changed.name === team.name && changed.role === team.role) return team;
  if (changed.name !== team.name && (await findTeam(queryer, namespace.id, changed.name)) !== undefined)
    throw taken(namespace, changed.name);
  await updateTeam(queryer, team.id, changed.name, changed.role);
  await refreshGrantedRoles(queryer, namespace.id);
  const [before, after] = [auditOf(team), auditOf(changed)];
  await record(queryer, by, namespace, { action: 'team.change', team: team.name, before, after });
  return changed;
}

function taken(namespace: Namespace, name: string): ApiError {
  return new ApiError('conflict', `there is already a team ${name} in ${namespace.name}`);
}

/** Deletes a team; what its members had by it alone ends. */
export async function removeTeam(queryer: Queryer, by: By, namespace: Namespace, team: Team): Promise<void> {
  await deleteTeam(queryer, team.id);
  await refreshGrantedRoles(queryer, namespace.id);
  await record(queryer, by, namespace, { action: 'team.delete', team: team.name, before: auditOf(team) });
}

/** Puts a member of the organization into a team; nothing happens when they are in it. @throws ApiError `notFound` for others */
export async function addToTeam(
  queryer: Queryer,
  by: By,
  namespace: Namespace,
  team: Team,
  name: string,
): Promise<void> {
  const { userId } = await memberOf(queryer, namespace, name);
  if ((await findTeamMember(queryer, team.id, name)) !== undefined) return;
  await insertTeamMember(queryer, team.id, userId);
  await refreshGrantedRoles(queryer, namespace.id);
  await record(queryer, by, namespace, { action: 'team.member.add', team: team.name, after: { user: name } });
}

/** @returns the id of somebody who is in a team @throws ApiError `notFound` */
export async function teamMemberOf(queryer: Queryer, namespace: Namespace, team: Team, name: string): Promise<number> {
  const id = await findTeamMember(queryer, team.id, name);
  if (id === undefined)
    throw new ApiError('notFound', `there is no member ${quote(name)} in the team ${team.name} of ${namespace.name}`);
  return id;
}

/** Takes somebody out of a team. @throws ApiError `notFound` */
export async function takeFromTeam(
  queryer: Queryer,
  by: By,
  namespace: Namespace,
  team: Team,
  name: string,
): Promise<void> {
  await deleteTeamMember(queryer, team.id, await teamMemberOf(queryer, namespace, team, name));
  await refreshGrantedRoles(queryer, namespace.id);
  await record(queryer, by, namespace, { action: 'team.member.remove', team: team.name, before: { user: name } });
}
