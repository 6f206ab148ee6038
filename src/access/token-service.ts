/**
 * Docker's token protocol: who may have which token.
 * https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Database } from '../database/pool.ts';
import { parseRepositoryName, type RepositoryName } from '../oci/reference.ts';
import type { Caller } from './caller.ts';
import { UnauthorizedError } from './errors.ts';
import type { Lookup } from './lookup.ts';
import { grantScope } from './policy.ts';
import type { Scope } from './scopes.ts';
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
  /** An access token; what the caller may not do is left out of it. @throws UnauthorizedError when the caller is not alive */
  issue(caller: Caller, username: string, asked: readonly Scope[]): Promise<IssuedToken>;
  /** A token that stands for the password of this caller until either is revoked. Random, stored hashed, shown once. */
  createRefreshToken(caller: Caller): Promise<string>;
  /** Who a refresh token stands for. @throws UnauthorizedError when it is unknown, expired or revoked */
  redeem(refreshToken: string): Promise<{ caller: Caller; username: string }>;
}

export interface TokenServiceParts {
  readonly database: Database;
  readonly lookup: Lookup;
  readonly tokens: AccessTokens;
  readonly refreshTtlDays: number;
}

const refreshTokenBytes = 32;

export function createTokenService({ database, lookup, tokens, refreshTtlDays }: TokenServiceParts): TokenService {
  async function grant(caller: Caller, scope: Scope): Promise<Scope | null> {
    const name = scope.type === 'repository' ? nameOf(scope) : null;
    const { subject, facts } = await lookup(caller, name);
    if (subject === null) throw new UnauthorizedError({ message: 'these credentials were revoked or have expired' });
    return grantScope(subject, scope, name === null ? null : facts);
  }

  return {
    async issue(caller, username, asked) {
      // Also without scopes, as at `docker login`: the caller must be alive.
      const granted = await Promise.all([
        grant(caller, { type: 'none', name: '', actions: [] }),
        ...asked.map((scope) => grant(caller, scope)),
      ]);
      const access = granted.filter((scope) => scope !== null);
      return { ...(await tokens.issue(caller.credentialId, username, access)), access };
    },
    async createRefreshToken(caller) {
      const { subject } = await lookup(caller, null);
      if (subject === null || subject.user === null)
        throw new UnauthorizedError({ message: 'only an account can have a refresh token' });
      const token = randomBytes(refreshTokenBytes).toString('base64url');
      await insertRefreshToken(database, {
        userId: subject.user.id,
        rootId: caller.credentialId,
        secretHash: hashOf(token),
        ttlDays: refreshTtlDays,
      });
      return token;
    },
    async redeem(refreshToken) {
      const row = await findRefreshToken(database, hashOf(refreshToken));
      if (row === undefined)
        throw new UnauthorizedError({ message: 'the refresh token is unknown, expired or revoked; log in again' });
      return { caller: { credentialId: row.credential_id, kid: null, scopes: null }, username: row.username };
    },
  };
}

/** A random token needs no slow hash: there is nothing to guess. */
function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** A name that cannot be one has no repository, and no rights. */
function nameOf(scope: Scope): RepositoryName | null {
  try {
    return parseRepositoryName(scope.name);
  } catch {
    return null;
  }
}
