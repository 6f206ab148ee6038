/** `/api/v1/account`: one's own account. */
import { z } from 'zod';
import { changeEmail, changePassword } from '../../access/account-changes.ts';
import { linksPerHourMax, type Site } from '../../access/links.ts';
import type { Proofs } from '../../access/proofs.ts';
import { hashPassword } from '../../access/passwords.ts';
import { mailVerification } from '../../access/registration.ts';
import { findPasswordOf, findUser, lockUser, type UserRow } from '../../access/sql/accounts.ts';
import { countRecentLinks, findPendingEmail, voidLinksOf } from '../../access/sql/links.ts';
import { countRecoveryCodes } from '../../access/sql/second-factor.ts';
import type { EmailAddress } from '../../config/email-address.ts';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import {
  accountOf,
  continueSession,
  emailField,
  isInPerson,
  newPasswordField,
  newSessionSchema,
  passwordField,
  personOf,
} from './people.ts';

export interface AccountParts {
  readonly proofs: Proofs;
  readonly ttlHours: number;
  readonly site: Site;
}

const accountSchema = z
  .strictObject({
    name: z.string(),
    email: z.string().nullable(),
    emailVerified: z.boolean(),
    pendingEmail: z.string().nullable().meta({
      description: 'The address that the account gets once it is confirmed by the link that was mailed there.',
    }),
    admin: z.boolean(),
    createdAt: z.iso.datetime(),
    secondFactor: z.strictObject({ enabled: z.boolean(), recoveryCodes: z.number() }),
    can: z.array(
      z.enum([
        'change-email',
        'verify-email',
        'change-password',
        'enable-second-factor',
        'disable-second-factor',
        'renew-recovery-codes',
      ]),
    ),
  })
  .meta({ id: 'Account', description: "One's own account." });

const common = { tags: ['account'], access: 'signed-in' } as const;

async function bodyOf(
  queryer: Queryer,
  user: UserRow,
  caller: ApiCaller,
  site: Site,
): Promise<z.input<typeof accountSchema>> {
  const enabled = user.totp_enabled_at !== null;
  const pending = (await findPendingEmail(queryer, user.id)) ?? null;
  const unverified = pending ?? (user.email_verified_at === null ? user.email : null);
  return {
    name: user.name,
    email: user.email,
    emailVerified: user.email_verified_at !== null,
    pendingEmail: pending === user.email ? null : pending,
    admin: user.is_admin,
    createdAt: user.created_at.toISOString(),
    secondFactor: { enabled, recoveryCodes: await countRecoveryCodes(queryer, user.id) },
    can: !isInPerson(caller)
      ? []
      : [
          ...(site.sendsMail ? (['change-email'] as const) : []),
          ...(site.sendsMail && unverified !== null ? (['verify-email'] as const) : []),
          'change-password',
          ...(enabled
            ? (['disable-second-factor', 'renew-recovery-codes'] as const)
            : (['enable-second-factor'] as const)),
        ],
  };
}

/** The account that asks, locked: it is there, for accounts are never deleted. */
export async function lockPerson(queryer: Queryer, caller: ApiCaller): Promise<UserRow> {
  return (await lockUser(queryer, { id: personOf(caller).id }))!;
}

/** @throws ApiError `tooManyRequests` */
async function sendVerification(
  queryer: Queryer,
  user: UserRow,
  email: EmailAddress,
  { site, actor }: { site: Site; actor: Actor },
): Promise<void> {
  if (!site.sendsMail)
    throw new ApiError('unprocessable', 'this registry sends no mail: an administrator can set the address');
  if ((await countRecentLinks(queryer, 'verify_email', { userId: user.id, email })) >= linksPerHourMax)
    throw new ApiError('tooManyRequests', `${linksPerHourMax} mails to confirm an address were sent within an hour`, {
      retryAfterSeconds: 3600,
    });
  await mailVerification(queryer, user, email, { site, actor });
}

export function accountOperations({ proofs, ttlHours, site }: AccountParts): readonly Operation[] {
  return [
    defineOperation({
      ...common,
      id: 'getAccount',
      method: 'get',
      path: '/account',
      summary: "See one's own account",
      apiScope: 'account:read',
      effect: 'reads',
      answers: { 200: accountSchema },
      async handler({ caller, queryer }) {
        const user = await findUser(queryer, { id: accountOf(caller).id });
        return { status: 200, body: await bodyOf(queryer, user!, caller, site) };
      },
    }),
    defineOperation({
      ...common,
      id: 'changeAccount',
      method: 'patch',
      path: '/account',
      summary: "Change one's e-mail address",
      description:
        'The account has the new address once the link that is mailed there was used; until then it keeps the old one. ' +
        'null takes the address away at once.',
      apiScope: 'account:write',
      effect: 'changes',
      edits: 'ifMatchAllowed',
      body: z.strictObject({ email: emailField.nullable(), password: passwordField }),
      answers: { 200: accountSchema },
      prepare: ({ caller, body, actor }) => proofs.password(personOf(caller).name, body.password, actor),
      async handler({ caller, body: { email }, queryer, actor, checkIfMatch }) {
        const user = await lockPerson(queryer, caller);
        checkIfMatch(await bodyOf(queryer, user, caller, site));
        if (email === null || email === user.email) {
          await voidLinksOf(queryer, user.id, ['verify_email']);
          if (email === null) await changeEmail(queryer, user, { email, verified: false }, { site, actor });
        } else await sendVerification(queryer, user, email, { site, actor });
        const now = await findUser(queryer, { id: user.id });
        return { status: 200, body: await bodyOf(queryer, now!, caller, site) };
      },
    }),
    defineOperation({
      ...common,
      id: 'verifyOwnEmail',
      method: 'post',
      path: '/account/email-verification',
      summary: "Have the link to confirm one's e-mail address mailed again",
      apiScope: 'account:write',
      effect: 'changes',
      answers: { 202: null },
      async handler({ caller, queryer, actor }) {
        const user = await lockPerson(queryer, caller);
        const unverified = user.email_verified_at === null ? user.email : null;
        const email = (await findPendingEmail(queryer, user.id)) ?? unverified;
        if (email === null) throw new ApiError('conflict', 'there is no address that waits to be confirmed');
        await sendVerification(queryer, user, email, { site, actor });
        return { status: 202 };
      },
    }),
    defineOperation({
      ...common,
      id: 'changePassword',
      method: 'put',
      path: '/account/password',
      summary: "Change one's password",
      description:
        'Ends all other sessions, and all docker logins with the password. The session that asks goes on with a new secret: ' +
        'in its cookie, or in the answer for programs.',
      apiScope: 'account:write',
      effect: 'changes',
      body: z.strictObject({ password: passwordField, newPassword: newPasswordField }),
      answers: { 200: z.strictObject({ session: newSessionSchema.nullable() }) },
      async prepare({ caller, body: { password, newPassword }, actor }) {
        const shownId = await proofs.password(personOf(caller).name, password, actor);
        return { shownId, secretHash: await hashPassword(newPassword) };
      },
      async handler({ caller, prepared: { shownId, secretHash }, queryer, actor, request }) {
        const user = await lockPerson(queryer, caller);
        if ((await findPasswordOf(queryer, user.id))?.id !== shownId)
          throw new ApiError('conflict', 'the password was changed by somebody else at this moment');
        const passwordId = await changePassword(queryer, user, secretHash, { action: 'user.password', site, actor });
        const asking = { caller, request, actor };
        const { session, cookies } = await continueSession(queryer, asking, { user, passwordId, ttlHours });
        return { status: 200, body: { session }, cookies };
      },
    }),
  ];
}
