/** Robot accounts of namespaces and of repositories. */
import { z } from 'zod';
import { grantActions } from '../../access/grants.ts';
import type { Lookup } from '../../access/lookup.ts';
import { checkWithin, type CredentialRules, type MadeCredential } from '../../access/named-credentials.ts';
import { decide } from '../../access/policy.ts';
import {
  createRobot,
  grantsFor,
  ownerOf,
  revokeRobot,
  robotApiScopes,
  rotateRobot,
  unknownRobot,
  type RobotOwner,
} from '../../access/robots.ts';
import { roleOf } from '../../access/roles.ts';
import {
  findNamedCredential,
  findNamespaceStanding,
  listRobotsOf,
  type NamedCredentialRow,
} from '../../access/sql/named-credentials.ts';
import type { Queryer } from '../../database/pool.ts';
import { ApiError } from '../../oci/problem.ts';
import { quote } from '../../oci/quote.ts';
import { parseRepositoryName, type RepositoryName } from '../../oci/reference.ts';
import { authorizeRepository } from './authorize.ts';
import type { ApiCaller } from './caller.ts';
import {
  credentialBody,
  credentialIdParam,
  credentialPageQuery,
  credentialShape,
  isSelf,
  newCredentialShape,
  pageOf,
  requireScope,
  rotationOf,
  rotationSchema,
  secretField,
} from './named-credentials.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageSchema } from './pages.ts';
import { repositoryNameParam } from './schemas.ts';

const shape = {
  ...credentialShape,
  name: z.string().meta({ description: 'What it logs in with.', example: 'acme+ci' }),
  namespace: z.string().nullable().meta({ description: 'Null: it was deleted.' }),
  repository: z.string().nullable().meta({ description: 'Null: the robot is for the whole namespace.' }),
  createdBy: z.string().nullable(),
};
const robotSchema = z.strictObject(shape).meta({ id: 'Robot' });
const newRobotSchema = z.strictObject({ ...shape, secret: secretField }).meta({ id: 'NewRobot' });
const nameField = z
  .string()
  .max(64)
  .regex(/^[a-z0-9]+(?:[._-][a-z0-9]+)*$/, 'must be lower-case letters and digits, with single . _ or - between them')
  .meta({ description: 'What stands behind the + of its login name.', example: 'ci' });
const page = pageSchema(robotSchema);
const common = { tags: ['robots'], access: 'signed-in' } as const;

function bodyOf(row: NamedCredentialRow, may: readonly ('rotate' | 'revoke')[]): z.input<typeof robotSchema> {
  return {
    name: row.name,
    namespace: row.namespace,
    repository: row.repository,
    createdBy: row.created_by,
    ...credentialBody(row, may),
  };
}

const both = ['rotate', 'revoke'] as const;

const createdAnswer = ({ row, secret }: MadeCredential) => ({
  status: 201 as const,
  body: { ...bodyOf(row, both), secret },
  headers: { Location: `/api/v1/robots/${row.id}` },
});

/** @throws ApiError `forbidden`: what a robot makes would outlive it */
function mustBePerson({ subject, caller }: ApiCaller): void {
  if (subject.user === null || caller.scopes !== null)
    throw new ApiError('forbidden', 'a robot cannot make robots, nor rotate others', {
      next: 'Do it as an account that owns the namespace or the repository.',
    });
}

const owns = ({ subject }: ApiCaller, role: number | null): boolean =>
  subject.user?.admin === true || role === roleOf('owner');

/** A namespace whose robots the caller manages. @throws ApiError `notFound`, or `forbidden` to its members */
async function authorizeNamespace(queryer: Queryer, caller: ApiCaller, name: string): Promise<RobotOwner> {
  const row = await findNamespaceStanding(queryer, name, caller.subject.user?.id ?? null);
  if (row !== undefined && owns(caller, row.role))
    return { namespaceId: row.id, namespace: row.name, repository: null };
  if (row !== undefined && row.role !== null)
    throw new ApiError('forbidden', `only owners of ${row.name} see and change its robots`);
  throw new ApiError('notFound', `there is no namespace ${quote(name)}, or you may not see it`);
}

export function robotOperations(lookup: Lookup, rules: CredentialRules): readonly Operation[] {
  return [...robotsOfNamespaces(rules), ...robotsOfRepositories(lookup, rules), ...robotsById(lookup, rules)];
}

function robotsOfNamespaces(rules: CredentialRules): readonly Operation[] {
  const params = z.strictObject({ name: z.string().min(1).max(255) });
  return [
    defineOperation({
      ...common,
      id: 'listRobotsOfNamespace',
      method: 'get',
      path: '/namespaces/{name}/robots',
      summary: 'List the robots of a namespace and of its repositories, the newest first',
      apiScope: 'organizations:read',
      effect: 'reads',
      params,
      query: credentialPageQuery,
      answers: { 200: page },
      async handler({ caller, params: { name: namespace }, query, queryer }) {
        const { namespaceId } = await authorizeNamespace(queryer, caller, namespace);
        const rows = await listRobotsOf(queryer, { namespaceId, repositoryId: null }, pageOf(query));
        const { items, next } = cutPage(rows, query.limit, (row) => [row.id]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, both)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'createRobotOfNamespace',
      method: 'post',
      path: '/namespaces/{name}/robots',
      summary: 'Make a robot for a namespace',
      description: 'It takes an owner of the namespace. The robot belongs to it, and stays when its maker leaves.',
      apiScope: 'organizations:write',
      effect: 'creates',
      params,
      body: z.strictObject({
        name: nameField,
        ...newCredentialShape,
        apiScopes: z.array(z.enum(robotApiScopes)).max(robotApiScopes.length).default([]),
      }),
      answers: { 201: newRobotSchema },
      async handler({ caller, params: { name: namespace }, body, queryer, actor }) {
        mustBePerson(caller);
        const owner = await authorizeNamespace(queryer, caller, namespace);
        const { name, grants, apiScopes, expiresAt } = body;
        checkWithin({ grants: caller.subject.grants, apiScopes: caller.apiScopes }, grants, apiScopes);
        return createdAnswer(await createRobot(queryer, actor, owner, { name, grants, apiScopes, expiresAt }, rules));
      },
    }),
  ];
}

function robotsOfRepositories(lookup: Lookup, rules: CredentialRules): readonly Operation[] {
  const params = z.strictObject({ name: repositoryNameParam });
  const actionsField = z.array(z.enum(grantActions)).min(1).max(grantActions.length).meta({
    description: 'What it may do with the repository. `admin` takes an owner.',
  });
  const ownerFor = async (caller: ApiCaller, name: RepositoryName, admin: boolean): Promise<RobotOwner> => {
    const { namespaceId, repositoryId } = await authorizeRepository(
      lookup,
      caller,
      name,
      admin ? 'members' : 'settings',
    );
    return { namespaceId, namespace: namespaceNameOf(name), repository: { id: repositoryId, name } };
  };
  return [
    defineOperation({
      ...common,
      id: 'listRobotsOfRepository',
      method: 'get',
      path: '/repositories/{name+}/-/robots',
      summary: 'List the robots of a repository, the newest first',
      apiScope: 'organizations:read',
      effect: 'reads',
      params,
      query: credentialPageQuery,
      answers: { 200: page },
      async handler({ caller, params: { name }, query, queryer }) {
        const { namespaceId, repositoryId } = await authorizeRepository(lookup, caller, name, 'settings');
        const rows = await listRobotsOf(queryer, { namespaceId, repositoryId }, pageOf(query));
        const { items, next } = cutPage(rows, query.limit, (row) => [row.id]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, both)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'createRobotOfRepository',
      method: 'post',
      path: '/repositories/{name+}/-/robots',
      summary: 'Make a robot for one repository',
      description:
        'It takes a maintainer, and an owner for the action admin. The robot gets no further than the repository.',
      apiScope: 'organizations:write',
      effect: 'creates',
      params,
      body: z.strictObject({ name: nameField, actions: actionsField, expiresAt: newCredentialShape.expiresAt }),
      answers: { 201: newRobotSchema },
      async handler({ caller, params: { name: repository }, body, queryer, actor }) {
        mustBePerson(caller);
        const { name, actions, expiresAt } = body;
        const owner = await ownerFor(caller, repository, actions.includes('admin'));
        const grants = grantsFor(repository, actions);
        checkWithin({ grants: caller.subject.grants, apiScopes: caller.apiScopes }, grants, []);
        return createdAnswer(
          await createRobot(queryer, actor, owner, { name, grants, apiScopes: [], expiresAt }, rules),
        );
      },
    }),
  ];
}

/** `_` has the names without a slash. */
const namespaceNameOf = (name: RepositoryName): string => (name.includes('/') ? name.slice(0, name.indexOf('/')) : '_');

function robotsById(lookup: Lookup, rules: CredentialRules): readonly Operation[] {
  const params = z.strictObject({ id: credentialIdParam });

  async function mayManage(queryer: Queryer, caller: ApiCaller, row: NamedCredentialRow): Promise<boolean> {
    const owner = ownerOf(row);
    if (owner === undefined || caller.subject.user === null) return false;
    if (owner.repository === null) {
      const standing = await findNamespaceStanding(queryer, owner.namespace, caller.subject.user.id);
      return standing !== undefined && owns(caller, standing.role);
    }
    const name = parseRepositoryName(owner.repository.name);
    const { subject, facts } = await lookup(caller.caller, name);
    const action = row.grants.some(({ actions }) => actions.includes('admin')) ? 'members' : 'settings';
    return decide(subject, caller.caller.scopes, name, action, facts).outcome === 'allowed';
  }

  /** The robot that asks, or one that the caller manages. @throws ApiError `notFound` */
  async function robotFor(queryer: Queryer, caller: ApiCaller, id: number | 'current') {
    const wanted = id === 'current' ? caller.caller.credentialId : id;
    const row = await findNamedCredential(queryer, 'robot', wanted);
    if (row === undefined) throw unknownRobot(id);
    const self = isSelf(caller, row.id);
    if (!self && (id === 'current' || !(await mayManage(queryer, caller, row)))) throw unknownRobot(id);
    return { row, self };
  }

  return [
    defineOperation({
      ...common,
      id: 'getRobot',
      method: 'get',
      path: '/robots/{id}',
      summary: 'Look at a robot',
      description: 'A robot may always look at itself; at others it takes the API scope organizations:read.',
      apiScope: null,
      effect: 'reads',
      params,
      answers: { 200: robotSchema },
      async handler({ caller, params: { id }, queryer }) {
        const { row, self } = await robotFor(queryer, caller, id);
        if (!self) requireScope(caller, 'organizations:read');
        const body = bodyOf(row, both);
        return { status: 200, body, version: { ...body, lastUsed: null } };
      },
    }),
    defineOperation({
      ...common,
      id: 'revokeRobot',
      method: 'delete',
      path: '/robots/{id}',
      summary: 'Revoke a robot',
      description: 'It ends with the next request, and with it what it was rotated from and all that came from either.',
      apiScope: null,
      effect: 'changes',
      params,
      answers: { 204: null },
      async handler({ caller, params: { id }, queryer, actor }) {
        const { row, self } = await robotFor(queryer, caller, id);
        if (!self) requireScope(caller, 'organizations:write');
        await revokeRobot(queryer, actor, row.id);
        return { status: 204 };
      },
    }),
    defineOperation({
      ...common,
      id: 'rotateRobot',
      method: 'post',
      path: '/robots/{id}/rotate',
      summary: 'Replace a robot by one with another secret',
      description:
        'The successor has the same name and grants. A robot may rotate itself, for no longer a life than it was given.',
      apiScope: null,
      effect: 'creates',
      params,
      body: rotationSchema.optional(),
      answers: { 201: newRobotSchema },
      async handler({ caller, params: { id }, body, queryer, actor }) {
        const { row, self } = await robotFor(queryer, caller, id);
        if (!self) {
          requireScope(caller, 'organizations:write');
          mustBePerson(caller);
          checkWithin({ grants: caller.subject.grants, apiScopes: caller.apiScopes }, row.grants, row.api_scopes);
        }
        return createdAnswer(await rotateRobot(queryer, actor, row.id, rotationOf(body, self), rules));
      },
    }),
  ];
}
