/** `/api/v1/namespaces/NAME/teams`: members of an organization who get roles together. */
import { z } from 'zod';
import { enterOrganization, lockOrganization, namespaceRights, type Namespace } from '../../access/namespaces.ts';
import { roleName, roleNames, roleOf, type Role, type RoleName } from '../../access/roles.ts';
import { listTeamMembers, listTeams } from '../../access/sql/teams.ts';
import {
  addToTeam,
  changeTeam,
  createTeam,
  removeTeam,
  takeFromTeam,
  teamMemberOf,
  teamNameLengthMax,
  teamNamePattern,
  teamOf,
  type Team,
} from '../../access/teams.ts';
import type { ApiCaller } from './caller.ts';
import { lockAsMember, userParam } from './members.ts';
import { mayWriteOrganizations, namespaceParam } from './namespaces.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';

export const teamParam = z.string().meta({ description: "A team's name.", example: 'backend' });
const teamName = z
  .string()
  .max(teamNameLengthMax)
  .regex(teamNamePattern, 'must be lower-case letters and digits, with single dashes between them')
  .meta({ example: 'backend' });
const teamRole = z.enum(roleNames).nullable().meta({
  description:
    'What its members are in the whole organization; null: only what the team is given on single repositories.',
});
const inNamespace = z.strictObject({ name: namespaceParam });
const ofTeam = z.strictObject({ name: namespaceParam, team: teamParam });
const ofMember = z.strictObject({ name: namespaceParam, team: teamParam, user: userParam });
const pages = z.strictObject({ ...pageQuery(z.tuple([z.string()])) });

const teamSchema = z
  .strictObject({
    name: z.string(),
    role: teamRole,
    createdAt: z.iso.datetime(),
    can: z.strictObject({ edit: z.boolean(), delete: z.boolean(), manageMembers: z.boolean() }),
  })
  .meta({ id: 'Team' });
const teamMemberSchema = z.strictObject({ user: z.string() }).meta({ id: 'TeamMember' });

const nameOf = (role: Role | null): RoleName | null => (role === null ? null : roleName(role));
const valueOf = (role: RoleName | null): Role | null => (role === null ? null : roleOf(role));

function bodyOf({ name, role, createdAt }: Team, namespace: Namespace, caller: ApiCaller): z.input<typeof teamSchema> {
  const may = namespaceRights(caller.subject, namespace).manageMembers && mayWriteOrganizations(caller);
  return {
    name,
    role: nameOf(role),
    createdAt: createdAt.toISOString(),
    can: { edit: may, delete: may, manageMembers: may },
  };
}

const reading = {
  method: 'get',
  tags: ['teams'],
  access: 'signed-in',
  apiScope: 'organizations:read',
  effect: 'reads',
} as const;
const writing = { tags: ['teams'], access: 'signed-in', apiScope: 'organizations:write' } as const;

export function teamOperations(): readonly Operation[] {
  return [...teamsThemselves(), ...membersOfTeams()];
}

function teamsThemselves(): Operation[] {
  return [
    defineOperation({
      ...reading,
      id: 'listTeams',
      path: '/namespaces/{name}/teams',
      summary: 'List the teams of an organization',
      params: inNamespace,
      query: pages,
      answers: { 200: pageSchema(teamSchema) },
      async handler({ caller, params, query: { cursor, limit }, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, params.name);
        const rows = await listTeams(queryer, namespace.id, cursor?.[0] ?? '', limit + 1);
        const { items, next } = cutPage(rows, limit, ({ name }) => [name]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, namespace, caller)) }, next };
      },
    }),
    defineOperation({
      ...writing,
      id: 'createTeam',
      method: 'post',
      path: '/namespaces/{name}/teams',
      summary: 'Make a team',
      effect: 'creates',
      params: inNamespace,
      body: z.strictObject({ name: teamName, role: teamRole.default(null) }),
      answers: { 201: teamSchema },
      async handler({ caller, params, body: { name, role }, queryer, actor }) {
        const namespace = await lockOrganization(queryer, caller.subject, params.name);
        const by = { subject: caller.subject, actor };
        const team = await createTeam(queryer, by, namespace, { name, role: valueOf(role) });
        const headers = { Location: `/api/v1/namespaces/${namespace.name}/teams/${name}` };
        return { status: 201, body: bodyOf(team, namespace, caller), headers };
      },
    }),
    defineOperation({
      ...reading,
      id: 'getTeam',
      path: '/namespaces/{name}/teams/{team}',
      summary: 'Look at a team',
      params: ofTeam,
      answers: { 200: teamSchema },
      async handler({ caller, params, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, params.name);
        return { status: 200, body: bodyOf(await teamOf(queryer, namespace, params.team), namespace, caller) };
      },
    }),
    defineOperation({
      ...writing,
      id: 'changeTeam',
      method: 'patch',
      path: '/namespaces/{name}/teams/{team}',
      summary: 'Change the name or the role of a team',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params: ofTeam,
      body: z.strictObject({ name: teamName.optional(), role: teamRole.optional() }),
      answers: { 200: teamSchema },
      async handler({ caller, params, body: { name, role }, queryer, actor, checkIfMatch }) {
        const namespace = await lockOrganization(queryer, caller.subject, params.name);
        const team = await teamOf(queryer, namespace, params.team);
        checkIfMatch(bodyOf(team, namespace, caller));
        const change = { ...(name !== undefined && { name }), ...(role !== undefined && { role: valueOf(role) }) };
        const changed = await changeTeam(queryer, { subject: caller.subject, actor }, namespace, team, change);
        return { status: 200, body: bodyOf(changed, namespace, caller) };
      },
    }),
    defineOperation({
      ...writing,
      id: 'deleteTeam',
      method: 'delete',
      path: '/namespaces/{name}/teams/{team}',
      summary: 'Delete a team; what its members had by it ends',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params: ofTeam,
      answers: { 204: null },
      async handler({ caller, params, queryer, actor, checkIfMatch }) {
        const namespace = await lockOrganization(queryer, caller.subject, params.name);
        const team = await teamOf(queryer, namespace, params.team);
        checkIfMatch(bodyOf(team, namespace, caller));
        await removeTeam(queryer, { subject: caller.subject, actor }, namespace, team);
        return { status: 204 };
      },
    }),
  ];
}

function membersOfTeams(): Operation[] {
  return [
    defineOperation({
      ...reading,
      id: 'listTeamMembers',
      path: '/namespaces/{name}/teams/{team}/members',
      summary: 'List who is in a team',
      params: ofTeam,
      query: pages,
      answers: { 200: pageSchema(teamMemberSchema) },
      async handler({ caller, params, query: { cursor, limit }, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, params.name);
        const team = await teamOf(queryer, namespace, params.team);
        const names = await listTeamMembers(queryer, team.id, cursor?.[0] ?? '', limit + 1);
        const { items, next } = cutPage(names, limit, (name) => [name]);
        return { status: 200, body: { items: items.map((user) => ({ user })) }, next };
      },
    }),
    defineOperation({
      ...reading,
      id: 'getTeamMember',
      path: '/namespaces/{name}/teams/{team}/members/{user}',
      summary: 'See whether somebody is in a team',
      params: ofMember,
      answers: { 200: teamMemberSchema },
      async handler({ caller, params, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, params.name);
        await teamMemberOf(queryer, namespace, await teamOf(queryer, namespace, params.team), params.user);
        return { status: 200, body: { user: params.user } };
      },
    }),
    defineOperation({
      ...writing,
      id: 'addTeamMember',
      method: 'put',
      path: '/namespaces/{name}/teams/{team}/members/{user}',
      summary: 'Put a member of the organization into a team',
      effect: 'changes',
      params: ofMember,
      answers: { 200: teamMemberSchema },
      async handler({ caller, params, queryer, actor }) {
        const namespace = await lockOrganization(queryer, caller.subject, params.name);
        const team = await teamOf(queryer, namespace, params.team);
        await addToTeam(queryer, { subject: caller.subject, actor }, namespace, team, params.user);
        return { status: 200, body: { user: params.user } };
      },
    }),
    defineOperation({
      ...writing,
      id: 'removeTeamMember',
      method: 'delete',
      path: '/namespaces/{name}/teams/{team}/members/{user}',
      summary: 'Take somebody out of a team, or leave it',
      effect: 'changes',
      params: ofMember,
      answers: { 204: null },
      async handler({ caller, params, queryer, actor }) {
        const { subject } = caller;
        const lock = subject.user?.name === params.user ? lockAsMember : lockOrganization;
        const namespace = await lock(queryer, subject, params.name);
        const team = await teamOf(queryer, namespace, params.team);
        await takeFromTeam(queryer, { subject, actor }, namespace, team, params.user);
        return { status: 204 };
      },
    }),
  ];
}
