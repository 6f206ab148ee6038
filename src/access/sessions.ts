/** Sessions: signing in, and out, here or everywhere. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { createSecret } from './secrets.ts';
import { findPasswordOf, replacePassword, type UserRow } from './sql/accounts.ts';
import { insertSession, revokeSession, revokeSignIns } from './sql/sessions.ts';

export interface OpenedSession {
  readonly id: number;
  /** Shown once: in a cookie, or to a program. */
  readonly secret: string;
  readonly expiresAt: Date;
}

type Account = Pick<UserRow, 'id' | 'name' | 'namespace_id'>;

/** The same request, told of an account that has proven itself in it. */
export function actorAs(actor: Actor, { id, name }: Pick<UserRow, 'id' | 'name'>, credentialId: number | null): Actor {
  return { ...actor, credentialId, userId: id, name };
}

/**
 * Begins a session, with a secret that nobody has seen before. When the password that it came from is replaced meanwhile it
 * is dead from birth.
 */
export async function openSession(
  queryer: Queryer,
  user: Account,
  passwordId: number,
  ttlHours: number,
  actor: Actor,
): Promise<OpenedSession> {
  const { text: secret, hash: secretHash } = createSecret();
  const { address, client } = actor;
  const row = { userId: user.id, rootId: passwordId, secretHash, ttlHours, address, client };
  const { id, expires_at: expiresAt } = await insertSession(queryer, row);
  await recordAudit(queryer, actorAs(actor, user, id), {
    action: 'session.create',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    after: { id, expiresAt },
    outcome: 'done',
  });
  return { id, secret, expiresAt };
}

/** Ends one session with the next request. @returns false when the account has none of this id */
export async function endSession(queryer: Queryer, user: Account, id: number, actor: Actor): Promise<boolean> {
  if (!(await revokeSession(queryer, user.id, id))) return false;
  await recordAudit(queryer, actor, {
    action: 'session.revoke',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    before: { id },
    outcome: 'done',
  });
  return true;
}

/**
 * Ends all that came from an account's password: sessions, refresh tokens as `docker login` keeps them, access tokens. The
 * hash stays: whoever knows the password can sign in again. The caller has locked the account.
 * @param secretHash another hash, when the password changes; undefined keeps it
 * @returns the new password's credential, the root of what is signed in from now on; undefined when there is no password
 */
export async function renewPassword(
  queryer: Queryer,
  userId: number,
  secretHash?: string,
): Promise<{
  readonly passwordId: number | undefined;
  readonly ended: { readonly sessions: number; readonly refreshTokens: number };
}> {
  const ended = await revokeSignIns(queryer, userId, 'password');
  const hash = secretHash ?? (await findPasswordOf(queryer, userId))?.secret_hash;
  return { passwordId: hash === undefined ? undefined : await replacePassword(queryer, userId, hash), ended };
}

/**
 * Signs an account out everywhere: sessions, docker logins with the password or a token, access tokens of the password.
 * Personal access tokens themselves stay, for they are nobody's sign-in. The caller has locked the account.
 */
export async function signOutEverywhere(queryer: Queryer, user: Account, actor: Actor): Promise<void> {
  const all = await revokeSignIns(queryer, user.id, 'all');
  await renewPassword(queryer, user.id);
  await recordAudit(queryer, actor, {
    action: 'session.revoke_all',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    before: all,
    outcome: 'done',
  });
}
