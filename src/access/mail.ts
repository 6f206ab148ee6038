/**
 * The mails that Berth sends, as plain text: what happened, what to do, and what to do if it was not the reader.
 * Their links hold a secret behind the `#`, which browsers send to nobody: not in a request, and not as Referer.
 */
import type { EmailAddress } from '../config/email-address.ts';

export interface Mail {
  readonly to: EmailAddress;
  /** One line. */
  readonly subject: string;
  readonly text: string;
}

/** What every mail begins with. */
export interface MailTo {
  readonly to: EmailAddress;
  /** BERTH_PUBLIC_URL: never what a request says of itself, or anybody could send links of theirs in our name. */
  readonly publicUrl: URL;
}

/** A secret that opens something once, while it lasts. */
export interface MailLink {
  readonly token: string;
  readonly hours: number;
}

/** The page that each kind of link opens. */
const linkPaths = {
  registration: '/sign-up',
  verify_email: '/settings/verify-email',
  password_reset: '/sign-in/reset-password',
  invitation: '/settings/invitations',
} as const;
export type LinkPurpose = keyof typeof linkPaths;

/** The link that a mail holds, or an administrator hands over. */
export function linkTo(publicUrl: URL, purpose: LinkPurpose, token: string): string {
  return `${new URL(linkPaths[purpose], publicUrl).href}#token=${encodeURIComponent(token)}`;
}

/** To an address without an account, where somebody asked for one. */
export function registrationMail({ to, publicUrl, token, hours }: MailTo & MailLink): Mail {
  const { host } = publicUrl;
  return compose(to, `Finish your registration at ${host}`, [
    `somebody, hopefully you, asked for an account at ${host} with this address. To choose your name and password, open`,
    linkTo(publicUrl, 'registration', token),
    onceWithin(hours),
    'If it was not you, do nothing: there is no account until the link is used.',
  ]);
}

/** To an address that has an account, where somebody asked for another: the page says the same to them as above. */
export function alreadyRegisteredMail({ to, publicUrl, account }: MailTo & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `You already have an account at ${host}`, [
    `somebody, hopefully you, asked for an account at ${host} with this address. It already has one: ${account}. Sign in at`,
    new URL('/sign-in', publicUrl).href,
    'where you can also ask for a new password.',
    'If it was not you, do nothing: whoever asked was not told that you have an account.',
  ]);
}

/** To the address that an account wants to have. */
export function verifyEmailMail({
  to,
  publicUrl,
  account,
  token,
  hours,
}: MailTo & MailLink & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `Confirm your address for ${host}`, [
    `somebody, hopefully you, gave this address to the account ${account} at ${host}. To confirm it, open`,
    linkTo(publicUrl, 'verify_email', token),
    onceWithin(hours),
    'If it was not you, do nothing: the account does not get your address.',
  ]);
}

/** To the confirmed address of an account. */
export function passwordResetMail({
  to,
  publicUrl,
  account,
  token,
  hours,
}: MailTo & MailLink & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `Choose a new password for ${host}`, [
    `somebody, hopefully you, asked for a new password for the account ${account} at ${host}. To choose one, open`,
    linkTo(publicUrl, 'password_reset', token),
    onceWithin(hours),
    'If it was not you, do nothing: your password stays as it is. Do not forward this mail.',
  ]);
}

/** To whoever is asked to join an organization, or to work on a repository; `into` is its name. */
export function invitationMail({
  to,
  publicUrl,
  inviter,
  into,
  role,
  token,
  hours,
}: MailTo & MailLink & Record<'inviter' | 'into' | 'role', string>): Mail {
  const { host } = publicUrl;
  return compose(to, `${inviter} invites you to ${into} at ${host}`, [
    `${inviter} invites you to ${into} at ${host}, as ${role}. To accept, open`,
    linkTo(publicUrl, 'invitation', token),
    onceWithin(hours),
    'If you do not know them, do nothing: you join only by accepting.',
  ]);
}

/** To the address of an account whose password was changed, in whatever way. */
export function passwordChangedMail({ to, publicUrl, account }: MailTo & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `Your password at ${host} was changed`, [
    `the password of your account ${account} at ${host} was changed. Whoever was signed in with the old one no longer is.`,
    'If it was you, there is nothing to do.',
    'If it was not you, ask for a new password at once, and tell the administrator:',
    new URL('/sign-in', publicUrl).href,
  ]);
}

/** To the address of an account that an administrator made. */
export function welcomeMail({ to, publicUrl, account, token, hours }: MailTo & MailLink & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `Your account at ${host}`, [
    `an administrator made the account ${account} for you at ${host}. To choose your password, open`,
    linkTo(publicUrl, 'password_reset', token),
    onceWithin(hours),
    'If you do not know what this is, do nothing: nobody can use the account until the link is used.',
  ]);
}

/** To the address that an account had until now. */
export function emailChangedMail({ to, publicUrl, account }: MailTo & { account: string }): Mail {
  const { host } = publicUrl;
  return compose(to, `Your account at ${host} has another address`, [
    `this is no longer the address of your account ${account} at ${host}: it was changed, and mails about it go elsewhere.`,
    'If it was you, there is nothing to do.',
    'If it was not you, somebody else may be signed in as you. Sign in, change your password, and tell the administrator:',
    new URL('/sign-in', publicUrl).href,
  ]);
}

function onceWithin(hours: number): string {
  return `The link works once, within ${hours === 1 ? 'an hour' : `${hours} hours`}.`;
}

function compose(to: EmailAddress, subject: string, paragraphs: readonly string[]): Mail {
  const text = ['Hello,', ...paragraphs].map(oneLine).join('\n\n');
  return { to, subject: oneLine(subject), text: `${text}\n` };
}

/** Names come from people: none of them begins a line of its own, in a header or in a text that we sign. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');
}
