/** Changes of an account: by its owner, by a link, or by an administrator. Each has locked the account first. */
import type { EmailAddress } from '../config/email-address.ts';
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit, type AuditEntry } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import type { Site } from './links.ts';
import { emailChangedMail, passwordChangedMail } from './mail.ts';
import { renewPassword, signOutEverywhere } from './sessions.ts';
import {
  hasOtherAdministrator,
  lockAdministrator,
  lockUser,
  updateAdmin,
  updateDisabled,
  updateEmail,
  type UserRow,
} from './sql/accounts.ts';
import { voidLinksOf } from './sql/links.ts';
import { queueMail } from './sql/mail.ts';

const record = (
  queryer: Queryer,
  actor: Actor,
  user: UserRow,
  entry: Pick<AuditEntry, 'action' | 'before' | 'after'>,
) =>
  recordAudit(queryer, actor, {
    ...entry,
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    outcome: 'done',
  });

/** @throws ApiError `notFound` */
export async function lockUserNamed(queryer: Queryer, name: string): Promise<UserRow> {
  const user = await lockUser(queryer, { name });
  if (user === undefined) throw new ApiError('notFound', `there is no user ${quote(name)}`);
  return user;
}

/**
 * Gives an account another password, tells its owner by mail, and ends all that came from the old one. A second factor stays.
 * @returns the root of what is signed in from now on
 */
export async function changePassword(
  queryer: Queryer,
  user: UserRow,
  secretHash: string,
  { action, site, actor }: { action: 'user.password' | 'password.reset'; site: Site; actor: Actor },
): Promise<number> {
  const { passwordId, ended } = await renewPassword(queryer, user.id, secretHash);
  // Whoever could have asked for a link with the old password's mailbox open has nothing left of it.
  await voidLinksOf(queryer, user.id, ['password_reset']);
  await record(queryer, actor, user, { action, after: ended });
  if (user.email !== null && user.email_verified_at !== null && site.sendsMail)
    await queueMail(queryer, passwordChangedMail({ to: user.email, publicUrl: site.publicUrl, account: user.name }));
  return passwordId!;
}

/**
 * Gives an account an address, or none. The old one, if it was confirmed, is told.
 * @throws ApiError `conflict` when another account has it: for whoever has shown that the mailbox is theirs, and for administrators
 */
export async function changeEmail(
  queryer: Queryer,
  user: UserRow,
  { email, verified }: { email: EmailAddress | null; verified: boolean },
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  if (!(await updateEmail(queryer, user.id, email, verified)))
    throw new ApiError('conflict', 'another account has this address, and only one can have it');
  if (email === user.email) return;
  await voidLinksOf(queryer, user.id, ['verify_email', 'password_reset']);
  await record(queryer, actor, user, { action: 'user.email', before: { email: user.email }, after: { email } });
  if (user.email !== null && user.email_verified_at !== null && site.sendsMail)
    await queueMail(queryer, emailChangedMail({ to: user.email, publicUrl: site.publicUrl, account: user.name }));
}

export interface UserChange {
  readonly disabled?: boolean | undefined;
  readonly admin?: boolean | undefined;
  /** Not confirmed by being set. Null takes it away. */
  readonly email?: EmailAddress | null | undefined;
}

/**
 * What an administrator changes of an account, with the next request of anybody. Disabling it also ends all of its sessions
 * and docker logins for good. Locks the account itself, for administrators are counted under a lock that comes first.
 * @param check called once it is locked
 * @returns the account as it was before
 * @throws ApiError `notFound`, `unprocessable` for the last administrator, `conflict` for an address that is taken
 */
export async function changeUser(
  queryer: Queryer,
  name: string,
  change: UserChange,
  { site, actor, check }: { site: Site; actor: Actor; check?: () => Promise<void> },
): Promise<UserRow> {
  if (change.disabled === true || change.admin === false) await lockAdministrator(queryer);
  const user = await lockUserNamed(queryer, name);
  await check?.();
  const { disabled = user.disabled_at !== null, admin = user.is_admin, email = user.email } = change;
  if (disabled || !admin) await refuseLastAdministrator(queryer, user);
  if (disabled !== (user.disabled_at !== null)) {
    await updateDisabled(queryer, user.id, disabled);
    await record(queryer, actor, user, { action: disabled ? 'user.disable' : 'user.enable' });
    if (disabled) await signOutEverywhere(queryer, user, actor);
  }
  if (admin !== user.is_admin) {
    await updateAdmin(queryer, user.id, admin);
    await record(queryer, actor, user, { action: 'user.admin', before: { admin: user.is_admin }, after: { admin } });
  }
  if (email !== user.email) await changeEmail(queryer, user, { email, verified: false }, { site, actor });
  return user;
}

async function refuseLastAdministrator(queryer: Queryer, user: UserRow): Promise<void> {
  if (!user.is_admin || user.disabled_at !== null || (await hasOtherAdministrator(queryer, user.id))) return;
  throw new ApiError(
    'unprocessable',
    `${user.name} is the last administrator that can sign in; make another one first`,
  );
}
