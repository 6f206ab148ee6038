/** Signing in at /api/v1 as browsers and programs do, and the codes of an authenticator app. */
import { Secret, TOTP } from 'otpauth';
import supertest, { type Response } from 'supertest';
import { apiOf, type Api } from './api.ts';
import type { Login } from './berth.ts';

/** The secret in the cookie that an answer sets; undefined without one, the empty text when it takes one away. */
export function cookieOf(answer: Response): string | undefined {
  const headers = (answer.headers['set-cookie'] ?? []) as unknown as readonly string[];
  if (headers.length > 1) throw new Error(`${headers.length} cookies: ${headers.join(', ')}`);
  return headers[0] === undefined ? undefined : /^(?:__Host-)?berth_session=([^;]*);/.exec(headers[0])![1];
}

/** Asks for a session, as nobody yet; any answer. */
export async function trySignIn(url: string, login: Login & { readonly code?: string }): Promise<Response> {
  const { username, password, code } = login;
  return (await apiOf(url)).post('/session', { username, password, ...(code !== undefined && { code }) });
}

/** A browser that is signed in: its requests, and the secret in its cookie. */
export async function signIn(
  url: string,
  login: Login & { readonly code?: string },
): Promise<{ readonly api: Api; readonly session: string }> {
  const answer = await trySignIn(url, login);
  if (answer.status !== 201) throw new Error(`${answer.status} for a sign-in: ${answer.text}`);
  const session = cookieOf(answer)!;
  return { api: await apiOf(url, { session }), session };
}

const periodSeconds = 30;

export interface App {
  readonly secret: string;
  /** A code that was not given before: the present one, then that of the next step, which is accepted as well. */
  code(): string;
}

/** An authenticator app with this secret. */
export function appOf(secret: string): App {
  const totp = new TOTP({ secret: Secret.fromBase32(secret) });
  let last = 0;
  return {
    secret,
    code() {
      const now = Math.floor(Date.now() / 1000 / periodSeconds);
      last = Math.max(now, last + 1);
      if (last > now + 1) throw new Error('all codes of this moment were given');
      return totp.generate({ timestamp: last * periodSeconds * 1000 });
    },
  };
}

/** Sets up a second factor in a session. */
export async function enableSecondFactor(
  api: Api,
  password: string,
): Promise<{ readonly app: App; readonly confirmed: Response; readonly recoveryCodes: readonly string[] }> {
  const begun = await api.post('/account/totp', { password });
  if (begun.status !== 201) throw new Error(`${begun.status}: ${begun.text}`);
  const app = appOf((begun.body as { secret: string }).secret);
  const confirmed = await api.post('/account/totp/confirm', { code: app.code() });
  if (confirmed.status !== 200) throw new Error(`${confirmed.status}: ${confirmed.text}`);
  return { app, confirmed, recoveryCodes: (confirmed.body as { recoveryCodes: string[] }).recoveryCodes };
}

/** Whether `docker login` would succeed. */
export async function dockerLogin(url: string, login: Login): Promise<boolean> {
  const { username, password } = login;
  return (await supertest(url).get('/auth/token').query({ service: 'berth' }).auth(username, password)).status === 200;
}
