/** `/api/v1/session`: who is signed in, and how that begins and ends. */
import { z } from 'zod';
import type { RegistrationMode } from '../../access/registration.ts';
import type { Site } from '../../access/links.ts';
import type { Proofs } from '../../access/proofs.ts';
import { endSession, openSession, signOutEverywhere } from '../../access/sessions.ts';
import { findUser, lockUser, type UserRow } from '../../access/sql/accounts.ts';
import { findSessionEnd, listSessions, type SessionRow } from '../../access/sql/sessions.ts';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { clearSessionCookie } from './cookies.ts';
import { csrfTokenOf } from './csrf.ts';
import { defineOperation, type Operation } from './operation.ts';
import { cutPage, pageQuery, pageSchema } from './pages.ts';
import { codeField, handOver, isInPerson, newSessionShape, passwordField, personOf, withoutCookie } from './people.ts';

export interface SessionParts {
  readonly proofs: Proofs;
  readonly ttlHours: number;
  readonly site: Site;
  readonly registration: RegistrationMode;
}

const userSchema = z.strictObject({ name: z.string(), admin: z.boolean() });
const whoSchema = z
  .strictObject({
    user: userSchema.nullable().meta({ description: 'Null for robots, and for whoever is not signed in.' }),
    credential: z
      .strictObject({ kind: z.enum(['password', 'session', 'token', 'robot']), name: z.string().nullable() })
      .nullable()
      .meta({ description: 'What the request came with; null for whoever is not signed in.' }),
    expiresAt: z.iso.datetime().nullable().meta({ description: 'When the session ends by itself.' }),
    csrfToken: newSessionShape.csrfToken,
    can: z.array(z.enum(['sign-in', 'register', 'reset-password', 'sign-out', 'change-account', 'administer'])),
  })
  .meta({ id: 'Session', description: 'Who is asking.' });
const signedInSchema = z.strictObject({ user: userSchema, ...newSessionShape }).meta({ id: 'SignedIn' });

const entrySchema = z
  .strictObject({
    id: z.number(),
    current: z.boolean().meta({ description: 'Whether it is the one that asks.' }),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
    lastUsed: z.strictObject({
      at: z.iso.datetime().meta({ description: 'To the minute.' }),
      address: z.string().nullable(),
      client: z.string().nullable(),
    }),
    can: z.array(z.enum(['end'])),
  })
  .meta({ id: 'SessionEntry' });

const common = { tags: ['sessions'] } as const;
const idParam = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, 'must be the id of a session')
  .transform(Number);

export function sessionOperations(parts: SessionParts): readonly Operation[] {
  return [...presentSession(parts), ...ownSessions()];
}

/** Ends the session that a request came with, if it came with one. */
async function endPresent(queryer: Queryer, caller: ApiCaller | null, actor: Actor): Promise<void> {
  if (caller?.subject.kind !== 'session' || caller.subject.user === null) return;
  const user = await findUser(queryer, { id: caller.subject.user.id });
  if (user !== undefined) await endSession(queryer, user, caller.caller.credentialId, actor);
}

function presentSession({ proofs, ttlHours, site, registration }: SessionParts): readonly Operation[] {
  const anonymousCan = [
    'sign-in' as const,
    ...(registration !== 'closed' && site.sendsMail ? (['register'] as const) : []),
    ...(site.sendsMail ? (['reset-password'] as const) : []),
  ];
  const canOf = (caller: ApiCaller) => {
    const { kind, user } = caller.subject;
    const administers = user?.admin === true && (caller.apiScopes === null || caller.apiScopes.includes('admin:read'));
    return [
      ...(kind === 'session' ? (['sign-out'] as const) : []),
      ...(isInPerson(caller) ? (['change-account'] as const) : []),
      ...(administers && caller.caller.scopes === null ? (['administer'] as const) : []),
    ];
  };
  return [
    defineOperation({
      ...common,
      id: 'signIn',
      method: 'post',
      path: '/session',
      summary: 'Sign in with name and password',
      description:
        'A browser gets the session as a cookie. A program asks for `"cookie": false` and gets a secret for Authorization: ' +
        'Bearer. A session that the request came with ends. Where the account has a second factor the answer to the right ' +
        'password alone is a problem of the type urn:berth:problem:second-factor-required.',
      access: 'anyone',
      apiScope: null,
      effect: 'changes',
      body: z.strictObject({
        username: z.string().max(256),
        password: passwordField,
        code: codeField.optional(),
        cookie: z.boolean().default(true).meta({ description: 'false: a secret for programs, and no cookie.' }),
      }),
      answers: { 201: signedInSchema },
      prepare: ({ body: { username, password, code }, actor }) => proofs.signIn({ username, password, code }, actor),
      async handler({ body: { cookie }, caller, prepared: { user, passwordId }, queryer, actor, request }) {
        await endPresent(queryer, caller, actor);
        const opened = await openSession(queryer, user, passwordId, ttlHours, actor);
        const { session, cookies } = handOver(opened, cookie ? 'browser' : 'program', request);
        const who = { name: user.name, admin: user.is_admin };
        // A program that was a browser's session before leaves no dead cookie behind.
        return { status: 201, body: { user: who, ...session }, cookies: cookie ? cookies : withoutCookie(request) };
      },
    }),
    defineOperation({
      ...common,
      id: 'getSession',
      method: 'get',
      path: '/session',
      summary: 'See who is asking',
      description: 'Answers everybody, also those who are not signed in.',
      access: 'anyone',
      apiScope: null,
      effect: 'reads',
      answers: { 200: whoSchema },
      async handler({ caller, queryer, request: { sessionSecret } }) {
        if (caller === null)
          return {
            status: 200,
            body: { user: null, credential: null, expiresAt: null, csrfToken: null, can: anonymousCan },
          };
        const { kind, credentialName: name, user } = caller.subject;
        const end = kind === 'session' ? await findSessionEnd(queryer, caller.caller.credentialId) : undefined;
        return {
          status: 200,
          body: {
            user: user === null ? null : { name: user.name, admin: user.admin },
            // Nobody is signed in as nobody, and a refresh token counts as what it came from.
            credential: kind === 'anonymous' || kind === 'refresh_token' ? null : { kind, name },
            expiresAt: end?.toISOString() ?? null,
            csrfToken: sessionSecret === null ? null : csrfTokenOf(sessionSecret),
            can: canOf(caller),
          },
        };
      },
    }),
    defineOperation({
      ...common,
      id: 'signOut',
      method: 'delete',
      path: '/session',
      summary: 'Sign out',
      description: 'Ends the session that the request came with. There need not be one.',
      access: 'anyone',
      apiScope: null,
      effect: 'changes',
      answers: { 204: null },
      async handler({ caller, queryer, actor, request }) {
        if (caller !== null && caller.subject.kind !== 'session')
          throw new ApiError('unprocessable', 'this request came with no session that could end');
        await endPresent(queryer, caller, actor);
        return {
          status: 204,
          cookies: caller === null ? [clearSessionCookie(request.secure)] : withoutCookie(request),
        };
      },
    }),
  ];
}

/** The account's row. It is there: accounts are never deleted. */
async function rowOf(queryer: Queryer, id: number): Promise<UserRow> {
  return (await findUser(queryer, { id }))!;
}

function ownSessions(): readonly Operation[] {
  return [
    defineOperation({
      ...common,
      id: 'listSessions',
      method: 'get',
      path: '/sessions',
      summary: "List one's sessions, the newest first",
      access: 'signed-in',
      apiScope: 'account:read',
      effect: 'reads',
      query: z.strictObject(pageQuery(z.tuple([z.int()]))),
      answers: { 200: pageSchema(entrySchema) },
      async handler({ caller, query: { cursor, limit }, queryer }) {
        const rows = await listSessions(queryer, personOf(caller).id, cursor?.[0] ?? null, limit + 1);
        const { items, next } = cutPage(rows, limit, (row) => [row.id]);
        return { status: 200, body: { items: items.map((row) => entryOf(row, caller)) }, next };
      },
    }),
    defineOperation({
      ...common,
      id: 'endSession',
      method: 'delete',
      path: '/sessions/{id}',
      summary: "End one of one's sessions",
      access: 'signed-in',
      apiScope: 'account:write',
      effect: 'changes',
      params: z.strictObject({ id: idParam }),
      answers: { 204: null },
      async handler({ caller, params: { id }, queryer, actor, request }) {
        const user = await rowOf(queryer, personOf(caller).id);
        if (!(await endSession(queryer, user, id, actor)))
          throw new ApiError('notFound', `there is no session ${id}, or it is not yours`);
        return { status: 204, cookies: id === caller.caller.credentialId ? withoutCookie(request) : [] };
      },
    }),
    defineOperation({
      ...common,
      id: 'signOutEverywhere',
      method: 'delete',
      path: '/sessions',
      summary: 'Sign out everywhere',
      description:
        'Ends all sessions of the account and all of its docker logins. Personal access tokens stay: revoke them one by one. ' +
        'A program that keeps the password itself can sign in again, until that is changed.',
      access: 'signed-in',
      apiScope: 'account:write',
      effect: 'changes',
      answers: { 204: null },
      async handler({ caller, queryer, actor, request }) {
        const user = await lockUser(queryer, { id: personOf(caller).id });
        await signOutEverywhere(queryer, user!, actor);
        return { status: 204, cookies: withoutCookie(request) };
      },
    }),
  ];
}

function entryOf(row: SessionRow, caller: ApiCaller): z.input<typeof entrySchema> {
  return {
    id: row.id,
    current: row.id === caller.caller.credentialId,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    lastUsed: { at: row.last_used_at.toISOString(), address: row.last_used_address, client: row.last_used_client },
    can: ['end'],
  };
}
