/** Personal access tokens: made for one job, by and for one account. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import type { ApiScope } from './api-scopes.ts';
import type { Grant } from './grants.ts';
import {
  auditValueOf,
  checkRoom,
  expiryOf,
  makeCredential,
  rotateCredential,
  tidyGrants,
  tidyScopes,
  type CredentialRules,
  type MadeCredential,
  type Rotation,
} from './named-credentials.ts';
import {
  findNamedCredential,
  lockAccount,
  revokeCredential,
  type NamedCredentialRow,
} from './sql/named-credentials.ts';

/** A token's name, in UTF-16 units. */
export const tokenNameLengthMax = 64;
export const tokenNamePattern = /^[\p{L}\p{N}\p{P}\p{S}](?: ?[\p{L}\p{M}\p{N}\p{P}\p{S}])*$/u;
export const tokenNameRule = `must be 1 to ${tokenNameLengthMax} visible characters, with single spaces between them`;

export interface NewToken {
  readonly name: string;
  readonly grants: readonly Grant[];
  readonly apiScopes: readonly ApiScope[];
  /** Null: never. Undefined: the default. */
  readonly expiresAt: Date | null | undefined;
}

/**
 * Makes a token for an account, in the caller's transaction. What it is granted counts only as far as the account's own
 * rights go, so nothing is looked up: naming a repository says nothing about whether it is there.
 * @throws ApiError `conflict` when a live token has the name, `unprocessable` for a life beyond the maximum
 */
export async function createToken(
  queryer: Queryer,
  actor: Actor,
  userId: number,
  wanted: NewToken,
  rules: CredentialRules,
): Promise<MadeCredential> {
  const expiresAt = expiryOf(wanted.expiresAt, rules);
  const account = await lockAccount(queryer, userId);
  if (account === undefined) throw new ApiError('notFound', 'the account is not there any more');
  await checkRoom(queryer, { userId }, wanted.name);
  const made = await makeCredential(queryer, actor, {
    kind: 'token',
    name: wanted.name,
    owner: { userId, namespaceId: null, repositoryId: null },
    grants: tidyGrants(wanted.grants),
    apiScopes: tidyScopes(wanted.apiScopes),
    expiresAt,
  });
  await recordAudit(queryer, actor, {
    action: 'token.create',
    namespaceId: account.namespace_id ?? undefined,
    target: targetOf(made.row),
    after: auditValueOf(made.row),
    outcome: 'done',
  });
  return made;
}

/** A token of this account, locked with it. @throws ApiError `notFound` for all others */
async function lockToken(
  queryer: Queryer,
  userId: number,
  id: number,
): Promise<{ row: NamedCredentialRow; namespaceId: number | undefined }> {
  const account = await lockAccount(queryer, userId);
  const row = await findNamedCredential(queryer, 'token', id);
  if (account === undefined || row?.user_id !== userId) throw unknownToken(id);
  return { row, namespaceId: account.namespace_id ?? undefined };
}

export function unknownToken(id: number | string): ApiError {
  return new ApiError('notFound', `there is no token ${id}, or it is not yours`);
}

/**
 * Gives a token a successor of the same name and rights. The old one works on for the overlap.
 * @throws ApiError `notFound`, `conflict` when it has ended or was rotated before, `unprocessable`
 */
export async function rotateToken(
  queryer: Queryer,
  actor: Actor,
  { userId, id }: { readonly userId: number; readonly id: number },
  rotation: Rotation,
  rules: CredentialRules,
): Promise<MadeCredential> {
  const { row, namespaceId } = await lockToken(queryer, userId, id);
  const { before, after, ...made } = await rotateCredential(queryer, actor, row, rotation, rules);
  await recordAudit(queryer, actor, {
    action: 'token.rotate',
    namespaceId,
    target: targetOf(row),
    before,
    after,
    outcome: 'done',
  });
  return made;
}

/**
 * Ends a token with the next request, together with those that it was rotated from and that still work. One that has ended
 * already is left as it is.
 * @throws ApiError `notFound`
 */
export async function revokeToken(
  queryer: Queryer,
  actor: Actor,
  { userId, id }: { readonly userId: number; readonly id: number },
): Promise<void> {
  const { row, namespaceId } = await lockToken(queryer, userId, id);
  const revoked = await revokeCredential(queryer, id);
  if (revoked.length === 0) return;
  await recordAudit(queryer, actor, {
    action: 'token.revoke',
    namespaceId,
    target: targetOf(row),
    before: auditValueOf(row),
    after: { revoked },
    outcome: 'done',
  });
}

const targetOf = ({ name, username }: NamedCredentialRow): string => `token ${name} of ${username}`;
