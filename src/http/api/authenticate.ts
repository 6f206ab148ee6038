/** Who calls the API: what the credentials of the data plane say, and whether they are still alive. */
import type { Authenticator } from '../../access/authenticate.ts';
import { UnauthorizedError } from '../../access/errors.ts';
import type { Lookup } from '../../access/lookup.ts';
import type { AuthenticateApi } from './caller.ts';

export interface ApiAuthenticationParts {
  readonly authenticator: Authenticator;
  readonly lookup: Lookup;
}

export function createAuthenticateApi({ authenticator, lookup }: ApiAuthenticationParts): AuthenticateApi {
  return async ({ authorization, address, client }) => {
    if (authorization === undefined) return null;
    const caller = await authenticator.authenticate(authorization, { address, client, requestId: null });
    const { subject } = await lookup(caller, null);
    if (subject === null)
      throw new UnauthorizedError({
        error: 'invalid_token',
        message: 'these credentials were revoked or have expired',
      });
    // A token that says "nobody" is no sign-in.
    return subject.kind === 'anonymous' ? null : { caller, subject, apiScopes: null };
  };
}
