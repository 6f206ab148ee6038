/** `/api/v1/users`: all accounts, for administrators. For everybody else there is nothing here. */
import { z } from 'zod';
import { changeEmail, changeUser, lockUserNamed } from '../../access/account-changes.ts';
import { createAccount } from '../../access/accounts.ts';
import type { GivenLink, Site } from '../../access/links.ts';
import { hashPassword } from '../../access/passwords.ts';
import { givePasswordLink, inviteUser, mailVerification } from '../../access/registration.ts';
import { removeTotp } from '../../access/second-factor.ts';
import { signOutEverywhere } from '../../access/sessions.ts';
import { findLastUses, findUser, listUsers, type UserRow } from '../../access/sql/accounts.ts';
import type { Queryer } from '../../database/pool.ts';
import { ApiError } from '../../oci/problem.ts';
import { quote } from '../../oci/quote.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';
import {
  administratorInPerson,
  administratorOf,
  emailField,
  isInPerson,
  newPasswordField,
  usernameField,
} from './people.ts';

const userShape = {
  name: z.string(),
  email: z.string().nullable(),
  emailVerified: z.boolean(),
  admin: z.boolean(),
  disabled: z.boolean(),
  secondFactor: z.boolean(),
  createdAt: z.iso.datetime(),
  lastUsedAt: z.iso
    .datetime()
    .nullable()
    .meta({ description: 'By a session, a token or a docker login; to the minute.' }),
  can: z.array(
    z.enum(['disable', 'enable', 'change-admin', 'change-email', 'reset-password', 'sign-out', 'remove-second-factor']),
  ),
};
const userSchema = z.strictObject(userShape).meta({ id: 'User', description: 'An account, as administrators see it.' });
const linkShape = {
  mailed: z.boolean(),
  link: z.string().nullable().meta({
    description: 'To be handed to the person; null when it was mailed. It works once, and is not shown again.',
  }),
  linkExpiresAt: z.iso.datetime().nullable(),
};
const givenLink = ({ mailed, link, expiresAt }: GivenLink) => ({
  mailed,
  link,
  linkExpiresAt: expiresAt.toISOString(),
});

const common = { tags: ['administration'], access: 'signed-in' } as const;
const reads = { ...common, apiScope: 'admin:read', effect: 'reads' } as const;
const changes = { ...common, apiScope: 'admin:write', effect: 'changes' } as const;
const creates = { ...common, apiScope: 'admin:write', effect: 'creates' } as const;
const params = z.strictObject({ name: z.string().max(256) });

function bodyOf(user: UserRow, lastUsedAt: Date | undefined, caller: ApiCaller): z.input<typeof userSchema> {
  const changing = caller.apiScopes === null || caller.apiScopes.includes('admin:write');
  const secondFactor = user.totp_enabled_at !== null;
  return {
    name: user.name,
    email: user.email,
    emailVerified: user.email_verified_at !== null,
    admin: user.is_admin,
    disabled: user.disabled_at !== null,
    secondFactor,
    createdAt: user.created_at.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    can: [
      ...(changing ? [user.disabled_at === null ? ('disable' as const) : ('enable' as const)] : []),
      ...(isInPerson(caller) ? (['change-admin', 'change-email', 'reset-password', 'sign-out'] as const) : []),
      ...(isInPerson(caller) && secondFactor ? (['remove-second-factor'] as const) : []),
    ],
  };
}

const versionOf = (body: z.input<typeof userSchema>) => ({ ...body, lastUsedAt: null });

/** @throws ApiError `notFound` */
async function describe(queryer: Queryer, name: string, caller: ApiCaller): Promise<z.input<typeof userSchema>> {
  const user = await findUser(queryer, { name });
  if (user === undefined) throw new ApiError('notFound', `there is no user ${quote(name)}`);
  return bodyOf(user, (await findLastUses(queryer, [user.id])).get(user.id), caller);
}

export function userOperations(site: Site): readonly Operation[] {
  return [...accounts(site), ...signingIn(site)];
}

function accounts(site: Site): readonly Operation[] {
  return [
    defineOperation({
      ...reads,
      id: 'listUsers',
      method: 'get',
      path: '/users',
      summary: 'List the accounts of this registry by their names',
      query: z.strictObject({
        ...pageQuery(z.tuple([z.string()])),
        search: z.string().max(254).default('').meta({ description: 'What the name or the address begins with.' }),
      }),
      answers: { 200: pageSchema(userSchema) },
      async handler({ caller, query: { cursor, limit, search }, queryer }) {
        administratorOf(caller);
        const rows = await listUsers(queryer, { search, after: cursor?.[0] ?? '', limit: limit + 1 });
        const { items, next } = cutPage(rows, limit, (row) => [row.name]);
        const uses = await findLastUses(
          queryer,
          items.map(({ id }) => id),
        );
        return { status: 200, body: { items: items.map((row) => bodyOf(row, uses.get(row.id), caller)) }, next };
      },
    }),
    defineOperation({
      ...creates,
      id: 'createUser',
      method: 'post',
      path: '/users',
      summary: 'Make an account',
      description:
        'Without a password the account gets a link to choose one: mailed to the address, or else in the answer.',
      body: z.strictObject({
        username: usernameField,
        email: emailField.optional(),
        password: newPasswordField.optional(),
        admin: z.boolean().default(false),
      }),
      answers: { 201: z.strictObject({ ...userShape, ...linkShape }) },
      async prepare({ caller, body: { password } }) {
        administratorInPerson(caller);
        return password === undefined ? null : hashPassword(password);
      },
      async handler({ caller, body: { username, email, admin }, prepared: secretHash, queryer, actor }) {
        let user = await createAccount(queryer, { username, admin }, secretHash, actor);
        if (email !== undefined) {
          await changeEmail(queryer, user, { email, verified: false }, { site, actor });
          user = { ...user, email };
        }
        const given =
          secretHash === null
            ? givenLink(await givePasswordLink(queryer, user, 'new', site, actor))
            : { mailed: false, link: null, linkExpiresAt: null };
        if (secretHash !== null && email !== undefined && site.sendsMail)
          await mailVerification(queryer, user, email, { site, actor });
        return {
          status: 201,
          body: { ...bodyOf(user, undefined, caller), ...given },
          headers: { Location: `/api/v1/users/${username}` },
        };
      },
    }),
    defineOperation({
      ...reads,
      id: 'getUser',
      method: 'get',
      path: '/users/{name}',
      summary: 'Look at an account',
      params,
      answers: { 200: userSchema },
      async handler({ caller, params: { name }, queryer }) {
        administratorOf(caller);
        const body = await describe(queryer, name, caller);
        return { status: 200, body, version: versionOf(body) };
      },
    }),
    defineOperation({
      ...changes,
      id: 'changeUser',
      method: 'patch',
      path: '/users/{name}',
      summary: 'Change an account',
      description:
        'A disabled account can do nothing from the next request on, and its sessions and docker logins have ended for good. ' +
        'A token can disable and enable; all else takes an administrator in person.',
      edits: 'ifMatchAllowed',
      params,
      body: z.strictObject({
        disabled: z.boolean().optional(),
        admin: z.boolean().optional(),
        email: emailField.nullable().optional(),
      }),
      answers: { 200: userSchema },
      async handler({ caller, params: { name }, body, queryer, actor, checkIfMatch }) {
        if (body.admin === undefined && body.email === undefined) administratorOf(caller);
        else administratorInPerson(caller);
        const check = async (): Promise<void> => checkIfMatch(versionOf(await describe(queryer, name, caller)));
        const before = await changeUser(queryer, name, body, { site, actor, check });
        const { email } = body;
        if (typeof email === 'string' && email !== before.email && site.sendsMail)
          await mailVerification(queryer, before, email, { site, actor });
        const after = await describe(queryer, name, caller);
        return { status: 200, body: after, version: versionOf(after) };
      },
    }),
  ];
}

function signingIn(site: Site): readonly Operation[] {
  return [
    defineOperation({
      ...creates,
      id: 'inviteUser',
      method: 'post',
      path: '/users/invitations',
      summary: 'Invite somebody to make an account',
      description: 'Works also where registration is closed. The link is mailed, or else in the answer.',
      body: z.strictObject({ email: emailField }),
      answers: { 201: z.strictObject({ email: z.string(), ...linkShape }) },
      async handler({ caller, body: { email }, queryer, actor }) {
        administratorInPerson(caller);
        return { status: 201, body: { email, ...givenLink(await inviteUser(queryer, email, site, actor)) } };
      },
    }),
    defineOperation({
      ...creates,
      id: 'resetPasswordOfUser',
      method: 'post',
      path: '/users/{name}/password-reset',
      summary: 'Give somebody a link to choose a new password',
      description:
        'It is mailed to the address of the account, or else in the answer. The old password works until the link is used.',
      params,
      answers: { 201: z.strictObject(linkShape) },
      async handler({ caller, params: { name }, queryer, actor }) {
        administratorInPerson(caller);
        const user = await lockUserNamed(queryer, name);
        return { status: 201, body: givenLink(await givePasswordLink(queryer, user, 'reset', site, actor)) };
      },
    }),
    defineOperation({
      ...changes,
      id: 'signOutUser',
      method: 'delete',
      path: '/users/{name}/sessions',
      summary: 'Sign somebody out everywhere',
      description: 'Ends all sessions and docker logins. Personal access tokens stay.',
      params,
      answers: { 204: null },
      async handler({ caller, params: { name }, queryer, actor }) {
        administratorInPerson(caller);
        await signOutEverywhere(queryer, await lockUserNamed(queryer, name), actor);
        return { status: 204 };
      },
    }),
    defineOperation({
      ...changes,
      id: 'removeSecondFactorOfUser',
      method: 'delete',
      path: '/users/{name}/totp',
      summary: 'Take the second factor away from somebody who lost it',
      params,
      answers: { 204: null },
      async handler({ caller, params: { name }, queryer, actor }) {
        administratorInPerson(caller);
        await removeTotp(queryer, await lockUserNamed(queryer, name), actor);
        return { status: 204 };
      },
    }),
  ];
}
