/** Who is calling: reads an Authorization header. Whether that caller is still alive is asked with each request's own statement. */
import { createHmac, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Database } from '../database/pool.ts';
import type { RequestOrigin } from './actor.ts';
import type { Caller } from './caller.ts';
import { UnauthorizedError } from './errors.ts';
import type { NoteFailure } from './failed-sign-ins.ts';
import type { LastUse } from './last-use.ts';
import type { SignIn } from './limits/sign-in.ts';
import { verifyNothing, verifyPassword } from './passwords.ts';
import { hashOfSecret, isSecret } from './secrets.ts';
import { findPassword, type PasswordRow } from './sql/accounts.ts';
import { findSecret } from './sql/credentials.ts';
import type { AccessTokens } from './tokens.ts';

export interface Authenticator {
  /**
   * Reads the header of a request to the data plane: Bearer or Basic.
   * @param originOf asked for Basic only: the hot path has no use for it
   * @throws UnauthorizedError without a header, and when what it holds is malformed, wrong or expired
   */
  authenticate(authorization: string | undefined, originOf: () => RequestOrigin): Promise<Caller>;
  /**
   * Verifies a name with a password, a personal access token or a robot's token. For passwords it takes the same time whether
   * or not the account exists. A password is not enough for an account with a second factor; tokens are.
   * @throws UnauthorizedError; RegistryError `tooManyRequests` or `unavailable` when no password is verified at the moment
   */
  verifyBasic(username: string, password: string, origin: RequestOrigin): Promise<Caller>;
  /**
   * Only the password, whatever else the account asks for; undefined when it is wrong. The same time in all cases.
   * @throws RegistryError `tooManyRequests` or `unavailable` when no password is verified at the moment
   */
  verifyPasswordOf(username: string, password: string, origin: RequestOrigin): Promise<PasswordRow | undefined>;
}

/** A verified password is remembered this long (as a keyed digest): argon2 costs 36 ms, and scripts send Basic with every request. */
const rememberedMs = 60_000;
const rememberedMax = 10_000;
/** Longer names and passwords are refused before any work is done. In bytes of UTF-8. */
const basicBytesMax = 4096;

const wrongPassword = 'the user name or password is not right';

const secondFactor = 'this account has a second factor: use a personal access token in place of the password';

export interface AuthenticatorParts {
  readonly database: Database;
  readonly tokens: AccessTokens;
  readonly lastUse: LastUse;
  /** Says whether a password may be verified now, and counts the wrong ones. */
  readonly signIn: SignIn;
  readonly noteFailure: NoteFailure;
}

export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  const { database, tokens, lastUse, signIn, noteFailure } = parts;
  const digestKey = randomBytes(32);
  const remembered = new LRUCache<string, Promise<boolean>>({ max: rememberedMax, ttl: rememberedMs });

  /** Counted as a sign-in, and refused where there were too many. */
  async function attempt(
    username: string,
    password: string,
    row: PasswordRow | undefined,
    origin: RequestOrigin,
  ): Promise<boolean> {
    const who = { username, address: origin.address ?? '', factor: 'password', more: row?.totp ?? false } as const;
    const right = await signIn(who, async () => {
      const matches = row === undefined ? verifyNothing(password) : verifyPassword(password, row.secret_hash);
      return (await matches) || undefined;
    });
    return right === true;
  }

  /**
   * Which password is the account's is asked each time; only that this text hashes to it is remembered, by the credential's
   * id: a changed password is another credential. The promise itself is kept, so that a burst of requests with one password
   * costs one attempt. Bursts at accounts that do not exist are joined alike, or their count would tell them apart.
   */
  async function matches(
    username: string,
    password: string,
    row: PasswordRow | undefined,
    origin: RequestOrigin,
  ): Promise<boolean> {
    const account = row === undefined ? `nobody ${username}` : `credential ${row.credential_id}`;
    const key = createHmac('sha256', digestKey).update(`${account}\0${password}`).digest('base64');
    const joined = remembered.get(key);
    // A refusal was meant for another address: whoever joined tries on their own.
    if (joined !== undefined) return joined.catch(() => attempt(username, password, row, origin));
    const own = attempt(username, password, row, origin);
    remembered.set(key, own);
    const forget = (): void => void remembered.delete(key);
    own.then((right) => right || forget(), forget);
    return own;
  }

  async function verifyPasswordOf(
    username: string,
    password: string,
    origin: RequestOrigin,
  ): Promise<PasswordRow | undefined> {
    // PostgreSQL's text has no NUL, and so no account's name.
    const row = username.includes('\0') ? undefined : await findPassword(database, username);
    return (await matches(username, password, row, origin)) ? row : undefined;
  }

  async function verifySecret(username: string, secret: string, origin: RequestOrigin): Promise<Caller> {
    const row = await findSecret(database, hashOfSecret(secret));
    // A token is good for its own account's name only: "Login Succeeded" must not lie about who logged in.
    if (row === undefined || (row.kind !== 'token' && row.kind !== 'robot') || row.login !== username) {
      await noteFailure(username, 'wrong token', origin);
      throw new UnauthorizedError({ message: wrongPassword });
    }
    lastUse.note(row.credential_id, origin);
    return { credentialId: row.credential_id, kid: null, scopes: null };
  }

  async function verifyBasic(username: string, password: string, origin: RequestOrigin): Promise<Caller> {
    if (isSecret(password)) return verifySecret(username, password, origin);
    const row = await verifyPasswordOf(username, password, origin);
    if (row === undefined) {
      await noteFailure(username, 'wrong password', origin);
      throw new UnauthorizedError({ message: wrongPassword });
    }
    if (row.totp) {
      await noteFailure(username, 'a password alone, where there is a second factor', origin);
      throw new UnauthorizedError({ message: secondFactor });
    }
    return { credentialId: row.credential_id, kid: null, scopes: null };
  }

  return {
    verifyBasic,
    verifyPasswordOf,
    async authenticate(authorization, originOf) {
      if (authorization === undefined) throw new UnauthorizedError();
      if (/^bearer /i.test(authorization)) return tokens.verify(authorization.slice(7).trim());
      const basic = parseBasic(authorization);
      return verifyBasic(basic.username, basic.password, originOf());
    },
  };
}

/**
 * Reads `Basic base64(name:password)`, RFC 7617, as UTF-8.
 * @throws UnauthorizedError
 */
export function parseBasic(authorization: string): { username: string; password: string } {
  const match = /^basic +([A-Za-z0-9+/_-]+={0,2}) *$/i.exec(authorization);
  if (match === null)
    throw new UnauthorizedError({ message: 'the Authorization header must hold Basic or Bearer credentials' });
  const text = Buffer.from(match[1]!, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0 || text.length > basicBytesMax) throw new UnauthorizedError({ message: wrongPassword });
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
