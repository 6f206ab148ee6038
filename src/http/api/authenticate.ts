/** Who calls the API: by its Authorization header, or else by the session cookie. */
import type { ApiAuthenticator } from '../../access/api-authenticate.ts';
import type { AuthenticateApi } from './caller.ts';

export function createAuthenticateApi(authenticator: ApiAuthenticator): AuthenticateApi {
  return async ({ authorization, sessionSecret, address, client }) => {
    const origin = { address, client, requestId: null };
    if (authorization !== undefined) return authenticator.byHeader(authorization, origin);
    return sessionSecret === null ? null : authenticator.bySession(sessionSecret, origin);
  };
}
