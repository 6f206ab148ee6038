/**
 * Who may do what: one pure decision. A caller has a live account (or is anonymous) and, when it came with a token, the
 * token's scopes; it may do what both allow.
 */
import { scopesCover, type Scope } from './scopes.ts';

export type RepositoryAction = 'pull' | 'push' | 'delete';
export type Visibility = 'private' | 'public';

/** Who is asking, as the database says at this moment. `user` is null for the anonymous caller. */
export interface Subject {
  readonly credentialId: number;
  readonly user: { readonly id: number; readonly admin: boolean } | null;
}

/** What the decision needs to know of a repository; `visibility` is null when there is no such repository. */
export interface RepositoryFacts {
  readonly visibility: Visibility | null;
  /** Who owns the namespace, if it is somebody's. */
  readonly ownerId: number | null;
}

/**
 * The answers of DESIGN §4:
 * - `allowed`
 * - `unauthenticated`: sign in (401 with a challenge)
 * - `insufficient-scope`: the caller may, but its token was not made for this (401, ask for a wider token)
 * - `denied`: the caller sees the repository but may not do this (403 with the reason)
 * - `invisible`: absent or hidden, told apart by nobody (reads 404, writes 403)
 */
export type Decision =
  | { readonly outcome: 'allowed' | 'unauthenticated' | 'insufficient-scope' | 'invisible' }
  | { readonly outcome: 'denied'; readonly reason: string };

const allowed: Decision = { outcome: 'allowed' };

/** What an account may do with a repository, whatever its token says. */
function liveActions(subject: Subject, facts: RepositoryFacts): readonly RepositoryAction[] {
  const { user } = subject;
  if (user !== null && (user.admin || (facts.ownerId !== null && facts.ownerId === user.id)))
    return ['pull', 'push', 'delete'];
  if (facts.visibility === 'public') return ['pull'];
  return [];
}

/**
 * Decides one action on one repository.
 * @param subject null when the credential is dead: revoked, expired, or its account disabled
 * @param scopes what the caller's token was made for; null when it came with a password and has no such limit
 */
export function decide(
  subject: Subject | null,
  scopes: readonly Scope[] | null,
  name: string,
  action: RepositoryAction,
  facts: RepositoryFacts,
): Decision {
  if (subject === null) return { outcome: 'unauthenticated' };
  const live = liveActions(subject, facts);
  if (live.includes(action)) {
    const covered = scopes === null || scopesCover(scopes, 'repository', name, action);
    return covered ? allowed : { outcome: 'insufficient-scope' };
  }
  if (facts.visibility !== null && live.length > 0)
    return { outcome: 'denied', reason: denialOf(subject, action, name) };
  return { outcome: subject.user === null ? 'unauthenticated' : 'invisible' };
}

function denialOf(subject: Subject, action: RepositoryAction, name: string): string {
  if (subject.user === null)
    return `you are not signed in, and ${name} can only be pulled without an account; sign in to ${action}`;
  return `your account may pull ${name}, but not ${action}; ask the owner of the namespace`;
}

/** What of the asked-for scopes goes into a token: actions that the account may not do are left out, and so are empty scopes. */
export function grantScope(subject: Subject, asked: Scope, facts: RepositoryFacts | null): Scope | null {
  if (asked.type === 'registry') {
    // Anybody with a token may list: the listing itself shows only what the caller may see.
    return asked.name === 'catalog' && asked.actions.includes('*')
      ? { type: 'registry', name: 'catalog', actions: ['*'] }
      : null;
  }
  if (asked.type !== 'repository' || facts === null) return null;
  const live = liveActions(subject, facts);
  const actions = asked.actions.includes('*') ? live : live.filter((action) => asked.actions.includes(action));
  return actions.length === 0 ? null : { type: 'repository', name: asked.name, actions };
}
