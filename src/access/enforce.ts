/** Turns a decision into the answer of DESIGN §4. Written once, so that absent and hidden sound the same everywhere. */
import { RegistryError } from '../oci/errors.ts';
import { UnauthorizedError } from './errors.ts';
import type { Decision, RepositoryAction } from './policy.ts';
import type { Scope } from './scopes.ts';

/** The scope that docker asks for when it wants to do this: a push also pulls (it asks which layers are there). */
export function scopeFor(name: string, action: RepositoryAction): Scope {
  return { type: 'repository', name, actions: action === 'push' ? ['pull', 'push'] : [action] };
}

/**
 * Returns when the action is allowed.
 * @throws UnauthorizedError (401), RegistryError `denied` (403) or `nameUnknown` (404)
 */
export function enforce(decision: Decision, name: string, action: RepositoryAction): void {
  switch (decision.outcome) {
    case 'allowed':
      return;
    case 'unauthenticated':
      throw new UnauthorizedError({ scope: scopeFor(name, action) });
    case 'insufficient-scope':
      throw new UnauthorizedError({
        scope: scopeFor(name, action),
        error: 'insufficient_scope',
        message: `the token was not made to ${action} ${name}; ask for one with this scope`,
      });
    case 'denied':
      throw new RegistryError('denied', { message: decision.reason });
    case 'invisible':
      throw action === 'pull'
        ? repositoryUnknown(name)
        : new RegistryError('denied', { message: `you may not ${action} to ${name}: the namespace is not yours` });
  }
}

/** What a caller hears of a repository that is not there, or not there for it. */
export function repositoryUnknown(name: string): RegistryError {
  return new RegistryError('nameUnknown', {
    message: `the repository ${name} does not exist, or you may not see it`,
    detail: { name },
  });
}
