/** `/api/v1/namespaces/NAME/members`: who is in an organization. */
import { z } from 'zod';
import { memberOf, removeMember, setMember, type Member } from '../../access/members.ts';
import {
  enterOrganization,
  lockNamespaceFor,
  lockOrganization,
  namespaceRights,
  type Namespace,
} from '../../access/namespaces.ts';
import type { Subject } from '../../access/policy.ts';
import { roleName, roleNames, roleOf } from '../../access/roles.ts';
import { listMembers } from '../../access/sql/members.ts';
import type { Queryer } from '../../database/pool.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { mayWriteOrganizations, namespaceParam } from './namespaces.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';

export const userParam = z.string().meta({ description: "An account's name.", example: 'ada' });
export const roleField = z.enum(roleNames).meta({
  description:
    'A reader pulls, a developer also pushes, a maintainer also deletes and changes settings, an owner decides who is in.',
});

const params = z.strictObject({ name: namespaceParam, user: userParam });
const memberSchema = z
  .strictObject({
    user: z.string(),
    role: roleField,
    createdAt: z.iso.datetime(),
    can: z
      .strictObject({ edit: z.boolean(), delete: z.boolean() })
      .meta({ description: 'Whether the caller may change the role, and take the member out.' }),
  })
  .meta({ id: 'Member' });
const removalSchema = z
  .strictObject({
    user: z.string(),
    teams: z.array(z.string()).meta({ description: 'The teams that the member was in.' }),
    repositories: z
      .array(z.string())
      .meta({ description: 'The repositories where the member had a role of their own; it is gone, too.' }),
  })
  .meta({ id: 'MemberRemoval' });

function bodyOf(
  { name, role, createdAt }: Member,
  namespace: Namespace,
  caller: ApiCaller,
): z.input<typeof memberSchema> {
  const writes = mayWriteOrganizations(caller);
  const edit = namespaceRights(caller.subject, namespace).manageMembers && writes;
  return {
    user: name,
    role: roleName(role),
    createdAt: createdAt.toISOString(),
    can: { edit, delete: edit || (writes && caller.subject.user?.name === name) },
  };
}

export function memberOperations(): readonly Operation[] {
  return [
    defineOperation({
      id: 'listMembers',
      method: 'get',
      path: '/namespaces/{name}/members',
      summary: 'List the members of an organization',
      tags: ['members'],
      access: 'signed-in',
      apiScope: 'organizations:read',
      effect: 'reads',
      params: z.strictObject({ name: namespaceParam }),
      query: z.strictObject({ ...pageQuery(z.tuple([z.string()])) }),
      answers: { 200: pageSchema(memberSchema) },
      async handler({ caller, params: { name }, query: { cursor, limit }, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, name);
        const rows = await listMembers(queryer, namespace.id, cursor?.[0] ?? '', limit + 1);
        const { items, next } = cutPage(rows, limit, (row) => [row.name]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, namespace, caller)) }, next };
      },
    }),
    defineOperation({
      id: 'getMember',
      method: 'get',
      path: '/namespaces/{name}/members/{user}',
      summary: 'Look at a member of an organization',
      tags: ['members'],
      access: 'signed-in',
      apiScope: 'organizations:read',
      effect: 'reads',
      params,
      answers: { 200: memberSchema },
      async handler({ caller, params: { name, user }, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, name);
        return { status: 200, body: bodyOf(await memberOf(queryer, namespace, user), namespace, caller) };
      },
    }),
    defineOperation({
      id: 'setMember',
      method: 'put',
      path: '/namespaces/{name}/members/{user}',
      summary: 'Change the role of a member',
      description:
        'Others are invited; only an administrator of the registry can put an account in without asking it. The last owner stays one.',
      tags: ['members'],
      access: 'signed-in',
      apiScope: 'organizations:write',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params,
      body: z.strictObject({ role: roleField }),
      answers: { 200: memberSchema },
      async handler({ caller, params: { name, user }, body, queryer, actor, checkIfMatch }) {
        const namespace = await lockOrganization(queryer, caller.subject, name);
        const change = { name: user, role: roleOf(body.role) };
        const by = { subject: caller.subject, actor };
        const member = await setMember(queryer, by, namespace, change, (now) =>
          checkIfMatch(now === undefined ? null : bodyOf(now, namespace, caller)),
        );
        return { status: 200, body: bodyOf(member, namespace, caller) };
      },
    }),
    defineOperation({
      id: 'removeMember',
      method: 'delete',
      path: '/namespaces/{name}/members/{user}',
      summary: 'Take a member out of an organization, or leave it',
      description:
        'They leave its teams, and lose the roles that they had on single repositories of it; the answer names them. Everybody may leave, but for the last owner.',
      tags: ['members'],
      access: 'signed-in',
      apiScope: 'organizations:write',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params,
      answers: { 200: removalSchema },
      async handler({ caller, params: { name, user }, queryer, actor, checkIfMatch }) {
        const { subject } = caller;
        const namespace =
          subject.user?.name === user
            ? await lockAsMember(queryer, subject, name)
            : await lockOrganization(queryer, subject, name);
        const member = await memberOf(queryer, namespace, user);
        const seen = bodyOf(member, namespace, caller);
        checkIfMatch(seen);
        const { teams, repositories } = await removeMember(queryer, { subject, actor }, namespace, member);
        return { status: 200, body: { user, teams: [...teams], repositories: [...repositories] }, version: seen };
      },
    }),
  ];
}

/** Locks an organization for somebody who leaves it, or a team of it. @throws ApiError `notFound`, `forbidden` */
export async function lockAsMember(queryer: Queryer, subject: Subject, name: string): Promise<Namespace> {
  return lockNamespaceFor(queryer, subject, name, (namespace) => {
    if (namespace.kind !== 'organization' || !namespaceRights(subject, namespace).inside)
      throw new ApiError('forbidden', `you are no member of ${name}`);
  });
}
