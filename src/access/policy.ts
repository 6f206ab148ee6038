/**
 * Who may do what: one pure decision, which every room asks. A caller may do what three things allow together: the live
 * right of the account or robot behind its credential, the grants of that credential, and the scopes of the access token.
 * What is public may be pulled with any live credential, since nobody needs one.
 */
import { grantsCover, type Grant } from './grants.ts';
import type { Role } from './roles.ts';
import { scopesCover, type Scope } from './scopes.ts';

export const repositoryActions = ['pull', 'push', 'delete', 'settings', 'members'] as const;
export type RepositoryAction = (typeof repositoryActions)[number];
export const visibilities = ['private', 'internal', 'public'] as const;
export type Visibility = (typeof visibilities)[number];
export type CredentialKind = 'anonymous' | 'password' | 'refresh_token' | 'session' | 'token' | 'robot';

/** Who is asking, as the database says at this moment. */
export interface Subject {
  readonly credentialId: number;
  /** Of the credential that was signed in with: a refresh token counts as what it came from. */
  readonly kind: CredentialKind;
  /** The name of the token or robot; null for all others. */
  readonly credentialName: string | null;
  /** Null for the anonymous caller and for robots. */
  readonly user: { readonly id: number; readonly name: string; readonly admin: boolean } | null;
  /** What a robot belongs to: a namespace, or one repository of it. Null for all others. */
  readonly robot: { readonly namespaceId: number; readonly repositoryId: number | null } | null;
  /** What the credential was made for; null when it has no such limit. */
  readonly grants: readonly Grant[] | null;
}

/** What the decision needs to know of a repository, and of the subject in it. */
export interface RepositoryFacts {
  /** Null when there is no such repository. */
  readonly visibility: Visibility | null;
  /** Whether the namespace is there. */
  readonly namespace: boolean;
  /** The subject's strongest role on the repository, or, where there is none yet, on its namespace. */
  readonly role: Role | null;
}

/** The weakest role that may do it. */
export const roleNeeded: Record<RepositoryAction, Role> = { pull: 1, push: 2, delete: 3, settings: 3, members: 4 };

/** One step of a decision. `limits` are those that came after a right was found. */
export type Reason =
  | {
      readonly rule:
        | 'dead-credential'
        | 'anonymous'
        | 'administrator'
        | 'public'
        | 'internal'
        | 'no-role'
        | 'no-namespace';
    }
  | { readonly rule: 'role' | 'weak-role'; readonly role: Role }
  | { readonly rule: 'grants' | 'outside-grants' | 'scopes' | 'outside-scopes' };

/**
 * The answers of DESIGN §4:
 * - `allowed`
 * - `unauthenticated`: sign in (401 with a challenge)
 * - `insufficient-scope`: the caller may, but its access token was not made for this (401, ask for a wider one)
 * - `denied`: the caller sees the repository but may not do this (403 with the reason)
 * - `invisible`: absent or hidden, told apart by nobody (reads 404, writes 403)
 */
export interface Decision {
  readonly outcome: 'allowed' | 'unauthenticated' | 'insufficient-scope' | 'denied' | 'invisible';
  /** In the order in which they were looked at; the last one decided. */
  readonly reasons: readonly Reason[];
}

/**
 * What the account or robot may do, whatever its credential says: the rule that allows it, or why none does. The rules
 * are ordered from the widest to the narrowest.
 */
function liveRight(
  subject: Subject,
  action: RepositoryAction,
  facts: RepositoryFacts,
): { may: boolean; reason: Reason } {
  const { role, visibility } = facts;
  if (subject.user?.admin === true) return { may: true, reason: { rule: 'administrator' } };
  if (role !== null && role >= roleNeeded[action]) return { may: true, reason: { rule: 'role', role } };
  if (action === 'pull' && visibility === 'public') return { may: true, reason: { rule: 'public' } };
  if (action === 'pull' && visibility === 'internal' && subject.kind !== 'anonymous')
    return { may: true, reason: { rule: 'internal' } };
  if (subject.kind === 'anonymous') return { may: false, reason: { rule: 'anonymous' } };
  if (role !== null) return { may: false, reason: { rule: 'weak-role', role } };
  return { may: false, reason: { rule: facts.namespace ? 'no-role' : 'no-namespace' } };
}

/** The live right and the credential's own limits together. */
function effectiveRight(
  subject: Subject,
  name: string,
  action: RepositoryAction,
  facts: RepositoryFacts,
): { may: boolean; reasons: readonly Reason[] } {
  const { may, reason } = liveRight(subject, action, facts);
  if (!may || subject.grants === null) return { may, reasons: [reason] };
  if (grantsCover(subject.grants, name, action)) return { may: true, reasons: [reason, { rule: 'grants' }] };
  if (action === 'pull' && facts.visibility === 'public') return { may: true, reasons: [{ rule: 'public' }] };
  return { may: false, reasons: [reason, { rule: 'outside-grants' }] };
}

/**
 * Decides one action on one repository.
 * @param subject null when the credential is dead: revoked, expired, or its account disabled
 * @param scopes what the caller's access token was made for; null when it came without one and has no such limit
 */
export function decide(
  subject: Subject | null,
  scopes: readonly Scope[] | null,
  name: string,
  action: RepositoryAction,
  facts: RepositoryFacts,
): Decision {
  if (subject === null) return { outcome: 'unauthenticated', reasons: [{ rule: 'dead-credential' }] };
  const { may, reasons } = effectiveRight(subject, name, action, facts);
  if (may) {
    if (scopes === null) return { outcome: 'allowed', reasons };
    return scopesCover(scopes, 'repository', name, action)
      ? { outcome: 'allowed', reasons: [...reasons, { rule: 'scopes' }] }
      : { outcome: 'insufficient-scope', reasons: [...reasons, { rule: 'outside-scopes' }] };
  }
  const visible = facts.visibility !== null && effectiveRight(subject, name, 'pull', facts).may;
  if (visible) return { outcome: 'denied', reasons };
  return { outcome: subject.kind === 'anonymous' ? 'unauthenticated' : 'invisible', reasons };
}

/** All that a caller may do with a repository: for `can` in answers. @param scopes as for `decide` */
export function allowedActions(
  subject: Subject,
  scopes: readonly Scope[] | null,
  name: string,
  facts: RepositoryFacts,
): RepositoryAction[] {
  return repositoryActions.filter((action) => decide(subject, scopes, name, action, facts).outcome === 'allowed');
}

/** Docker's actions; the others are not for access tokens. */
const tokenActions: readonly RepositoryAction[] = ['pull', 'push', 'delete'];

/** What of the asked-for scopes goes into a token: actions that the caller may not do are left out, and so are empty scopes. */
export function grantScope(subject: Subject, asked: Scope, facts: RepositoryFacts | null): Scope | null {
  if (asked.type === 'registry') {
    // Anybody with a token may list: the listing itself shows only what the caller may see.
    return asked.name === 'catalog' && asked.actions.includes('*')
      ? { type: 'registry', name: 'catalog', actions: ['*'] }
      : null;
  }
  if (asked.type !== 'repository' || facts === null) return null;
  const wanted = tokenActions.filter((action) => asked.actions.includes('*') || asked.actions.includes(action));
  const actions = wanted.filter((action) => effectiveRight(subject, asked.name, action, facts).may);
  return actions.length === 0 ? null : { type: 'repository', name: asked.name, actions };
}
