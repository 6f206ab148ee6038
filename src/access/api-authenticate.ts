/** Who calls the management API: by Authorization header, or by the cookie of a session. */
import type { Database } from '../database/pool.ts';
import type { RequestOrigin } from './actor.ts';
import { parseBasic, type Authenticator } from './authenticate.ts';
import type { Caller } from './caller.ts';
import { UnauthorizedError } from './errors.ts';
import type { LastUse } from './last-use.ts';
import type { Lookup } from './lookup.ts';
import type { Subject } from './policy.ts';
import { hashOfSecret, isSecret } from './secrets.ts';
import { findApiScopes, findSecret } from './sql/credentials.ts';

/** A caller whose credential was alive when it was asked. */
export interface ApiIdentity {
  readonly caller: Caller;
  readonly subject: Subject;
  /** Null when the credential has no such limit. */
  readonly apiScopes: readonly string[] | null;
}

export interface ApiAuthenticatorParts {
  readonly database: Database;
  readonly authenticator: Authenticator;
  readonly lookup: Lookup;
  readonly lastUse: LastUse;
}

export interface ApiAuthenticator {
  /**
   * Basic with a password or a token, Bearer with a token, a robot's token or a session's secret, or an access token of the
   * data plane (which may look at what it is for, and change nothing).
   * @throws UnauthorizedError when it is malformed, wrong, expired or revoked
   */
  byHeader(authorization: string, origin: RequestOrigin): Promise<ApiIdentity>;
  /** Null when there is no such session (any more). */
  bySession(secret: string, origin: RequestOrigin): Promise<ApiIdentity | null>;
}

const ended = 'these credentials were revoked or have expired';

export function createApiAuthenticator({
  database,
  authenticator,
  lookup,
  lastUse,
}: ApiAuthenticatorParts): ApiAuthenticator {
  async function identify(caller: Caller): Promise<ApiIdentity | null> {
    const { subject } = await lookup(caller, null);
    if (subject === null) return null;
    // An access token of the data plane is for repositories, whatever the credential behind it may do beside.
    const apiScopes = caller.scopes === null ? await findApiScopes(database, caller.credentialId) : [];
    return { caller, subject, apiScopes };
  }

  async function bySecret(
    secret: string,
    kinds: readonly string[],
    origin: RequestOrigin,
  ): Promise<ApiIdentity | null> {
    const row = isSecret(secret) ? await findSecret(database, hashOfSecret(secret)) : undefined;
    if (row === undefined || !kinds.includes(row.kind)) return null;
    const identity = await identify({ credentialId: row.credential_id, kid: null, scopes: null });
    if (identity !== null) lastUse.note(row.credential_id, origin);
    return identity;
  }

  async function callerOf(authorization: string, origin: RequestOrigin): Promise<ApiIdentity | null> {
    const bearer = /^bearer +(\S+) *$/i.exec(authorization)?.[1];
    if (bearer === undefined) {
      const { username, password } = parseBasic(authorization);
      return identify(await authenticator.verifyBasic(username, password, origin));
    }
    if (bearer.startsWith('bth_')) return bySecret(bearer, ['token', 'robot', 'session'], origin);
    const caller = await authenticator.authenticate(authorization, () => origin);
    const identity = await identify(caller);
    // Nobody's token is nobody's.
    return identity?.subject.kind === 'anonymous' ? null : identity;
  }

  return {
    async byHeader(authorization, origin) {
      const identity = await callerOf(authorization, origin);
      if (identity === null) throw new UnauthorizedError({ error: 'invalid_token', message: ended });
      return identity;
    },
    bySession: (secret, origin) => bySecret(secret, ['session'], origin),
  };
}
