import { RegistryError } from '../oci/errors.ts';
import type { Scope } from './scopes.ts';

/** Why a Bearer token did not do, in the words of RFC 6750 section 3.1. */
export type ChallengeError = 'invalid_token' | 'insufficient_scope';

/**
 * The caller must (again) show who it is: answered 401 with a challenge that names the scope to ask for.
 * https://distribution.github.io/distribution/spec/auth/token/
 */
export class UnauthorizedError extends RegistryError {
  /** The scope that a token for this request needs; undefined where none is needed (`/v2/`). */
  readonly scope: Scope | undefined;
  readonly error: ChallengeError | undefined;

  constructor(options: { scope?: Scope | undefined; error?: ChallengeError; message?: string; detail?: unknown } = {}) {
    const { message, detail } = options;
    super('unauthorized', { ...(message !== undefined && { message }), ...(detail !== undefined && { detail }) });
    this.scope = options.scope;
    this.error = options.error;
  }

  /** The same refusal, with the scope that would do. */
  forScope(scope: Scope): UnauthorizedError {
    return new UnauthorizedError({
      scope,
      message: this.message,
      ...(this.error !== undefined && { error: this.error }),
      ...(this.detail !== undefined && { detail: this.detail }),
    });
  }
}
