/** The second factor of an account, from its set-up to its end. */
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import type { AuditAction } from '../events/audit-actions.ts';
import { ApiError } from '../oci/problem.ts';
import { renewPassword } from './sessions.ts';
import type { UserRow } from './sql/accounts.ts';
import {
  claimRecoveryCode,
  claimStep,
  clearTotp,
  enableTotp,
  findTotp,
  replaceRecoveryCodes,
  storePendingSecret,
} from './sql/second-factor.ts';
import { createRecoveryCodes, createTotpSecret, hashOfRecoveryCode, totpUri, verifyTotp } from './totp.ts';

type Account = Pick<UserRow, 'id' | 'name' | 'namespace_id'>;

const record = (queryer: Queryer, actor: Actor, user: Account, action: AuditAction): Promise<void> =>
  recordAudit(queryer, actor, {
    action,
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    outcome: 'done',
  });

/**
 * Whether this is a code of the account's app or one of its recovery codes, which with that is used up. In a transaction of
 * its own: a code that was accepted is gone even when what it was for fails.
 */
export async function spendCode(database: Database, user: Account, code: string, actor: Actor): Promise<boolean> {
  const totp = await findTotp(database, user.id);
  if (totp === undefined || totp.totp_secret === null || !totp.enabled) return false;
  const { totp_secret: secret, totp_last_step: lastStep } = totp;
  const step = verifyTotp({ code, secret, lastStep });
  if (step !== null) return claimStep(database, user.id, secret, step);
  return database.transaction(async (queryer) => {
    if (!(await claimRecoveryCode(queryer, user.id, hashOfRecoveryCode(code)))) return false;
    await record(queryer, actor, user, 'user.recovery_code.use');
    return true;
  });
}

/**
 * Begins to set up a second factor: a new secret, which does not count yet, in place of one that was begun before.
 * @param issuer the registry's name, as the app shows it
 * @throws ApiError `conflict` when there is a second factor already
 */
export async function beginTotp(
  queryer: Queryer,
  user: Account,
  issuer: string,
): Promise<{ readonly secret: string; readonly uri: string }> {
  const secret = createTotpSecret();
  if (!(await storePendingSecret(queryer, user.id, secret)))
    throw new ApiError('conflict', 'this account has a second factor already; remove it first');
  return { secret, uri: totpUri({ secret, issuer, account: user.name }) };
}

/** A code of the app that is being set up, and the secret that it belongs to. */
export interface PendingProof {
  readonly secret: string;
  readonly step: number;
}

/** Undefined when the code is wrong. @throws ApiError `conflict` when nothing is being set up */
export async function checkPendingCode(
  queryer: Queryer,
  userId: number,
  code: string,
): Promise<PendingProof | undefined> {
  const totp = await findTotp(queryer, userId);
  if (totp === undefined || totp.totp_secret === null || totp.enabled) throw nothingBegun();
  const step = verifyTotp({ code, secret: totp.totp_secret, lastStep: totp.totp_last_step });
  return step === null ? undefined : { secret: totp.totp_secret, step };
}

function nothingBegun(): ApiError {
  return new ApiError('conflict', 'no second factor is being set up', {
    next: 'Begin with POST /api/v1/account/totp, then confirm a code of the app.',
  });
}

/**
 * From now on signing in takes a code, and the password alone opens nothing: whatever came from it ends. The caller has
 * locked the account.
 * @returns recovery codes, to be shown once, and the new root of what is signed in from now on
 * @throws ApiError `conflict` when it was enabled or begun anew meanwhile
 */
export async function activateTotp(
  queryer: Queryer,
  user: Account,
  { secret, step }: PendingProof,
  actor: Actor,
): Promise<{ readonly recoveryCodes: readonly string[]; readonly passwordId: number | undefined }> {
  if (!(await enableTotp(queryer, user.id, secret, step))) throw nothingBegun();
  const recoveryCodes = await makeRecoveryCodes(queryer, user.id);
  const { passwordId } = await renewPassword(queryer, user.id);
  await record(queryer, actor, user, 'user.totp.enable');
  return { recoveryCodes, passwordId };
}

async function makeRecoveryCodes(queryer: Queryer, userId: number): Promise<string[]> {
  const codes = createRecoveryCodes();
  await replaceRecoveryCodes(
    queryer,
    userId,
    codes.map(({ hash }) => hash),
  );
  return codes.map(({ text }) => text);
}

/** New recovery codes in place of all older ones. The caller has locked the account. @throws ApiError `conflict` */
export async function renewRecoveryCodes(queryer: Queryer, user: UserRow, actor: Actor): Promise<string[]> {
  if (user.totp_enabled_at === null) throw noSecondFactor();
  const codes = await makeRecoveryCodes(queryer, user.id);
  await record(queryer, actor, user, 'user.recovery_codes');
  return codes;
}

/** Signing in takes no code any more. The caller has locked the account. @throws ApiError `conflict` when it took none */
export async function removeTotp(queryer: Queryer, user: Account, actor: Actor): Promise<void> {
  if (!(await clearTotp(queryer, user.id))) throw noSecondFactor();
  await record(queryer, actor, user, 'user.totp.disable');
}

export function noSecondFactor(): ApiError {
  return new ApiError('conflict', 'this account has no second factor');
}
