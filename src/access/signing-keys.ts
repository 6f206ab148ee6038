/**
 * How the keys that sign access tokens come and go. A key that was replaced goes on verifying until its last token is dead
 * and is forgotten then; one that was revoked is believed no longer, nor is any token that it signed.
 */
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import { commandLine } from './actor.ts';
import { generateKey } from './keys.ts';
import {
  deleteReplacedKeys,
  isSigningKeyOlder,
  listSigningKeys,
  revokeSigningKeyRow,
  type SigningKeyStateRow,
} from './sql/signing-keys.ts';
import { currentSigningKey, insertSigningKey, lockSigningKeys } from './sql/tokens.ts';

/**
 * How long a replaced key is kept. Whatever a process is set to: the longest life of a token and the widest difference of
 * clocks that a setting allows are 70 minutes together, and the rest is for a process that stalls between reading the key
 * and signing with it.
 */
const replacedSecondsMax = 2 * 3600;

async function replace(queryer: Queryer, actor: Actor, reason?: string): Promise<string> {
  const before = await currentSigningKey(queryer);
  const key = generateKey();
  await insertSigningKey(queryer, key);
  await recordAudit(queryer, actor, {
    action: 'signing_key.rotate',
    target: `signing key ${key.kid}`,
    ...(before !== undefined && { before: { kid: before.kid } }),
    after: { kid: key.kid },
    outcome: 'done',
    reason,
  });
  return key.kid;
}

/** Signs with a new key from now on, in every process; tokens of the old one live on. In the caller's transaction. @returns its id */
export async function rotateSigningKey(queryer: Queryer, actor: Actor): Promise<string> {
  await lockSigningKeys(queryer);
  return replace(queryer, actor);
}

/** By whom a key is replaced because of its age. */
const byAge = commandLine('berth');

/**
 * What is to be done with the keys now and then: a new one where the current one is this old, and those forgotten whose last
 * token is dead. Of several processes that do so at once one makes a new key.
 * @param rotationDays 0: never
 */
export async function tendSigningKeys(
  database: Database,
  rotationDays: number,
): Promise<{ readonly rotated: boolean; readonly forgotten: number }> {
  return database.transaction(async (queryer) => {
    await lockSigningKeys(queryer);
    const rotated = rotationDays > 0 && (await isSigningKeyOlder(queryer, rotationDays));
    if (rotated) await replace(queryer, byAge, `older than ${rotationDays} days`);
    const forgotten = await deleteReplacedKeys(queryer, replacedSecondsMax);
    return { rotated, forgotten: forgotten.length };
  });
}

/**
 * Drops a key: every token that it signed fails with the next request. Where it was the current one a new one takes its
 * place at once. One that was revoked before stays so.
 * @throws ApiError `notFound`
 */
export async function revokeSigningKey(queryer: Queryer, actor: Actor, kid: string): Promise<void> {
  await lockSigningKeys(queryer);
  const revoked = await revokeSigningKeyRow(queryer, kid);
  if (revoked === undefined) throw new ApiError('notFound', `there is no signing key ${quote(kid)}`);
  if (!revoked) return;
  await recordAudit(queryer, actor, { action: 'signing_key.revoke', target: `signing key ${kid}`, outcome: 'done' });
  if ((await currentSigningKey(queryer)) === undefined) await replace(queryer, actor, `${kid} was revoked`);
}

export interface SigningKeyState {
  readonly kid: string;
  /** `current` signs; `replaced` still verifies; `revoked` is believed no longer. */
  readonly status: 'current' | 'replaced' | 'revoked';
  readonly createdAt: Date;
  readonly replacedAt: Date | null;
  readonly revokedAt: Date | null;
}

/** Newest first. */
export async function signingKeyStates(queryer: Queryer): Promise<SigningKeyState[]> {
  const statusOf = ({ replaced_at, revoked_at }: SigningKeyStateRow): SigningKeyState['status'] =>
    revoked_at !== null ? 'revoked' : replaced_at !== null ? 'replaced' : 'current';
  return (await listSigningKeys(queryer)).map((row) => ({
    kid: row.kid,
    status: statusOf(row),
    createdAt: row.created_at,
    replacedAt: row.replaced_at,
    revokedAt: row.revoked_at,
  }));
}
