/** Turns a decision into the answer of DESIGN §4. Written once, so that absent and hidden sound the same everywhere. */
import { RegistryError } from '../oci/errors.ts';
import { UnauthorizedError } from './errors.ts';
import { denialOf, limitOf } from './reasons.ts';
import type { Decision, RepositoryAction, Subject } from './policy.ts';
import type { Scope } from './scopes.ts';

/** The scope that docker asks for when it wants to do this: a push also pulls (it asks which layers are there). */
export function scopeFor(name: string, action: RepositoryAction): Scope {
  return { type: 'repository', name, actions: action === 'push' ? ['pull', 'push'] : [action] };
}

/**
 * Returns when the action is allowed.
 * @throws UnauthorizedError (401), RegistryError `denied` (403) or `nameUnknown` (404)
 */
export function enforce(decision: Decision, subject: Subject | null, name: string, action: RepositoryAction): void {
  switch (decision.outcome) {
    case 'allowed':
      return;
    case 'unauthenticated':
      throw new UnauthorizedError({
        scope: scopeFor(name, action),
        // A credential that died since its token was made; whoever brought none is only asked for one.
        ...(subject === null && { error: 'invalid_token', message: 'these credentials were revoked or have expired' }),
      });
    case 'insufficient-scope':
      throw new UnauthorizedError({
        scope: scopeFor(name, action),
        error: 'insufficient_scope',
        message: `the token was not made to ${action} ${name}; ask for one with this scope`,
        detail: { name, action, reason: 'the access token was asked for without this scope' },
      });
    case 'denied': {
      const reason = denialOf(decision, subject, name, action);
      throw new RegistryError('denied', { message: reason, detail: { name, action, reason } });
    }
    case 'invisible':
      throw action === 'pull' ? repositoryUnknown(name, subject) : mayNot(subject, name, action);
  }
}

/**
 * What a caller hears of a repository that is not there, or not there for it. A token's own limits are known to who holds
 * it, so they may be said: they are the same whether or not there is such a repository.
 */
export function repositoryUnknown(name: string, subject: Subject | null = null): RegistryError {
  const limit = limitOf(subject, name, 'pull');
  return new RegistryError('nameUnknown', {
    message: `the repository ${name} does not exist, or you may not see it${limit === null ? '' : `: ${limit}`}`,
    detail: { name, ...(limit !== null && { reason: limit }) },
  });
}

/** The same for what would change it; docker prints this at a push to somebody else's namespace. */
function mayNot(subject: Subject | null, name: string, action: RepositoryAction): RegistryError {
  const limit = limitOf(subject, name, action);
  const slash = name.indexOf('/');
  const namespace = slash < 0 ? undefined : name.slice(0, slash);
  const why =
    limit ??
    (namespace === undefined
      ? `only administrators may ${action} names without a slash; use ${subject?.user?.name ?? 'your-name'}/${name}`
      : `the namespace ${namespace} is not yours, or your role in it does not allow it; ask its owner, or use a namespace of your own`);
  return new RegistryError('denied', {
    message: `you may not ${action === 'push' ? 'push to' : action} ${name}: ${why}`,
    detail: { name, action, reason: why },
  });
}
