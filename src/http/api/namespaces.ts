/** `/api/v1/namespaces`: organizations and personal namespaces. */
import { z } from 'zod';
import { accountNameLengthMax, isAccountName } from '../../access/names.ts';
import {
  describeNamespace,
  lockOwned,
  namespaceRights,
  seeNamespace,
  type Namespace,
} from '../../access/namespaces.ts';
import { createOrganization } from '../../access/organizations.ts';
import { roleName, roleNames } from '../../access/roles.ts';
import { listNamespaceRows } from '../../access/sql/namespaces.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';

export interface NamespaceOperationsParts {
  /** Who may make organizations, beside administrators of the registry. */
  readonly organizationCreation: 'everybody' | 'administrators';
}

const descriptionLengthMax = 1000;
const description = z.string().max(descriptionLengthMax).meta({ description: 'Plain text.' });
const organizationName = z
  .string()
  .max(accountNameLengthMax)
  .refine(isAccountName, 'must be lower-case letters and digits, parted by single dots, dashes or underscores')
  .meta({ description: 'The first component of the names of its repositories.', example: 'acme' });

export const namespaceParam = z.string().meta({ description: "A namespace's name.", example: 'acme' });

const namespaceSchema = z
  .strictObject({
    name: z.string(),
    kind: z.enum(['user', 'organization', 'system']),
    description,
    role: z
      .enum(roleNames)
      .nullable()
      .meta({ description: 'What the caller is in all of it, by itself or by a team.' }),
    createdAt: z.iso.datetime(),
    can: z
      .strictObject({
        edit: z.boolean(),
        delete: z.boolean(),
        manageMembers: z.boolean(),
        createRepositories: z.boolean(),
      })
      .meta({ description: 'What the caller may do with it.' }),
  })
  .meta({ id: 'Namespace' });

/** For `can`: whether the caller's credential may change organizations at all. */
export function mayWriteOrganizations({ apiScopes }: ApiCaller): boolean {
  return apiScopes === null || apiScopes.includes('organizations:write');
}

function bodyOf(namespace: Namespace, caller: ApiCaller | null): z.input<typeof namespaceSchema> {
  const { name, kind, role, createdAt } = namespace;
  const rights = namespaceRights(caller?.subject ?? null, namespace);
  const writes = caller !== null && mayWriteOrganizations(caller);
  return {
    name,
    kind,
    description: namespace.description,
    role: role === null ? null : roleName(role),
    createdAt: createdAt.toISOString(),
    can: {
      edit: rights.edit && writes,
      delete: rights.delete && writes,
      manageMembers: rights.manageMembers && writes,
      createRepositories: rights.createRepositories && caller?.caller.scopes === null,
    },
  };
}

export function namespaceOperations({ organizationCreation }: NamespaceOperationsParts): readonly Operation[] {
  return [
    defineOperation({
      id: 'createOrganization',
      method: 'post',
      path: '/namespaces',
      summary: 'Make an organization',
      description: 'The caller becomes its owner. BERTH_ORGANIZATION_CREATION says who may.',
      tags: ['namespaces'],
      access: 'signed-in',
      apiScope: 'organizations:write',
      effect: 'creates',
      body: z.strictObject({ name: organizationName, description: description.default('') }),
      answers: { 201: namespaceSchema },
      async handler({ caller, body, queryer, actor }) {
        const { user } = caller.subject;
        if (user === null) throw new ApiError('forbidden', 'an organization needs an owner: sign in with an account');
        if (organizationCreation === 'administrators' && !user.admin)
          throw new ApiError('forbidden', 'only administrators make organizations here');
        await createOrganization(queryer, actor, { ...body, ownerId: user.id });
        const made = await seeNamespace(queryer, caller.subject, body.name);
        return {
          status: 201,
          body: bodyOf(made, caller),
          headers: { Location: `/api/v1/namespaces/${body.name}` },
        };
      },
    }),
    defineOperation({
      id: 'listNamespaces',
      method: 'get',
      path: '/namespaces',
      summary: 'List the namespaces that you are in',
      description: "Your own, and the organizations that you are a member of; for a robot, its organization's.",
      tags: ['namespaces'],
      access: 'signed-in',
      apiScope: 'organizations:read',
      effect: 'reads',
      query: z.strictObject({ ...pageQuery(z.tuple([z.string()])) }),
      answers: { 200: pageSchema(namespaceSchema) },
      async handler({ caller, query: { cursor, limit }, queryer }) {
        const rows = await listNamespaceRows(queryer, caller.subject, cursor?.[0] ?? '', limit + 1);
        const { items, next } = cutPage(rows, limit, ({ name }) => [name]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, caller)) }, next };
      },
    }),
    defineOperation({
      id: 'getNamespace',
      method: 'get',
      path: '/namespaces/{name}',
      summary: 'Look at a namespace',
      description: 'Its members see it, and whoever may pull one of its repositories.',
      tags: ['namespaces'],
      access: 'anyone',
      apiScope: 'organizations:read',
      effect: 'reads',
      params: z.strictObject({ name: namespaceParam }),
      answers: { 200: namespaceSchema },
      async handler({ caller, params, queryer }) {
        const namespace = await seeNamespace(queryer, caller?.subject ?? null, params.name);
        return { status: 200, body: bodyOf(namespace, caller) };
      },
    }),
    defineOperation({
      id: 'changeNamespace',
      method: 'patch',
      path: '/namespaces/{name}',
      summary: 'Change the description of a namespace',
      tags: ['namespaces'],
      access: 'signed-in',
      apiScope: 'organizations:write',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      params: z.strictObject({ name: namespaceParam }),
      body: z.strictObject({ description }),
      answers: { 200: namespaceSchema },
      async handler({ caller, params, body, queryer, actor, checkIfMatch }) {
        const namespace = await lockOwned(queryer, caller.subject, params.name);
        checkIfMatch(bodyOf(namespace, caller));
        const by = { subject: caller.subject, actor };
        return {
          status: 200,
          body: bodyOf(await describeNamespace(queryer, by, namespace, body.description), caller),
        };
      },
    }),
  ];
}
