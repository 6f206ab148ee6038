/** `/api/v1/repositories/NAME/-/members`: who has a role on one repository, and by what. */
import { z } from 'zod';
import {
  ownRole,
  removeCollaborator,
  repositoryMemberOf,
  setCollaborator,
  type Grantee,
  type RepositoryMember,
  type RepositoryPlace,
} from '../../access/collaborators.ts';
import type { Lookup } from '../../access/lookup.ts';
import { allowedActions, type RepositoryAction } from '../../access/policy.ts';
import { roleName, roleOf, type RoleName } from '../../access/roles.ts';
import { listRepositoryMembers } from '../../access/sql/collaborators.ts';
import { isInNamespace } from '../../access/sql/namespaces.ts';
import { lockNamespace } from '../../access/sql/roles.ts';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { ApiError } from '../../oci/problem.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import { authorizeRepository, type Authorized } from './authorize.ts';
import type { ApiCaller } from './caller.ts';
import { roleField, userParam } from './members.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';
import { repositoryNameParam } from './schemas.ts';
import { teamParam } from './teams.ts';

const ofRepository = z.strictObject({ name: repositoryNameParam });
const memberSchema = z
  .strictObject({
    kind: z.enum(['user', 'team']),
    name: z.string(),
    role: roleField,
    sources: z
      .array(
        z.strictObject({
          source: z.enum(['owner', 'organization', 'team', 'collaborator']),
          team: z.string().nullable(),
          role: roleField,
        }),
      )
      .meta({
        description:
          'Every single role, the strongest first: as the owner of the namespace, in the whole organization, by a team, or as a collaborator on this repository.',
      }),
    can: z.strictObject({ edit: z.boolean(), delete: z.boolean() }).meta({
      description: 'Whether the caller may change the role on this repository, and take it away.',
    }),
  })
  .meta({ id: 'RepositoryMember' });

function bodyOf(member: RepositoryMember, manages: boolean, caller: ApiCaller): z.input<typeof memberSchema> {
  const { kind, name, role, sources } = member;
  const own = ownRole(member) !== null;
  return {
    kind,
    name,
    role: roleName(role),
    sources: sources.map((each) => ({ ...each, role: roleName(each.role) })),
    can: { edit: manages, delete: own && (manages || isOneself(caller, member)) },
  };
}

/** A person with all that they may do, and not a token for something: they may leave what they were given. */
function isOneself({ subject, caller }: ApiCaller, { kind, name }: Grantee): boolean {
  return kind === 'user' && subject.user?.name === name && subject.grants === null && caller.scopes === null;
}

function mayManage(caller: ApiCaller, { subject, facts }: Authorized, name: RepositoryName): boolean {
  return allowedActions(subject, caller.caller.scopes, name, facts).includes('members');
}

/** @throws as `authorizeRepository`; ApiError `forbidden` for who only happens to see it */
async function authorizeLooking(lookup: Lookup, caller: ApiCaller, name: RepositoryName): Promise<Authorized> {
  const authorized = await authorizeRepository(lookup, caller, name, 'pull');
  const person = authorized.subject.grants === null && caller.caller.scopes === null;
  if (mayManage(caller, authorized, name) || (person && authorized.facts.role !== null)) return authorized;
  throw new ApiError('forbidden', `only those who have a role on ${name} see who has`);
}

/**
 * Locks a repository's namespace for a change of who has a role on it. Looked at before the lock, so that strangers neither
 * hold nor wait for it, and again behind it.
 * @throws as `authorizeRepository`; ApiError `conflict` when the repository was moved meanwhile
 */
export async function lockForMembers(
  queryer: Queryer,
  lookup: Lookup,
  caller: ApiCaller,
  name: RepositoryName,
  action: RepositoryAction = 'members',
): Promise<Authorized & RepositoryPlace> {
  const before = await authorizeRepository(lookup, caller, name, action);
  await lockNamespace(queryer, before.namespaceId);
  const behind = await authorizeRepository(lookup, caller, name, action);
  if (behind.namespaceId !== before.namespaceId)
    throw new ApiError('conflict', `${name} was moved meanwhile; look at it again`);
  return { ...behind, name };
}

interface Change {
  readonly queryer: Queryer;
  readonly caller: ApiCaller;
  readonly actor: Actor;
  readonly checkIfMatch: (current: unknown) => void;
}

async function show(lookup: Lookup, queryer: Queryer, caller: ApiCaller, name: RepositoryName, who: Grantee) {
  const authorized = await authorizeLooking(lookup, caller, name);
  const member = await repositoryMemberOf(queryer, { ...authorized, name }, who);
  return { status: 200, body: bodyOf(member, mayManage(caller, authorized, name), caller) } as const;
}

async function set(lookup: Lookup, call: Change, name: RepositoryName, who: Grantee & { role: RoleName }) {
  const { queryer, caller, actor, checkIfMatch } = call;
  const repository = await lockForMembers(queryer, lookup, caller, name);
  const inside = await isInNamespace(queryer, repository.namespaceId, repository.subject);
  const change = { ...who, role: roleOf(who.role), inside };
  const by = { subject: repository.subject, actor };
  const member = await setCollaborator(queryer, by, repository, change, (now) =>
    checkIfMatch(now === undefined ? null : bodyOf(now, true, caller)),
  );
  return { status: 200, body: bodyOf(member, true, caller) } as const;
}

async function remove(lookup: Lookup, call: Change, name: RepositoryName, who: Grantee) {
  const { queryer, caller, actor, checkIfMatch } = call;
  const repository = await lockForMembers(queryer, lookup, caller, name, isOneself(caller, who) ? 'pull' : 'members');
  const manages = mayManage(caller, repository, name);
  const by = { subject: repository.subject, actor };
  await removeCollaborator(queryer, by, repository, who, (now) => checkIfMatch(bodyOf(now, manages, caller)));
  return { status: 204 } as const;
}

const common = { tags: ['collaborators'], access: 'signed-in', apiScope: null } as const;
const reading = { ...common, method: 'get', effect: 'reads' } as const;
const changing = { ...common, effect: 'changes', edits: 'ifMatchAllowed' } as const;

export function collaboratorOperations({ lookup }: { readonly lookup: Lookup }): readonly Operation[] {
  return [
    defineOperation({
      ...reading,
      id: 'listRepositoryMembers',
      path: '/repositories/{name+}/-/members',
      summary: 'List who has a role on a repository, and by what',
      description: 'Teams, then users. For everybody who has a role on it.',
      params: ofRepository,
      query: z.strictObject({ ...pageQuery(z.tuple([z.enum(['user', 'team']), z.string()])) }),
      answers: { 200: pageSchema(memberSchema) },
      async handler({ caller, params: { name }, query: { cursor, limit }, queryer }) {
        const authorized = await authorizeLooking(lookup, caller, name);
        const rows = await listRepositoryMembers(queryer, authorized, cursor ?? ['', ''], limit + 1);
        const { items, next } = cutPage(rows, limit, (row) => [row.kind, row.name]);
        const manages = mayManage(caller, authorized, name);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, manages, caller)) }, next };
      },
    }),
    ...ofUsers(lookup),
    ...ofTeams(lookup),
  ];
}

function ofUsers(lookup: Lookup): Operation[] {
  const params = z.strictObject({ name: repositoryNameParam, user: userParam });
  const path = '/repositories/{name+}/-/members/users/{user}';
  return [
    defineOperation({
      ...reading,
      id: 'getRepositoryUser',
      path,
      summary: "Look at a user's roles on a repository",
      params,
      answers: { 200: memberSchema },
      handler: ({ queryer, caller, params: { name, user } }) =>
        show(lookup, queryer, caller, name, { kind: 'user', name: user }),
    }),
    defineOperation({
      ...changing,
      id: 'setRepositoryUser',
      method: 'put',
      path,
      summary: 'Give a user another role on a repository',
      description:
        'For who has a role on it already, as every member of its organization has; others are invited. It adds to what the user is elsewhere, and takes nothing away from that.',
      params,
      body: z.strictObject({ role: roleField }),
      answers: { 200: memberSchema },
      handler: ({ params: { name, user }, body: { role }, ...call }) =>
        set(lookup, call, name, { kind: 'user', name: user, role }),
    }),
    defineOperation({
      ...changing,
      id: 'removeRepositoryUser',
      method: 'delete',
      path,
      summary: "Take away a user's role on a repository, or give up your own",
      params,
      answers: { 204: null },
      handler: ({ params: { name, user }, ...call }) => remove(lookup, call, name, { kind: 'user', name: user }),
    }),
  ];
}

function ofTeams(lookup: Lookup): Operation[] {
  const params = z.strictObject({ name: repositoryNameParam, team: teamParam });
  const path = '/repositories/{name+}/-/members/teams/{team}';
  return [
    defineOperation({
      ...reading,
      id: 'getRepositoryTeam',
      path,
      summary: "Look at a team's roles on a repository",
      params,
      answers: { 200: memberSchema },
      handler: ({ queryer, caller, params: { name, team } }) =>
        show(lookup, queryer, caller, name, { kind: 'team', name: team }),
    }),
    defineOperation({
      ...changing,
      id: 'setRepositoryTeam',
      method: 'put',
      path,
      summary: 'Give a team of the organization a role on a repository',
      params,
      body: z.strictObject({ role: roleField }),
      answers: { 200: memberSchema },
      handler: ({ params: { name, team }, body: { role }, ...call }) =>
        set(lookup, call, name, { kind: 'team', name: team, role }),
    }),
    defineOperation({
      ...changing,
      id: 'removeRepositoryTeam',
      method: 'delete',
      path,
      summary: "Take away a team's role on a repository",
      params,
      answers: { 204: null },
      handler: ({ params: { name, team }, ...call }) => remove(lookup, call, name, { kind: 'team', name: team }),
    }),
  ];
}
