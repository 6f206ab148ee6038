/** People who ask, and what they get back when they sign in. */
import { z } from 'zod';
import { passwordLengthMax, passwordLengthMin } from '../../access/accounts.ts';
import { accountNameLengthMax, isAccountName } from '../../access/names.ts';
import { openSession, type OpenedSession } from '../../access/sessions.ts';
import type { UserRow } from '../../access/sql/accounts.ts';
import { parseEmailAddress } from '../../config/email-address.ts';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { clearSessionCookie, setSessionCookie } from './cookies.ts';
import { csrfTokenOf } from './csrf.ts';
import type { RequestFacts } from './operation.ts';

type Person = NonNullable<ApiCaller['subject']['user']>;

/** The account behind any credential. @throws ApiError `forbidden` for robots */
export function accountOf({ subject }: ApiCaller): Person {
  if (subject.user === null) throw new ApiError('forbidden', 'a robot has no account of its own');
  return subject.user;
}

/** Whether somebody is there in person, by password or session, and not by something that was made for less. */
export function isInPerson({ subject, caller, apiScopes }: ApiCaller): boolean {
  const { kind, grants } = subject;
  return (kind === 'session' || kind === 'password') && grants === null && caller.scopes === null && apiScopes === null;
}

/** The account that asks in person. @throws ApiError `forbidden` for tokens, whatever their scopes, and for robots */
export function personOf(caller: ApiCaller): Person {
  const person = accountOf(caller);
  if (isInPerson(caller)) return person;
  throw new ApiError('forbidden', 'a token cannot do this, whatever it was made for', {
    next: 'Do it in a session, or with the name and password of the account.',
  });
}

/** @throws ApiError `notFound` for everybody else: there is no administration for them */
export function administratorOf({ subject }: ApiCaller): Person {
  if (subject.user?.admin !== true) throw new ApiError('notFound', 'there is nothing here, or you may not see it');
  return subject.user;
}

/** An administrator in person: what could make its maker more powerful is not for tokens. @throws ApiError `notFound`, `forbidden` */
export function administratorInPerson(caller: ApiCaller): Person {
  administratorOf(caller);
  return personOf(caller);
}

export const usernameField = z
  .string()
  .refine(
    isAccountName,
    `must be at most ${accountNameLengthMax} lower-case letters and digits, with single dots, dashes or underscores between them`,
  )
  .meta({ description: 'Also the first component of the names of its repositories.', example: 'ada' });

export const emailField = z
  .string()
  .transform((text, context) => {
    const address = parseEmailAddress(text);
    if (address !== undefined) return address;
    context.addIssue('must be an e-mail address');
    return z.NEVER;
  })
  .meta({ description: 'An e-mail address; kept in lower case.', example: 'ada@example.com' });

/** A password that is chosen. */
export const newPasswordField = z
  .string()
  .min(passwordLengthMin)
  .max(passwordLengthMax)
  .meta({ description: 'Any characters.', format: 'password' });

/** A password that is shown: whatever it is, it is compared. */
export const passwordField = z.string().max(4096).meta({ format: 'password' });

export const codeField = z
  .string()
  .max(64)
  .meta({ description: 'Six digits of the app, or a recovery code. Either works once.', example: '123456' });

export const linkTokenField = z.string().max(256).meta({ description: 'What stands behind `#token=` in the link.' });

export const newSessionShape = {
  expiresAt: z.iso.datetime(),
  csrfToken: z.string().nullable().meta({ description: 'For the header X-CSRF-Token; null where there is no cookie.' }),
  secret: z
    .string()
    .optional()
    .meta({ description: 'For `Authorization: Bearer`; only for programs, that is, where there is no cookie.' }),
};
export const newSessionSchema = z
  .strictObject(newSessionShape)
  .meta({ id: 'NewSession', description: 'A session that has just begun.' });

interface HandedOver {
  readonly session: z.input<typeof newSessionSchema>;
  readonly cookies: readonly string[];
}

/** A new session on its way to a browser, where no script may read its secret, or to a program, which has no cookies. */
export function handOver(
  { secret, expiresAt }: OpenedSession,
  to: 'browser' | 'program',
  { secure }: RequestFacts,
): HandedOver {
  if (to === 'program')
    return { session: { expiresAt: expiresAt.toISOString(), csrfToken: null, secret }, cookies: [] };
  const maxAgeSeconds = Math.max(1, Math.floor((expiresAt.getTime() - Date.now()) / 1000));
  return {
    session: { expiresAt: expiresAt.toISOString(), csrfToken: csrfTokenOf(secret) },
    cookies: [setSessionCookie(secret, { secure, maxAgeSeconds })],
  };
}

/**
 * Where a change has ended all sessions, the one that made it goes on, under a new secret: a browser's in its cookie, a
 * program's in the answer. Nothing for whoever came with a password.
 */
export async function continueSession(
  queryer: Queryer,
  { caller, request, actor }: { caller: ApiCaller; request: RequestFacts; actor: Actor },
  { user, passwordId, ttlHours }: { user: UserRow; passwordId: number | undefined; ttlHours: number },
): Promise<HandedOver | { readonly session: null; readonly cookies: readonly string[] }> {
  if (caller.subject.kind !== 'session' || passwordId === undefined) return { session: null, cookies: [] };
  const opened = await openSession(queryer, user, passwordId, ttlHours, actor);
  return handOver(opened, request.sessionSecret === null ? 'program' : 'browser', request);
}

/** The cookie of a session that has ended, taken away; nothing for programs. */
export function withoutCookie({ sessionSecret, secure }: RequestFacts): readonly string[] {
  return sessionSecret === null ? [] : [clearSessionCookie(secure)];
}
