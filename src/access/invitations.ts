/**
 * Invitations. Whoever invites learns nothing of who there is: an invitation to an account's name looks the same whether or
 * not there is such an account, and only the account that had the name at that moment can accept it. One to an address is
 * accepted by whoever holds the link that was mailed there.
 *
 * An invitation is worth no more than its inviter's right: one whose inviter may not invite any more, or whose account is
 * disabled, does not hold, is shown to nobody but the owners, and cannot be accepted (unless they get the right back).
 */
import { parseEmailAddress } from '../config/email-address.ts';
import type { Queryer } from '../database/pool.ts';
import { recordAudit, type AuditAction } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { giveRole, ownRole } from './collaborators.ts';
import { invitationMail } from './mail.ts';
import { addMember, changeMember } from './members.ts';
import type { By } from './namespaces.ts';
import { roleName, type Role } from './roles.ts';
import { createSecret } from './secrets.ts';
import { findRepositoryMember } from './sql/collaborators.ts';
import {
  closeInvitation,
  countInvitations,
  findInvitation,
  insertInvitation,
  type InvitationKey,
  type InvitationPlace,
  type InvitationRow,
} from './sql/invitations.ts';
import { queueMail } from './sql/mail.ts';
import { findMember } from './sql/members.ts';
import { lockNamespace } from './sql/roles.ts';

export type Invitation = InvitationRow;

export interface InvitationSettings {
  /** How long an invitation holds. */
  readonly days: number;
  /** How many of one namespace, and of one account, may be open or younger than a day. */
  readonly max: number;
  /** Undefined: no mail is sent, and whoever invites an address hands over the link. */
  readonly mail: { readonly publicUrl: URL } | undefined;
}

export interface NewInvitee {
  /** An account's name, or an address in lower case. */
  readonly invitee: string;
  readonly role: Role;
}

export interface NewInvitation {
  readonly invitation: Invitation;
  /** The secret of its link, where nobody mails that; null for an account's name, and where it was mailed. */
  readonly token: string | null;
}

/** The name of what one is invited to. */
const intoOf = ({ namespace, repository }: Pick<Invitation, 'namespace' | 'repository'>): string =>
  repository ?? namespace;

/**
 * Invites somebody to an organization or a repository whose namespace the caller has locked, and whose owner the subject is.
 * @throws ApiError `conflict` for who is in already, as the inviter can see, or is invited already; `unprocessable` for too many;
 *   `forbidden` for robots
 */
export async function invite(
  queryer: Queryer,
  by: By,
  place: InvitationPlace,
  { invitee, role }: NewInvitee,
  settings: InvitationSettings,
): Promise<NewInvitation> {
  const { user } = by.subject;
  if (user === null) throw new ApiError('forbidden', 'an invitation comes from a person: sign in with an account');
  await refuseMembers(queryer, place, invitee);
  await keepWithinBounds(queryer, place.namespaceId, user.id, settings.max);
  const to = parseEmailAddress(invitee);
  const secret = to === undefined ? null : createSecret();
  const row = { ...place, invitee, role, tokenHash: secret?.hash ?? null, createdBy: user.id, days: settings.days };
  const invitation = await insertInvitation(queryer, row);
  if (invitation === undefined)
    throw new ApiError('conflict', `${invitee} is invited already`, { next: 'Withdraw that invitation first.' });
  if (to !== undefined && secret !== null && settings.mail !== undefined) {
    const { publicUrl } = settings.mail;
    const about = { inviter: user.name, into: intoOf(invitation), role: roleName(role), hours: settings.days * 24 };
    await queueMail(queryer, invitationMail({ to, publicUrl, ...about, token: secret.text }));
  }
  await record(queryer, by, invitation, 'invitation.create', { invitee, role: roleName(role) });
  return { invitation, token: settings.mail === undefined ? (secret?.text ?? null) : null };
}

/** @throws ApiError `conflict`; of members, whom every inviter sees anyway */
async function refuseMembers(
  queryer: Queryer,
  { namespaceId, repositoryId }: InvitationPlace,
  invitee: string,
): Promise<void> {
  const known =
    repositoryId === null
      ? await findMember(queryer, namespaceId, invitee)
      : await findRepositoryMember(queryer, { repositoryId, namespaceId }, 'user', invitee);
  if (known === undefined) return;
  throw new ApiError('conflict', `${invitee} has a role there already`, {
    next: 'Change the role with PUT, without an invitation.',
  });
}

/** Nobody uses invitations to flood others with mail: withdrawn ones of the last day count, too. */
async function keepWithinBounds(queryer: Queryer, namespaceId: number, userId: number, max: number): Promise<void> {
  const { ofNamespace, byAccount } = await countInvitations(queryer, namespaceId, userId);
  if (Math.max(ofNamespace, byAccount) < max) return;
  const whose = ofNamespace >= max ? 'here' : 'from your account';
  throw new ApiError('unprocessable', `there are ${max} invitations ${whose} that are open or of the last day`, {
    next: 'Withdraw some that are open, or invite more people tomorrow.',
  });
}

async function record(
  queryer: Queryer,
  { actor }: By,
  invitation: Invitation,
  action: AuditAction,
  after: Readonly<Record<string, string>>,
): Promise<void> {
  await recordAudit(queryer, actor, {
    action,
    namespaceId: invitation.namespaceId,
    repositoryId: invitation.repositoryId ?? undefined,
    target: intoOf(invitation),
    after,
    outcome: 'done',
  });
}

/** Withdraws an invitation. The caller has locked its namespace. @throws ApiError `notFound` for one that is not open there */
export async function revokeInvitation(queryer: Queryer, by: By, place: InvitationPlace, id: number): Promise<void> {
  const invitation = await findInvitation(queryer, { id, namespaceId: place.namespaceId });
  const elsewhere = place.repositoryId !== null && invitation?.repositoryId !== place.repositoryId;
  if (invitation === undefined || elsewhere) throw notOpen();
  await closeInvitation(queryer, id, 'revoked');
  await record(queryer, by, invitation, 'invitation.revoke', { invitee: invitation.invitee });
}

function notOpen(): ApiError {
  return new ApiError('notFound', 'there is no such invitation, or it is not open any more');
}

/** Locks the namespace of an open invitation; it is as it is behind the lock. @throws ApiError `notFound` */
async function lockInvitation(queryer: Queryer, key: InvitationKey): Promise<Invitation> {
  const before = await findInvitation(queryer, key);
  if (before === undefined || !(await lockNamespace(queryer, before.namespaceId))) throw notOpen();
  const invitation = await findInvitation(queryer, key);
  if (invitation === undefined) throw notOpen();
  return invitation;
}

/** Says no to an invitation. @throws ApiError `notFound` for one of somebody else, or that is not open */
export async function declineInvitation(queryer: Queryer, by: By, id: number): Promise<void> {
  const user = personOf(by);
  const invitation = await lockInvitation(queryer, { id, userId: user.id });
  await closeInvitation(queryer, id, 'revoked');
  await record(queryer, by, invitation, 'invitation.decline', { user: user.name });
}

function personOf({ subject: { user } }: By): { readonly id: number; readonly name: string } {
  if (user === null) throw new ApiError('forbidden', 'only accounts are invited; sign in with one');
  return user;
}

/**
 * Takes the invited role, unless the account has a stronger one there already.
 * @param shown the invitation's id, for the account that it is bound to; or the hash of the secret of a link, for anybody
 * @throws ApiError `notFound` for one of somebody else, or that is not open; `conflict` for one that does not hold
 */
export async function acceptInvitation(
  queryer: Queryer,
  by: By,
  shown: { readonly id: number } | { readonly tokenHash: string },
): Promise<Invitation> {
  const user = personOf(by);
  const invitation = await lockInvitation(queryer, 'id' in shown ? { id: shown.id, userId: user.id } : shown);
  if (!invitation.holds)
    throw new ApiError('conflict', 'whoever sent this invitation may not invite people there any more', {
      next: 'Ask another owner for an invitation.',
    });
  await (invitation.repositoryId === null ? joinOrganization : joinRepository)(queryer, by, user, invitation);
  await closeInvitation(queryer, invitation.id, 'accepted');
  await record(queryer, by, invitation, 'invitation.accept', { user: user.name, role: roleName(invitation.role) });
  return invitation;
}

type Person = ReturnType<typeof personOf>;

async function joinOrganization(queryer: Queryer, by: By, user: Person, invitation: Invitation): Promise<void> {
  const organization = { id: invitation.namespaceId, name: invitation.namespace };
  const member = await findMember(queryer, organization.id, user.name);
  if (member === undefined) await addMember(queryer, by, organization, user, invitation.role);
  else if (member.role < invitation.role) await changeMember(queryer, by, organization, member, invitation.role);
}

async function joinRepository(queryer: Queryer, by: By, user: Person, invitation: Invitation): Promise<void> {
  const { namespaceId, role } = invitation;
  const repository = { repositoryId: invitation.repositoryId!, namespaceId, name: invitation.repository! };
  const own = ownRole(await findRepositoryMember(queryer, repository, 'user', user.name));
  if (own === null || own < role) await giveRole(queryer, by, repository, { kind: 'user', ...user }, own, role);
}
