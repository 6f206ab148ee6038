/**
 * Docker's token protocol: who may have which token.
 * https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
 */
import type { Database } from '../database/pool.ts';
import { recordAudit } from '../events/audit.ts';
import { actorOf, type RequestOrigin } from './actor.ts';
import { parseRepositoryName, type RepositoryName } from '../oci/reference.ts';
import type { Caller } from './caller.ts';
import { UnauthorizedError } from './errors.ts';
import type { Lookup } from './lookup.ts';
import type { LastUse } from './last-use.ts';
import { accountOf, type RateLimits } from './limits/limits.ts';
import { grantScope, type RepositoryFacts, type Subject } from './policy.ts';
import type { Scope } from './scopes.ts';
import { createSecret, hashOfSecret } from './secrets.ts';
import { findRefreshToken, insertRefreshToken } from './sql/tokens.ts';
import type { AccessTokens } from './tokens.ts';

export interface IssuedToken {
  readonly token: string;
  /** What of the asked-for scopes the token has. */
  readonly access: readonly Scope[];
  readonly expiresInSeconds: number;
  readonly issuedAt: Date;
}

export interface TokenService {
  /**
   * An access token; what the caller may not do is left out of it.
   * @throws UnauthorizedError when the caller is not alive; RegistryError `tooManyRequests` when it has had its tokens
   */
  issue(caller: Caller, username: string, asked: readonly Scope[], origin: RequestOrigin): Promise<IssuedToken>;
  /** A token that stands for the password or token of this caller until either is revoked. Random, stored hashed, shown once. */
  createRefreshToken(caller: Caller, origin: RequestOrigin): Promise<string>;
  /** Who a refresh token stands for. @throws UnauthorizedError when it is unknown, expired or revoked */
  redeem(refreshToken: string, origin: RequestOrigin): Promise<{ caller: Caller; username: string }>;
}

export interface TokenServiceParts {
  readonly database: Database;
  readonly lookup: Lookup;
  readonly tokens: AccessTokens;
  readonly lastUse: LastUse;
  readonly rateLimits: RateLimits;
  readonly refreshTtlDays: number;
}

export function createTokenService({
  database,
  lookup,
  tokens,
  lastUse,
  rateLimits,
  refreshTtlDays,
}: TokenServiceParts): TokenService {
  async function living(
    caller: Caller,
    name: RepositoryName | null,
    following?: 'aliases',
  ): Promise<{ subject: Subject; facts: RepositoryFacts }> {
    const { subject, facts } = await lookup(caller, name, following);
    if (subject === null) throw new UnauthorizedError({ message: 'these credentials were revoked or have expired' });
    return { subject, facts };
  }

  async function grant(caller: Caller, scope: Scope): Promise<Scope | null> {
    const name = scope.type === 'repository' ? nameOf(scope) : null;
    if (name === null) return grantScope((await living(caller, null)).subject, scope, null);
    // By a former name a repository is pulled, and nothing else. Both are asked, whatever is there: neither the time nor the
    // scopes may tell.
    const [exact, pulling] = await Promise.all([living(caller, name), living(caller, name, 'aliases')]);
    const pull = scope.actions.filter((action) => action === 'pull' || action === '*');
    const pulled = grantScope(pulling.subject, { ...scope, actions: pull }, pulling.facts)?.actions.includes('pull');
    const granted = grantScope(exact.subject, scope, exact.facts);
    if (pulled !== true || granted?.actions.includes('pull') === true) return granted;
    return { type: scope.type, name, actions: ['pull', ...(granted?.actions ?? [])] };
  }

  return {
    async issue(caller, username, asked, origin) {
      // Also without scopes, as at `docker login`: the caller must be alive.
      const [{ subject }, ...granted] = await Promise.all([
        living(caller, null),
        ...asked.map((scope) => grant(caller, scope)),
      ]);
      await rateLimits.token(origin.address ?? '', accountOf(subject));
      const access = granted.filter((scope) => scope !== null);
      return { ...(await tokens.issue(caller.credentialId, username, access)), access };
    },
    async createRefreshToken(caller, origin) {
      const { subject } = await lookup(caller, null);
      if (subject === null || (subject.user === null && subject.robot === null))
        throw new UnauthorizedError({ message: 'only an account can have a refresh token' });
      const { text, hash } = createSecret();
      await database.transaction(async (queryer) => {
        const id = await insertRefreshToken(queryer, {
          userId: subject.user?.id ?? null,
          rootId: caller.credentialId,
          secretHash: hash,
          ttlDays: refreshTtlDays,
        });
        const actor = actorOf(subject, origin);
        await recordAudit(queryer, actor, {
          action: 'refresh_token.create',
          target: `refresh token of ${actor.name}`,
          after: { id, from: caller.credentialId },
          outcome: 'done',
        });
      });
      return text;
    },
    async redeem(refreshToken, origin) {
      const row = await findRefreshToken(database, hashOfSecret(refreshToken));
      if (row === undefined)
        throw new UnauthorizedError({
          message: 'this login has ended (the refresh token is unknown, expired or revoked); log in again',
        });
      lastUse.note(row.credential_id, origin);
      // What it came from is in use as well: docker keeps the one, people look at the other.
      lastUse.note(row.root_id, origin);
      return { caller: { credentialId: row.credential_id, kid: null, scopes: null }, username: row.username };
    },
  };
}

/** A name that cannot be one has no repository, and no rights. */
function nameOf(scope: Scope): RepositoryName | null {
  try {
    return parseRepositoryName(scope.name);
  } catch {
    return null;
  }
}
