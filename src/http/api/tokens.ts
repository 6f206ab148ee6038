/** `/api/v1/tokens`: personal access tokens. */
import { z } from 'zod';
import {
  createToken,
  revokeToken,
  rotateToken,
  tokenNameLengthMax,
  tokenNamePattern,
  tokenNameRule,
  unknownToken,
} from '../../access/personal-tokens.ts';
import type { CredentialRules, MadeCredential } from '../../access/named-credentials.ts';
import {
  findAccount,
  findNamedCredential,
  listTokensOf,
  type NamedCredentialRow,
} from '../../access/sql/named-credentials.ts';
import type { Queryer } from '../../database/pool.ts';
import { ApiError } from '../../oci/problem.ts';
import { quote } from '../../oci/quote.ts';
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
import { accountOf, administratorOf, isInPerson } from './people.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageSchema } from './pages.ts';

const shape = { ...credentialShape, name: z.string() };
const tokenSchema = z.strictObject(shape).meta({ id: 'Token' });
const newTokenSchema = z.strictObject({ ...shape, secret: secretField }).meta({ id: 'NewToken' });
const nameField = z
  .string()
  .max(tokenNameLengthMax)
  .regex(tokenNamePattern, tokenNameRule)
  .meta({ description: 'Told apart by it; of the live tokens of an account one has it.', example: 'ci-api' });
const params = z.strictObject({ id: credentialIdParam });

const common = { tags: ['tokens'], access: 'signed-in' } as const;

/** @throws ApiError `forbidden` */
function mustBeAccountItself(caller: ApiCaller, to: string): void {
  if (isInPerson(caller)) return;
  throw new ApiError('forbidden', `a token cannot ${to}`, {
    next: 'Do it in a session, or with the name and password of the account.',
  });
}

/** The caller's own token, or the one that asks. @throws ApiError `notFound` */
async function ownToken(queryer: Queryer, caller: ApiCaller, id: number | 'current'): Promise<NamedCredentialRow> {
  const { id: userId } = accountOf(caller);
  const wanted = id === 'current' ? caller.caller.credentialId : id;
  const row = await findNamedCredential(queryer, 'token', wanted);
  if (row === undefined || row.user_id !== userId || (id === 'current' && !isSelf(caller, row.id)))
    throw unknownToken(id);
  return row;
}

function bodyOf(row: NamedCredentialRow, caller: ApiCaller): z.input<typeof tokenSchema> {
  const self = isSelf(caller, row.id);
  const revokes = self || caller.apiScopes === null || caller.apiScopes.includes('account:write');
  const rotates = self || isInPerson(caller);
  const can = [...(rotates ? (['rotate'] as const) : []), ...(revokes ? (['revoke'] as const) : [])];
  return { name: row.name, ...credentialBody(row, can) };
}

const createdAnswer = ({ row, secret }: MadeCredential, caller: ApiCaller) => ({
  status: 201 as const,
  body: { ...bodyOf(row, caller), secret },
  headers: { Location: `/api/v1/tokens/${row.id}` },
});

export function tokenOperations(rules: CredentialRules): readonly Operation[] {
  return [...ownTokens(rules), ...tokensOfUsers()];
}

function ownTokens(rules: CredentialRules): readonly Operation[] {
  return [
    defineOperation({
      ...common,
      id: 'listTokens',
      method: 'get',
      path: '/tokens',
      summary: "List one's personal access tokens, the newest first",
      apiScope: 'account:read',
      effect: 'reads',
      query: credentialPageQuery,
      answers: { 200: pageSchema(tokenSchema) },
      async handler({ caller, query, queryer }) {
        const rows = await listTokensOf(queryer, accountOf(caller).id, pageOf(query));
        const { items, next } = cutPage(rows, query.limit, (row) => [row.id]);
        return { status: 200, body: { items: items.map((row) => bodyOf(row, caller)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'createToken',
      method: 'post',
      path: '/tokens',
      summary: 'Make a personal access token',
      description:
        'For docker login, and for programs that use this API. It takes a session, or name and password: no token makes tokens. ' +
        'Repositories need not be there, and what the account may not do no token of it may.',
      apiScope: 'account:write',
      effect: 'creates',
      body: z.strictObject({ name: nameField, ...newCredentialShape }),
      answers: { 201: newTokenSchema },
      async handler({ caller, body, queryer, actor }) {
        const { id: userId } = accountOf(caller);
        mustBeAccountItself(caller, 'make tokens');
        const { name, grants, apiScopes, expiresAt } = body;
        const made = await createToken(queryer, actor, userId, { name, grants, apiScopes, expiresAt }, rules);
        return createdAnswer(made, caller);
      },
    }),
    defineOperation({
      ...common,
      id: 'getToken',
      method: 'get',
      path: '/tokens/{id}',
      summary: 'Look at a personal access token',
      description: 'A token may always look at itself; at others it takes the API scope account:read.',
      apiScope: null,
      effect: 'reads',
      params,
      answers: { 200: tokenSchema },
      async handler({ caller, params: { id }, queryer }) {
        if (id !== 'current' && !isSelf(caller, id)) requireScope(caller, 'account:read');
        const body = bodyOf(await ownToken(queryer, caller, id), caller);
        return { status: 200, body, version: { ...body, lastUsed: null } };
      },
    }),
    defineOperation({
      ...common,
      id: 'revokeToken',
      method: 'delete',
      path: '/tokens/{id}',
      summary: 'Revoke a personal access token',
      description:
        'It ends with the next request, and with it what it was rotated from and all that came from either. A token may revoke ' +
        'itself; for others it takes the API scope account:write.',
      apiScope: null,
      effect: 'changes',
      params,
      answers: { 204: null },
      async handler({ caller, params: { id }, queryer, actor }) {
        if (id !== 'current' && !isSelf(caller, id)) requireScope(caller, 'account:write');
        const row = await ownToken(queryer, caller, id);
        await revokeToken(queryer, actor, { userId: accountOf(caller).id, id: row.id });
        return { status: 204 };
      },
    }),
    defineOperation({
      ...common,
      id: 'rotateToken',
      method: 'post',
      path: '/tokens/{id}/rotate',
      summary: 'Replace a personal access token by one with another secret',
      description:
        'The successor has the same name, grants and scopes. A token may rotate itself, for no longer a life than it was given; ' +
        'all others take a session, or name and password.',
      apiScope: null,
      effect: 'creates',
      params,
      body: rotationSchema.optional(),
      answers: { 201: newTokenSchema },
      async handler({ caller, params: { id }, body, queryer, actor }) {
        const bySelf = id === 'current' || isSelf(caller, id);
        if (!bySelf) mustBeAccountItself(caller, 'rotate another one');
        const row = await ownToken(queryer, caller, id);
        const token = { userId: accountOf(caller).id, id: row.id };
        const made = await rotateToken(queryer, actor, token, rotationOf(body, bySelf), rules);
        return createdAnswer(made, caller);
      },
    }),
  ];
}

/** What administrators see and do with the tokens of others. */
function tokensOfUsers(): readonly Operation[] {
  const administrative = { tags: ['tokens', 'administration'], access: 'signed-in' } as const;
  const user = z.string().min(1).max(64);
  /** @throws ApiError `notFound` */
  async function userIdOf(queryer: Queryer, name: string): Promise<number> {
    const account = await findAccount(queryer, name);
    if (account === undefined) throw new ApiError('notFound', `there is no user ${quote(name)}`);
    return account.id;
  }
  return [
    defineOperation({
      ...administrative,
      id: 'listTokensOfUser',
      method: 'get',
      path: '/users/{user}/tokens',
      summary: 'List the personal access tokens of any user, as an administrator',
      apiScope: 'admin:read',
      effect: 'reads',
      params: z.strictObject({ user }),
      query: credentialPageQuery,
      answers: { 200: pageSchema(tokenSchema) },
      async handler({ caller, params: { user: name }, query, queryer }) {
        administratorOf(caller);
        const rows = await listTokensOf(queryer, await userIdOf(queryer, name), pageOf(query));
        const { items, next } = cutPage(rows, query.limit, (row) => [row.id]);
        const body = items.map((row) => ({ name: row.name, ...credentialBody(row, ['revoke']) }));
        return { status: 200, body: { items: body }, next };
      },
    }),
    defineOperation({
      ...administrative,
      id: 'revokeTokenOfUser',
      method: 'delete',
      path: '/users/{user}/tokens/{id}',
      summary: 'Revoke a personal access token of any user, as an administrator',
      apiScope: 'admin:write',
      effect: 'changes',
      params: z.strictObject({
        user,
        id: z
          .string()
          .regex(/^[1-9]\d{0,14}$/, 'must be an id')
          .transform(Number),
      }),
      answers: { 204: null },
      async handler({ caller, params: { user: name, id }, queryer, actor }) {
        administratorOf(caller);
        await revokeToken(queryer, actor, { userId: await userIdOf(queryer, name), id });
        return { status: 204 };
      },
    }),
  ];
}
