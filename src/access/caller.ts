import type { Scope } from './scopes.ts';

/** A caller as its credentials say; the database has the last word on whether they still count. */
export interface Caller {
  readonly credentialId: number;
  /** The key that signed its token; null when it came with a password. */
  readonly kid: string | null;
  /** What its token was made for; null when it came with a password. */
  readonly scopes: readonly Scope[] | null;
}

/** Id of the fixed row that anonymous callers are. */
export const anonymousCredentialId = 0;
