/** Invitations: sent and withdrawn where somebody owns something, accepted and declined by whoever was invited. */
import { z } from 'zod';
import {
  acceptInvitation,
  declineInvitation,
  invite,
  revokeInvitation,
  type Invitation,
  type InvitationSettings,
  type NewInvitation,
} from '../../access/invitations.ts';
import type { Lookup } from '../../access/lookup.ts';
import { isAccountName } from '../../access/names.ts';
import { enterOrganization, lockOrganization, namespaceRights } from '../../access/namespaces.ts';
import { roleName, roleOf } from '../../access/roles.ts';
import { hashOfSecret, isSecret } from '../../access/secrets.ts';
import { listInvitations, listInvitationsFor } from '../../access/sql/invitations.ts';
import { parseEmailAddress } from '../../config/email-address.ts';
import { ApiError } from '../../oci/problem.ts';
import { authorizeRepository } from './authorize.ts';
import { lockForMembers } from './collaborators.ts';
import { roleField } from './members.ts';
import { mayWriteOrganizations, namespaceParam } from './namespaces.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';
import { repositoryNameParam } from './schemas.ts';

export interface InvitationOperationsParts {
  readonly lookup: Lookup;
  readonly invitations: InvitationSettings;
}

const inviteeLengthMax = 254;
const invitee = z
  .string()
  .max(inviteeLengthMax)
  .transform((text, context): string => {
    const parsed = text.includes('@') ? parseEmailAddress(text) : isAccountName(text) ? text : undefined;
    if (parsed !== undefined) return parsed;
    context.addIssue("must be an account's name or a mail address");
    return z.NEVER;
  })
  .meta({ description: "An account's name, or a mail address.", example: 'ada@example.com' });
const invitationBody = z.strictObject({ invitee, role: roleField });

const idParam = z
  .string()
  .regex(/^[1-9]\d{0,15}$/, 'must be the id of an invitation')
  .transform(Number)
  .meta({ description: "An invitation's id.", example: '17' });

const shape = {
  id: z.int(),
  namespace: z.string(),
  repository: z.string().nullable().meta({ description: 'Null: the whole organization.' }),
  role: roleField,
  invitee: z.string().meta({ description: 'As it was typed; a mail address in lower case.' }),
  invitedBy: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
};
const sentSchema = z
  .strictObject({
    ...shape,
    holds: z
      .boolean()
      .meta({ description: 'False when whoever invited may not do so any more: nobody can accept it.' }),
    can: z.strictObject({ delete: z.boolean() }),
  })
  .meta({ id: 'Invitation' });
const newSchema = z
  .strictObject({
    ...sentSchema.shape,
    token: z.string().optional().meta({
      description:
        'Only for an invitation to an address, and only where no mail server is set: for you to hand over. It is not shown again.',
    }),
  })
  .meta({ id: 'NewInvitation' });
const receivedSchema = z
  .strictObject({ ...shape, can: z.strictObject({ accept: z.boolean(), decline: z.boolean() }) })
  .meta({ id: 'ReceivedInvitation' });
const acceptedSchema = z
  .strictObject({ namespace: z.string(), repository: z.string().nullable(), role: roleField })
  .meta({ id: 'AcceptedInvitation', description: 'What was accepted; who had a stronger role there keeps it.' });

function shapeOf({ id, namespace, repository, role, invitee: to, invitedBy, createdAt, expiresAt }: Invitation) {
  return {
    id,
    namespace,
    repository,
    role: roleName(role),
    invitee: to,
    invitedBy,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
  };
}
const sentBodyOf = (invitation: Invitation, mayWrite: boolean): z.input<typeof sentSchema> => ({
  ...shapeOf(invitation),
  holds: invitation.holds,
  can: { delete: mayWrite },
});
const acceptedBodyOf = ({ namespace, repository, role }: Invitation): z.input<typeof acceptedSchema> => ({
  namespace,
  repository,
  role: roleName(role),
});

const pages = z.strictObject({ ...pageQuery(z.tuple([z.int()])) });
const common = { tags: ['invitations'], access: 'signed-in' } as const;
const sameAnswer = 'The answer is the same whether or not there is such an account or address.';

export function invitationOperations(parts: InvitationOperationsParts): readonly Operation[] {
  return [...toOrganizations(parts), ...toRepositories(parts), ...received()];
}

function newBodyOf({ invitation, token }: NewInvitation): z.input<typeof newSchema> {
  return { ...sentBodyOf(invitation, true), ...(token !== null && { token }) };
}

function toOrganizations({ invitations }: InvitationOperationsParts): Operation[] {
  return [
    defineOperation({
      ...common,
      id: 'inviteToOrganization',
      method: 'post',
      path: '/namespaces/{name}/invitations',
      summary: 'Invite somebody to an organization',
      description: sameAnswer,
      apiScope: 'organizations:write',
      effect: 'creates',
      params: z.strictObject({ name: namespaceParam }),
      body: invitationBody,
      answers: { 201: newSchema },
      async handler({ caller: { subject }, params, body, queryer, actor }) {
        const { id: namespaceId } = await lockOrganization(queryer, subject, params.name);
        const place = { namespaceId, repositoryId: null };
        const wanted = { invitee: body.invitee, role: roleOf(body.role) };
        const made = await invite(queryer, { subject, actor }, place, wanted, invitations);
        return { status: 201, body: newBodyOf(made) };
      },
    }),
    defineOperation({
      ...common,
      id: 'listInvitations',
      method: 'get',
      path: '/namespaces/{name}/invitations',
      summary: 'List the open invitations of an organization and its repositories',
      apiScope: 'organizations:read',
      effect: 'reads',
      params: z.strictObject({ name: namespaceParam }),
      query: pages,
      answers: { 200: pageSchema(sentSchema) },
      async handler({ caller, params, query: { cursor, limit }, queryer }) {
        const namespace = await enterOrganization(queryer, caller.subject, params.name);
        if (!namespaceRights(caller.subject, namespace).manageMembers)
          throw new ApiError('forbidden', `only owners of ${namespace.name} see its invitations`);
        const place = { namespaceId: namespace.id, repositoryId: null };
        const rows = await listInvitations(queryer, place, cursor?.[0] ?? 0, limit + 1);
        const { items, next } = cutPage(rows, limit, ({ id }) => [id]);
        const mayWrite = mayWriteOrganizations(caller);
        return { status: 200, body: { items: items.map((row) => sentBodyOf(row, mayWrite)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'revokeInvitation',
      method: 'delete',
      path: '/namespaces/{name}/invitations/{id}',
      summary: 'Withdraw an invitation to an organization or one of its repositories',
      apiScope: 'organizations:write',
      effect: 'changes',
      params: z.strictObject({ name: namespaceParam, id: idParam }),
      answers: { 204: null },
      async handler({ caller: { subject }, params, queryer, actor }) {
        const { id: namespaceId } = await lockOrganization(queryer, subject, params.name);
        await revokeInvitation(queryer, { subject, actor }, { namespaceId, repositoryId: null }, params.id);
        return { status: 204 };
      },
    }),
  ];
}

function toRepositories({ lookup, invitations }: InvitationOperationsParts): Operation[] {
  const path = '/repositories/{name+}/-/invitations';
  return [
    defineOperation({
      ...common,
      id: 'inviteToRepository',
      method: 'post',
      path,
      summary: 'Invite somebody to work on one repository',
      description: sameAnswer,
      apiScope: null,
      effect: 'creates',
      params: z.strictObject({ name: repositoryNameParam }),
      body: invitationBody,
      answers: { 201: newSchema },
      async handler({ caller, params: { name }, body, queryer, actor }) {
        const repository = await lockForMembers(queryer, lookup, caller, name);
        const wanted = { invitee: body.invitee, role: roleOf(body.role) };
        const made = await invite(queryer, { subject: repository.subject, actor }, repository, wanted, invitations);
        return { status: 201, body: newBodyOf(made) };
      },
    }),
    defineOperation({
      ...common,
      id: 'listRepositoryInvitations',
      method: 'get',
      path,
      summary: 'List the open invitations to one repository',
      apiScope: null,
      effect: 'reads',
      params: z.strictObject({ name: repositoryNameParam }),
      query: pages,
      answers: { 200: pageSchema(sentSchema) },
      async handler({ caller, params: { name }, query: { cursor, limit }, queryer }) {
        const repository = await authorizeRepository(lookup, caller, name, 'members');
        const rows = await listInvitations(queryer, repository, cursor?.[0] ?? 0, limit + 1);
        const { items, next } = cutPage(rows, limit, ({ id }) => [id]);
        return { status: 200, body: { items: items.map((row) => sentBodyOf(row, true)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'revokeRepositoryInvitation',
      method: 'delete',
      path: `${path}/{id}`,
      summary: 'Withdraw an invitation to one repository',
      apiScope: null,
      effect: 'changes',
      params: z.strictObject({ name: repositoryNameParam, id: idParam }),
      answers: { 204: null },
      async handler({ caller, params: { name, id }, queryer, actor }) {
        const repository = await lockForMembers(queryer, lookup, caller, name);
        await revokeInvitation(queryer, { subject: repository.subject, actor }, repository, id);
        return { status: 204 };
      },
    }),
  ];
}

function received(): Operation[] {
  return [
    defineOperation({
      ...common,
      id: 'listReceivedInvitations',
      method: 'get',
      path: '/invitations',
      summary: 'List the invitations to your account',
      description: 'Those to a mail address are accepted by the link that was mailed there, and are not listed.',
      apiScope: 'account:read',
      effect: 'reads',
      query: pages,
      answers: { 200: pageSchema(receivedSchema) },
      async handler({ caller: { subject, apiScopes }, query: { cursor, limit }, queryer }) {
        const { user } = subject;
        const rows = user === null ? [] : await listInvitationsFor(queryer, user.id, cursor?.[0] ?? 0, limit + 1);
        const { items, next } = cutPage(rows, limit, ({ id }) => [id]);
        const may = apiScopes === null || apiScopes.includes('account:write');
        const can = { accept: may, decline: may };
        return { status: 200, body: { items: items.map((row) => ({ ...shapeOf(row), can })) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'acceptInvitation',
      method: 'post',
      path: '/invitations/{id}/accept',
      summary: 'Accept an invitation to your account',
      apiScope: 'account:write',
      effect: 'changes',
      params: z.strictObject({ id: idParam }),
      answers: { 200: acceptedSchema },
      async handler({ caller: { subject }, params, queryer, actor }) {
        return { status: 200, body: acceptedBodyOf(await acceptInvitation(queryer, { subject, actor }, params)) };
      },
    }),
    defineOperation({
      ...common,
      id: 'declineInvitation',
      method: 'post',
      path: '/invitations/{id}/decline',
      summary: 'Decline an invitation to your account',
      apiScope: 'account:write',
      effect: 'changes',
      params: z.strictObject({ id: idParam }),
      answers: { 204: null },
      async handler({ caller: { subject }, params: { id }, queryer, actor }) {
        await declineInvitation(queryer, { subject, actor }, id);
        return { status: 204 };
      },
    }),
    defineOperation({
      ...common,
      id: 'acceptMailedInvitation',
      method: 'post',
      path: '/invitations/accept',
      summary: 'Accept the invitation whose link was mailed',
      description: 'With whatever account you are signed in as: whoever reads the mail is who was invited.',
      apiScope: 'account:write',
      effect: 'changes',
      body: z.strictObject({ token: z.string().max(100) }),
      answers: { 200: acceptedSchema },
      async handler({ caller: { subject }, body: { token }, queryer, actor }) {
        // One that could not have been made here is looked for like any other: it is simply not there.
        const shown = { tokenHash: isSecret(token) ? hashOfSecret(token) : '' };
        return { status: 200, body: acceptedBodyOf(await acceptInvitation(queryer, { subject, actor }, shown)) };
      },
    }),
  ];
}
