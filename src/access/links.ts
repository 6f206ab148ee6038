/** Links that work once: to register, to confirm an address, to choose a new password. */
import type { EmailAddress } from '../config/email-address.ts';
import type { Queryer } from '../database/pool.ts';
import { ApiError } from '../oci/problem.ts';
import { linkTo, type Mail } from './mail.ts';
import { createSecret, hashOfSecret, isSecret } from './secrets.ts';
import { claimLink, deleteDeadLinks, findLink, insertLink, type LinkPurpose, type LinkRow } from './sql/links.ts';
import { queueMail } from './sql/mail.ts';
import { deleteDeadSessions } from './sql/sessions.ts';

/** Where links lead, and whether they can be mailed. */
export interface Site {
  readonly publicUrl: URL;
  readonly sendsMail: boolean;
}

/** Where the settings say that people reach the registry; without a public address, where it listens. */
export function siteOf(settings: {
  readonly publicUrl: URL | undefined;
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: object | undefined;
  readonly mail: object | undefined;
}): Site {
  const { host, port } = settings.listen;
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  const origin = `${settings.tls === undefined ? 'http' : 'https'}://${name.includes(':') ? `[${name}]` : name}:${port}`;
  return { publicUrl: settings.publicUrl ?? new URL(origin), sendsMail: settings.mail !== undefined };
}

/** How long each kind of link works. An administrator's invitation may wait for the reader to come back from the weekend. */
export const linkHours = { registration: 24, invitation: 7 * 24, verify_email: 48, password_reset: 1 } as const;

/** So many links of one kind are made for one account or address within an hour, whoever asks for them. */
export const linksPerHourMax = 3;

export interface MadeLink {
  /** Shown or mailed, and never kept. */
  readonly token: string;
  readonly hours: number;
  readonly expiresAt: Date;
}

/** Makes a link in place of older ones of its purpose and owner; the caller holds a lock on the owner. */
export async function makeLink(
  queryer: Queryer,
  link: {
    readonly purpose: LinkPurpose;
    /** The address that using it proves; null where it is not mailed. */
    readonly email: EmailAddress | null;
    readonly userId: number | null;
    readonly createdBy: number | null;
    readonly hours: number;
  },
): Promise<MadeLink> {
  const { text: token, hash: tokenHash } = createSecret();
  const expiresAt = await insertLink(queryer, { ...link, tokenHash });
  return { token, hours: link.hours, expiresAt };
}

/** What becomes of a link that an administrator asked for: it is mailed, or else handed to the administrator. */
export interface GivenLink {
  readonly mailed: boolean;
  /** Null when it was mailed: then it is for the reader of the mail alone. */
  readonly link: string | null;
  readonly expiresAt: Date;
}

/** @param mail null where there is nobody to mail it to */
export async function giveLink(
  queryer: Queryer,
  site: Site,
  made: MadeLink,
  purpose: LinkPurpose,
  mail: Mail | null,
): Promise<GivenLink> {
  const { token, expiresAt } = made;
  if (mail === null || !site.sendsMail)
    return { mailed: false, link: linkTo(site.publicUrl, purpose, token), expiresAt };
  await queueMail(queryer, mail);
  return { mailed: true, link: null, expiresAt };
}

/** The one answer for links that were never made, were used, have expired, or were replaced. */
export function deadLink(): ApiError {
  return new ApiError('notFound', 'this link does not work: it was used, has expired, or was replaced by a newer one', {
    next: 'Ask for a new one.',
  });
}

/** Looks at a link before slow work is done for it. @throws ApiError `notFound` when it does not work */
export async function checkLink(queryer: Queryer, purpose: LinkPurpose, token: string): Promise<LinkRow> {
  const link = isSecret(token) ? await findLink(queryer, purpose, hashOfSecret(token)) : undefined;
  if (link === undefined) throw deadLink();
  return link;
}

/** Uses a link up, in the transaction of what it is for. @throws ApiError `notFound` when it does not work */
export async function consumeLink(queryer: Queryer, purpose: LinkPurpose, token: string): Promise<LinkRow> {
  const link = isSecret(token) ? await claimLink(queryer, purpose, hashOfSecret(token)) : undefined;
  if (link === undefined) throw deadLink();
  return link;
}

const sweptRowsMax = 1000;

/** Deletes links and sessions that are long over, until there are none or the signal says so. @returns how many */
export async function sweepLinksAndSessions(queryer: Queryer, signal: AbortSignal): Promise<number> {
  let swept = 0;
  for (const sweepSome of [deleteDeadLinks, deleteDeadSessions]) {
    let some = sweptRowsMax;
    while (some === sweptRowsMax && !signal.aborted) swept += some = await sweepSome(queryer, sweptRowsMax);
  }
  return swept;
}
