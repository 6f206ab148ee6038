/**
 * Who may do what, a second time and from the words alone (DESIGN, "authorize before anything is created"): nothing of
 * src/access is asked. Tests hold the running server against this.
 */

export type OracleAction = 'pull' | 'push' | 'delete' | 'settings' | 'members';
export type OracleRole = 'reader' | 'developer' | 'maintainer' | 'owner';

/** Each role may do what stands in its row. */
const roleTable: Record<OracleRole, readonly OracleAction[]> = {
  reader: ['pull'],
  developer: ['pull', 'push'],
  maintainer: ['pull', 'push', 'delete', 'settings'],
  owner: ['pull', 'push', 'delete', 'settings', 'members'],
};

/** A person, a robot, or nobody. */
export interface Who {
  readonly name: string;
  /** Null: sends no credential at all. */
  readonly kind: 'account' | 'robot' | 'anonymous' | null;
  readonly admin?: boolean;
  readonly disabled?: boolean;
  /** Where somebody has a role: a namespace, or one repository by its full name. */
  readonly roles: readonly { readonly at: string; readonly role: OracleRole }[];
}

export interface OracleGrant {
  readonly repositories: string;
  readonly actions: readonly ('pull' | 'push' | 'delete' | 'admin')[];
}

export interface Place {
  readonly name: string;
  readonly namespace: string;
  /** Null: there is no such repository. */
  readonly visibility: 'private' | 'internal' | 'public' | null;
}

/** What a request shows. */
export interface Shown {
  readonly who: Who;
  /** Null: not limited. */
  readonly grants: readonly OracleGrant[] | null;
  /** Revoked or expired, itself or what it came from. */
  readonly dead: boolean;
  /** `none`: it is no access token, or has all the scopes it needs; `narrow`: it is one that was made for something else. */
  readonly scopes: 'enough' | 'narrow';
}

export type Verdict =
  | 'allowed'
  /** 401: sign in. */
  | 'challenge'
  /** 401: what was shown does not count. */
  | 'dead'
  /** 401: ask for a token that is made for this. */
  | 'insufficient'
  /** 403, with the reason. */
  | 'forbidden'
  /** As if it were not there. */
  | 'hidden';

const covers = (grant: OracleGrant, action: OracleAction, name: string): boolean => {
  const word = action === 'settings' || action === 'members' ? 'admin' : action;
  const pattern = new RegExp(`^${RegExp.escape(grant.repositories).replaceAll('\\*', '.*')}$`);
  return grant.actions.includes(word) && pattern.test(name);
};

function accountMay(
  { kind, admin, roles }: Who,
  action: OracleAction,
  { name, namespace, visibility }: Place,
): boolean {
  if (admin === true) return true;
  if (roles.some(({ at, role }) => (at === name || at === namespace) && roleTable[role].includes(action))) return true;
  if (action !== 'pull') return false;
  return visibility === 'public' || (visibility === 'internal' && (kind === 'account' || kind === 'robot'));
}

/** The right of the account and the limits of its credential; what is public is anybody's to pull. */
export function may({ who, grants }: Shown, action: OracleAction, place: Place): boolean {
  if (action === 'pull' && place.visibility === 'public') return true;
  const granted = grants === null || grants.some((grant) => covers(grant, action, place.name));
  return granted && accountMay(who, action, place);
}

export function verdictOf(shown: Shown, action: OracleAction, place: Place): Verdict {
  if (shown.who.kind === null) return 'challenge';
  if (shown.dead || shown.who.disabled === true) return 'dead';
  if (may(shown, action, place)) return shown.scopes === 'enough' ? 'allowed' : 'insufficient';
  if (place.visibility !== null && may(shown, 'pull', place)) return 'forbidden';
  return shown.who.kind === 'anonymous' ? 'challenge' : 'hidden';
}
