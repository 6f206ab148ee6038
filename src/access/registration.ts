/**
 * What people without an account, or without their password, may ask for. What is asked is only noted, as a job, and looked
 * at behind the answer: so the answer and its time say nothing about who has an account. Whatever there is to say is mailed
 * to whom it concerns.
 */
import { parseEmailAddress, type EmailAddress } from '../config/email-address.ts';
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { changeEmail, changePassword } from './account-changes.ts';
import { createAccount } from './accounts.ts';
import {
  consumeLink,
  deadLink,
  giveLink,
  linkHours,
  linksPerHourMax,
  makeLink,
  type GivenLink,
  type MadeLink,
  type Site,
} from './links.ts';
import { alreadyRegisteredMail, passwordResetMail, registrationMail, verifyEmailMail, welcomeMail } from './mail.ts';
import { actorAs } from './sessions.ts';
import { findUser, lockUser, updateEmail, type UserRow } from './sql/accounts.ts';
import { countRecentLinks, isInvited, lockAddress } from './sql/links.ts';
import { queueMail } from './sql/mail.ts';

/** Who may register. */
export type RegistrationMode = 'closed' | 'invitation' | 'open';

/**
 * Mails somebody who asked for an account a link to make it, or, when there is one of this address, says so; nothing to
 * whom nobody invited where that is needed, and nothing after the third time within an hour.
 */
export async function answerRegistration(
  queryer: Queryer,
  email: EmailAddress,
  { mode, site, actor }: { mode: RegistrationMode; site: Site; actor: Actor },
): Promise<void> {
  if (mode === 'closed' || !site.sendsMail) return;
  await lockAddress(queryer, email);
  if ((await countRecentLinks(queryer, 'registration', { userId: null, email })) >= linksPerHourMax) return;
  const user = await findUser(queryer, { email });
  if (user === undefined && mode === 'invitation' && !(await isInvited(queryer, email))) return;
  const { publicUrl } = site;
  const owner = { purpose: 'registration', email, userId: null, createdBy: null } as const;
  // Where there is an account the link is for nobody to use, and only counted.
  const made = await makeLink(queryer, { ...owner, hours: user === undefined ? linkHours.registration : 0 });
  const mail =
    user === undefined
      ? registrationMail({ to: email, publicUrl, ...made })
      : alreadyRegisteredMail({ to: email, publicUrl, account: user.name });
  await queueMail(queryer, mail);
  await recordAudit(queryer, actor, { action: 'registration.request', target: email, outcome: 'done' });
}

/**
 * Mails a link to choose a new password to the confirmed address of an enabled account; nothing to all others, and nothing
 * after the third time within an hour.
 * @param account a user name or an address
 */
export async function answerPasswordReset(
  queryer: Queryer,
  account: string,
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  if (!site.sendsMail) return;
  const email = parseEmailAddress(account);
  const user = await lockUser(queryer, email === undefined ? { name: account } : { email });
  if (user === undefined || user.disabled_at !== null || user.email === null || user.email_verified_at === null) return;
  const owner = { userId: user.id, email: user.email };
  if ((await countRecentLinks(queryer, 'password_reset', owner)) >= linksPerHourMax) return;
  const made = await makeLink(queryer, {
    ...owner,
    purpose: 'password_reset',
    createdBy: null,
    hours: linkHours.password_reset,
  });
  const to = { to: user.email, publicUrl: site.publicUrl };
  await queueMail(queryer, passwordResetMail({ ...to, account: user.name, ...made }));
  await recordAudit(queryer, actor, {
    action: 'password.reset.request',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    outcome: 'done',
  });
}

/** An administrator's invitation, in every mode: a link that makes an account of this address. */
export async function inviteUser(queryer: Queryer, email: EmailAddress, site: Site, actor: Actor): Promise<GivenLink> {
  await lockAddress(queryer, email);
  const made = await makeLink(queryer, {
    purpose: 'registration',
    email,
    userId: null,
    createdBy: actor.userId,
    hours: linkHours.invitation,
  });
  await recordAudit(queryer, actor, { action: 'invitation.create', target: email, outcome: 'done' });
  const mail = registrationMail({ to: email, publicUrl: site.publicUrl, ...made });
  return giveLink(queryer, site, made, 'registration', mail);
}

/** An administrator's link to choose a password. It goes to the account's address, if there is one and mail is sent. */
export async function givePasswordLink(
  queryer: Queryer,
  user: UserRow,
  why: 'new' | 'reset',
  site: Site,
  actor: Actor,
): Promise<GivenLink> {
  const to = site.sendsMail ? user.email : null;
  const hours = why === 'new' ? linkHours.invitation : linkHours.password_reset;
  const owner = { purpose: 'password_reset', email: to, userId: user.id, createdBy: actor.userId } as const;
  const made = await makeLink(queryer, { ...owner, hours });
  await recordAudit(queryer, actor, {
    action: 'password.reset.request',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    after: { mailed: to !== null },
    outcome: 'done',
  });
  const compose = why === 'new' ? welcomeMail : passwordResetMail;
  const mail = to === null ? null : compose({ to, publicUrl: site.publicUrl, account: user.name, ...made });
  return giveLink(queryer, site, made, 'password_reset', mail);
}

/** A link that confirms an address of an account, which gets it with that. The caller has locked the account. */
export async function makeVerification(
  queryer: Queryer,
  user: UserRow,
  email: EmailAddress,
  actor: Actor,
): Promise<MadeLink> {
  const owner = { purpose: 'verify_email', email, userId: user.id, createdBy: actor.userId } as const;
  const made = await makeLink(queryer, { ...owner, hours: linkHours.verify_email });
  await recordAudit(queryer, actor, {
    action: 'email.verify.request',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    after: { email },
    outcome: 'done',
  });
  return made;
}

/** Mails it. */
export async function mailVerification(
  queryer: Queryer,
  user: UserRow,
  email: EmailAddress,
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  const made = await makeVerification(queryer, user, email, actor);
  await queueMail(queryer, verifyEmailMail({ to: email, publicUrl: site.publicUrl, account: user.name, ...made }));
}

/**
 * Makes the account that a registration link is for; its address is confirmed by that.
 * @throws ApiError `notFound` for a link that does not work, `conflict` for a name that cannot be taken
 */
export async function confirmRegistration(
  queryer: Queryer,
  { token, username, secretHash }: { token: string; username: string; secretHash: string },
  actor: Actor,
): Promise<UserRow> {
  const { email } = await consumeLink(queryer, 'registration', token);
  if (email === null) throw deadLink();
  const user = await createAccount(queryer, { username, admin: false }, secretHash, actor);
  // Meanwhile somebody made an account of this address: by another link of it, or an administrator.
  if (!(await updateEmail(queryer, user.id, email, true))) throw deadLink();
  await recordAudit(queryer, actorAs(actor, user, null), {
    action: 'registration.confirm',
    namespaceId: user.namespace_id ?? undefined,
    target: username,
    after: { email },
    outcome: 'done',
  });
  return user;
}

/** The account that a link is for, locked. @throws ApiError `notFound` also when the account is disabled */
async function ownerOf(queryer: Queryer, userId: number | null): Promise<UserRow> {
  const user = userId === null ? undefined : await lockUser(queryer, { id: userId });
  if (user === undefined || user.disabled_at !== null) throw deadLink();
  return user;
}

/** Sets a forgotten password anew. A link that was mailed proves the address, too. @throws ApiError `notFound` */
export async function confirmPasswordReset(
  queryer: Queryer,
  { token, secretHash }: { token: string; secretHash: string },
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  const { user_id: userId, email } = await consumeLink(queryer, 'password_reset', token);
  const user = await ownerOf(queryer, userId);
  const proven = email !== null && email === user.email;
  if (proven && user.email_verified_at === null) await updateEmail(queryer, user.id, email, true);
  const by = { action: 'password.reset', site, actor: actorAs(actor, user, null) } as const;
  await changePassword(
    queryer,
    { ...user, email_verified_at: proven ? new Date() : user.email_verified_at },
    secretHash,
    by,
  );
}

/** Gives an account the address that the link was mailed to. @throws ApiError `notFound`, `conflict` when another account has it */
export async function confirmEmail(
  queryer: Queryer,
  token: string,
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  const { user_id: userId, email } = await consumeLink(queryer, 'verify_email', token);
  const user = await ownerOf(queryer, userId);
  if (email === null) throw deadLink();
  const self = actorAs(actor, user, null);
  await changeEmail(queryer, user, { email, verified: true }, { site, actor: self });
  await recordAudit(queryer, self, {
    action: 'email.verify',
    namespaceId: user.namespace_id ?? undefined,
    target: user.name,
    after: { email },
    outcome: 'done',
  });
}
