/** Who calls the management API. */
import { actorOf } from '../../access/actor.ts';
import { anonymousCredentialId, type Caller } from '../../access/caller.ts';
import type { Subject } from '../../access/policy.ts';
import type { Actor } from '../../events/actor.ts';

/** What a request shows to prove who sent it, and where it comes from. */
export interface ShownCredentials {
  /** The Authorization header. Where there is one, cookies do not count. */
  readonly authorization: string | undefined;
  /** The secret in the session cookie; null without one, and wherever there is an Authorization header. */
  readonly sessionSecret: string | null;
  /** The client's address, as trusted proxies say it. */
  readonly address: string;
  /** The User-Agent. */
  readonly client: string | null;
}

/** A caller with a live credential. */
export interface ApiCaller {
  /** For questions to the live state of a repository (access/lookup.ts). */
  readonly caller: Caller;
  readonly subject: Subject;
  /** What of the API the credential was made for; null when it has no such limit. */
  readonly apiScopes: readonly string[] | null;
}

/** What stands for nobody where a caller is needed to ask for the live state of something. */
export const anonymousCaller: { readonly caller: Caller } = {
  caller: { credentialId: anonymousCredentialId, kid: null, scopes: null },
};

/**
 * Finds out who is calling. Null when nothing is shown, or a session that has ended.
 * @throws UnauthorizedError when the Authorization header is malformed, wrong, expired or revoked
 */
export type AuthenticateApi = (shown: ShownCredentials) => Promise<ApiCaller | null>;

/** The caller as the audit log names it. */
export function actorFor(caller: ApiCaller | null, shown: ShownCredentials, requestId: string | null): Actor {
  const origin = { address: shown.address, client: shown.client, requestId };
  if (caller !== null) return actorOf(caller.subject, origin);
  return { credentialId: anonymousCredentialId, userId: null, name: 'anonymous', ...origin };
}
