/** What personal access tokens and robots have in common: how long they live, how they are replaced, how they end. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import type { AuditValue } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { apiScopeNames, type ApiScope } from './api-scopes.ts';
import { grantActions, grantsWithin, type Grant } from './grants.ts';
import { createSecret } from './secrets.ts';
import {
  countLive,
  endCredentialIn,
  findNamedCredential,
  insertNamedCredential,
  type CredentialOwner,
  type NamedCredentialRow,
} from './sql/named-credentials.ts';

export interface CredentialRules {
  /** The longest life of a new token or robot; 0 is no maximum. */
  readonly expiryDaysMax: number;
}

export const credentialStatuses = ['active', 'ending', 'expired', 'revoked'] as const;
export type CredentialStatus = (typeof credentialStatuses)[number];

/** `ending` is one that has a successor and works until its time is over. */
export function statusOf(row: NamedCredentialRow): CredentialStatus {
  if (row.revoked_at !== null) return 'revoked';
  if (!row.live) return 'expired';
  return row.replaced_by === null ? 'active' : 'ending';
}

/** A new credential. Its secret is here and nowhere else. */
export interface MadeCredential {
  readonly row: NamedCredentialRow;
  readonly secret: string;
}

/** How long a credential works on beside its successor, at most. */
export const overlapSecondsMax = 7 * 24 * 3600;
/** Live tokens of one account, or robots of one namespace. */
const liveMax = 1000;
const expiryDaysDefault = 90;
const dayMs = 24 * 3600 * 1000;
/** A page that asks for the longest life may have a clock that is a little ahead. */
const clockDifferenceMs = 5 * 60_000;

/**
 * When a new credential ends: as asked, or by default after 90 days or the maximum, whichever is less.
 * @param asked null: never
 * @throws ApiError `unprocessable`
 */
export function expiryOf(
  asked: Date | null | undefined,
  { expiryDaysMax }: CredentialRules,
  now = new Date(),
): Date | null {
  const maxMs = expiryDaysMax === 0 ? Infinity : expiryDaysMax * dayMs;
  if (asked === undefined) return new Date(now.getTime() + Math.min(expiryDaysDefault * dayMs, maxMs));
  const life = asked === null ? Infinity : asked.getTime() - now.getTime();
  if (life <= 0) throw wrongExpiry('must lie in the future');
  if (life === Infinity ? maxMs < Infinity : life > maxMs + clockDifferenceMs)
    throw wrongExpiry(`must lie within ${expiryDaysMax} days: this registry lets no token live longer`);
  return asked;
}

function wrongExpiry(message: string): ApiError {
  return new ApiError('unprocessable', `expiresAt ${message}`, { errors: [{ path: 'body.expiresAt', message }] });
}

/** Each action and scope once, in their own order: equal sets look alike. */
export function tidyGrants(grants: readonly Grant[]): Grant[] {
  return grants.map(({ repositories, actions }) => ({
    repositories,
    actions: grantActions.filter((action) => actions.includes(action)),
  }));
}
export function tidyScopes(scopes: readonly ApiScope[]): ApiScope[] {
  return apiScopeNames.filter((scope) => scopes.includes(scope));
}

/** What the credential that asks for a new one may itself do; null where it has no such limit. */
export interface Limits {
  readonly grants: readonly Grant[] | null;
  readonly apiScopes: readonly string[] | null;
}

/** Nobody gives away more than they have. @throws ApiError `forbidden` */
export function checkWithin(limits: Limits, grants: readonly Grant[], scopes: readonly ApiScope[]): void {
  const within =
    (limits.grants === null || grantsWithin(grants, limits.grants)) &&
    scopes.every((scope) => limits.apiScopes?.includes(scope) ?? true);
  if (!within)
    throw new ApiError('forbidden', 'this token cannot give rights away that it does not have itself', {
      next: 'Ask for less, or do it in a session.',
    });
}

/**
 * Whether the owner, who was locked before, may have one more of this name.
 * @throws ApiError `conflict`, `unprocessable`
 */
export async function checkRoom(queryer: Queryer, owner: CredentialOwner, name: string): Promise<void> {
  const { all, named } = await countLive(queryer, owner, name);
  const what = 'userId' in owner ? 'token' : 'robot';
  if (named > 0)
    throw new ApiError('conflict', `there is a live ${what} of this name already`, {
      next: 'Choose another name, revoke the one that is there, or rotate it.',
    });
  if (all >= liveMax)
    throw new ApiError('unprocessable', `there are ${all} live ${what}s already; no more than ${liveMax} may be`, {
      next: 'Revoke some that nobody uses.',
    });
}

export interface NewCredential {
  readonly kind: 'token' | 'robot';
  readonly name: string;
  readonly owner: {
    readonly userId: number | null;
    readonly namespaceId: number | null;
    readonly repositoryId: number | null;
  };
  readonly grants: readonly Grant[];
  readonly apiScopes: readonly ApiScope[];
  readonly expiresAt: Date | null;
  readonly rotatedFrom?: number;
}

export async function makeCredential(queryer: Queryer, actor: Actor, wanted: NewCredential): Promise<MadeCredential> {
  const { text: secret, hash: secretHash } = createSecret();
  const id = await insertNamedCredential(queryer, {
    ...wanted,
    ...wanted.owner,
    secretHash,
    rotatedFrom: wanted.rotatedFrom ?? null,
    createdBy: actor.userId,
  });
  return { row: (await findNamedCredential(queryer, wanted.kind, id))!, secret };
}

export interface Rotation {
  /** Undefined: as long a life as the one before got, within the maximum. */
  readonly expiresAt: Date | null | undefined;
  /** Undefined: none, or five minutes where a credential rotates itself. Up to `overlapSecondsMax`. */
  readonly overlapSeconds: number | undefined;
  /** Whether the credential itself asks. It gets no longer life than it was given. */
  readonly bySelf: boolean;
}

/** An answer that was lost on its way can be asked for again (with the same Idempotency-Key) only while the old secret works. */
const overlapBySelfSeconds = 300;

/** @throws ApiError `conflict` when it has ended, or has a successor */
function checkRotatable(row: NamedCredentialRow): void {
  if (!row.live)
    throw new ApiError('conflict', 'it has expired or was revoked: there is nothing to rotate; make a new one');
  if (row.replaced_by !== null) throw new ApiError('conflict', 'it was rotated already: rotate its successor');
}

/** @throws ApiError `unprocessable` */
function expiryAfterRotation(row: NamedCredentialRow, rotation: Rotation, rules: CredentialRules): Date | null {
  const now = new Date();
  const { expiryDaysMax } = rules;
  const life = row.expires_at === null ? Infinity : row.expires_at.getTime() - row.created_at.getTime();
  const lifeMax = Math.min(life, expiryDaysMax === 0 ? Infinity : expiryDaysMax * dayMs);
  if (rotation.expiresAt === undefined) return lifeMax === Infinity ? null : new Date(now.getTime() + lifeMax);
  const asked = expiryOf(rotation.expiresAt, rules, now);
  const askedMs = asked === null ? Infinity : asked.getTime() - now.getTime();
  if (rotation.bySelf && askedMs > life && askedMs - life > clockDifferenceMs)
    throw wrongExpiry('must not give a longer life than was given before, where a token rotates itself');
  return asked;
}

/**
 * Makes the successor of a credential, which was found under its owner's lock: same owner and rights, a secret of its own.
 * What came from the old one, refresh tokens and access tokens, ends with it.
 * @param change what is different, where the owner has another name by now
 * @returns the successor, and what the audit log says of both
 * @throws ApiError `conflict`, `unprocessable`
 */
export async function rotateCredential(
  queryer: Queryer,
  actor: Actor,
  row: NamedCredentialRow,
  rotation: Rotation,
  rules: CredentialRules,
  change: { readonly name?: string; readonly grants?: readonly Grant[] } = {},
): Promise<MadeCredential & { readonly before: AuditValue; readonly after: AuditValue }> {
  checkRotatable(row);
  const expiresAt = expiryAfterRotation(row, rotation, rules);
  const overlapSeconds = rotation.overlapSeconds ?? (rotation.bySelf ? overlapBySelfSeconds : 0);
  const made = await makeCredential(queryer, actor, {
    kind: row.kind,
    name: row.name,
    owner: { userId: row.user_id, namespaceId: row.namespace_id, repositoryId: row.repository_id },
    grants: row.grants,
    apiScopes: row.api_scopes,
    expiresAt,
    rotatedFrom: row.id,
    ...change,
  });
  const endsAt = await endCredentialIn(queryer, row.id, overlapSeconds);
  return {
    ...made,
    before: { id: row.id, expiresAt: row.expires_at, endsAt },
    after: auditValueOf(made.row),
  };
}

/** A credential as the audit log describes it. */
export function auditValueOf(row: NamedCredentialRow): AuditValue {
  return { id: row.id, grants: row.grants, apiScopes: row.api_scopes, expiresAt: row.expires_at };
}
