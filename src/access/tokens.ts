/** Access tokens: JWTs that live minutes, signed with ES256. */
import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Caller } from './caller.ts';
import { UnauthorizedError } from './errors.ts';
import type { SigningKeys } from './keys.ts';
import type { Scope } from './scopes.ts';

export interface AccessTokenSettings {
  /** Issuer and audience: the name under which this registry issues and accepts tokens. */
  readonly service: string;
  readonly ttlSeconds: number;
  readonly clockSkewSeconds: number;
}

export interface AccessTokens {
  /** Signs a token for a credential. `subject` is the account's name, empty for the anonymous caller. */
  issue(
    credentialId: number,
    subject: string,
    access: readonly Scope[],
  ): Promise<{ token: string; expiresInSeconds: number; issuedAt: Date }>;
  /**
   * Checks signature, times, issuer and audience; not whether credential and key are still alive.
   * @throws UnauthorizedError `invalid_token`
   */
  verify(token: string): Promise<Caller>;
}

/** Verified tokens that are kept, so that a burst of requests with one token costs one signature check. */
const verifiedMax = 10_000;
const tokenLengthMax = 16_384;
/** Wider than any `kid` made here; PostgreSQL is asked for nothing that it cannot hold. */
const kidPattern = /^[\w-]{1,128}$/;

const claimsSchema = z.object({
  cid: z.number().int(),
  exp: z.number(),
  access: z.array(z.object({ type: z.string(), name: z.string(), actions: z.array(z.string()) })),
});

export function createAccessTokens(keys: SigningKeys, settings: AccessTokenSettings): AccessTokens {
  const verified = new LRUCache<string, { caller: Caller; expiresAtMs: number }>({ max: verifiedMax });

  async function check(token: string): Promise<{ caller: Caller; expiresAtMs: number }> {
    const kid = token.length <= tokenLengthMax ? kidOf(token) : undefined;
    const key = kid === undefined ? undefined : await keys.publicKey(kid);
    if (kid === undefined || key === undefined) throw invalid('the token is not one of this registry');
    try {
      const payload = jwt.verify(token, key, {
        algorithms: ['ES256'],
        issuer: settings.service,
        audience: settings.service,
        clockTolerance: settings.clockSkewSeconds,
      });
      const claims = claimsSchema.parse(payload);
      const caller = { credentialId: claims.cid, kid, scopes: claims.access };
      return { caller, expiresAtMs: (claims.exp + settings.clockSkewSeconds) * 1000 };
    } catch (error) {
      throw invalid(
        error instanceof jwt.TokenExpiredError ? 'the token has expired; ask for a new one' : 'the token is not valid',
      );
    }
  }

  return {
    async issue(credentialId, subject, access) {
      const { kid, privateKey } = await keys.current();
      const issuedAt = new Date(Math.floor(Date.now() / 1000) * 1000);
      const token = jwt.sign({ cid: credentialId, access, iat: issuedAt.getTime() / 1000 }, privateKey, {
        algorithm: 'ES256',
        keyid: kid,
        issuer: settings.service,
        audience: settings.service,
        subject,
        expiresIn: settings.ttlSeconds,
        jwtid: randomUUID(),
      });
      return { token, expiresInSeconds: settings.ttlSeconds, issuedAt };
    },
    async verify(token) {
      const known = verified.get(token);
      if (known !== undefined) {
        if (known.expiresAtMs > Date.now()) return known.caller;
        verified.delete(token);
      }
      const entry = await check(token);
      verified.set(token, entry);
      return entry.caller;
    },
  };
}

/** The key that a token claims; nothing in it has been verified yet, so it may be anything at all. */
function kidOf(token: string): string | undefined {
  try {
    const kid: unknown = jwt.decode(token, { complete: true })?.header.kid;
    return typeof kid === 'string' && kidPattern.test(kid) ? kid : undefined;
  } catch {
    // The library throws for some texts that are no JSON, and returns null for others.
    return undefined;
  }
}

function invalid(message: string): UnauthorizedError {
  return new UnauthorizedError({ error: 'invalid_token', message });
}
