/** Why somebody may or may not do something, and what would change it: the decision itself, with all that it rests on. */
import type { Queryer } from '../database/pool.ts';
import { namespaceOf, type RepositoryName } from '../oci/reference.ts';
import {
  decide,
  roleNeeded,
  type Reason,
  type RepositoryAction,
  type RepositoryFacts,
  type Subject,
} from './policy.ts';
import { sentenceOf } from './reasons.ts';
import { roleName, type Role, type RoleName } from './roles.ts';
import {
  findPlace,
  findRoleSources,
  type AccountRow,
  type CredentialRow,
  type PlaceRow,
  type RoleSourceRow,
} from './sql/explain.ts';

export interface Explanation {
  readonly allowed: boolean;
  /** In the order in which they were looked at; the last one decided. */
  readonly reasons: readonly { readonly rule: string; readonly text: string }[];
  /** Where the account's roles come from, the strongest first. */
  readonly roles: readonly { readonly source: string; readonly role: RoleName }[];
  /** What would allow it, each by itself. Empty when it is allowed. */
  readonly changes: readonly string[];
}

/** Whose access is asked about: an account (null: nobody), and a credential of it if that matters. */
export interface Asked {
  /** As it was typed. */
  readonly username: string;
  /** Undefined when there is no such account: it is explained like one without any role. */
  readonly account: AccountRow | undefined;
  readonly token: CredentialRow | undefined;
  readonly name: RepositoryName;
  readonly action: RepositoryAction;
  /** Whether an account's state may be told: to itself and to administrators. */
  readonly tellsState: boolean;
  /** Whether the asker sees the repository or its namespace anyway: its owners do. */
  readonly tellsPlace: boolean;
}

export async function explain(queryer: Queryer, asked: Asked): Promise<Explanation> {
  const { account, token, name, action } = asked;
  const place = await findPlace(queryer, name, namespaceOf(name));
  const sources = account === undefined ? [] : await findRoleSources(queryer, account.id, place);
  const subject = subjectOf(asked);
  const dead = token?.revoked === true || token?.expired === true || (account?.disabled === true && asked.tellsState);
  const decision = decide(dead ? null : subject, null, name, action, factsOf(place, sources));
  if (decision.outcome === 'invisible' && !asked.tellsPlace && sources.length === 0) return hidden(asked);
  return {
    allowed: decision.outcome === 'allowed',
    reasons: decision.reasons.map((reason) => ({
      rule: reason.rule,
      text: reason.rule === 'dead-credential' ? deathOf(asked) : sentenceOf(reason, subject, name, action),
    })),
    roles: sources.map((source) => ({ source: sourceText(source, name), role: roleName(source.role) })),
    changes: decision.outcome === 'allowed' ? [] : changesOf(decision.reasons.at(-1)!, asked, place),
  };
}

/** Word for word the same for a repository that is absent, one that is hidden, and a namespace that is neither. */
function hidden({ username, name, action }: Asked): Explanation {
  const role = roleName(roleNeeded[action]);
  return {
    allowed: false,
    reasons: [
      {
        rule: 'invisible',
        text: `the repository ${name} does not exist, or ${username} has no role that lets it be seen`,
      },
    ],
    roles: [],
    changes: [`an owner of ${namespaceOf(name)}, if there is one, gives ${username} the role ${role}`],
  };
}

function subjectOf({ username, account, token }: Asked): Subject {
  return {
    credentialId: token?.id ?? 0,
    kind: token?.kind ?? 'password',
    credentialName: token?.name ?? null,
    user: { id: account?.id ?? 0, name: username, admin: account?.admin === true },
    robot: null,
    grants: token?.grants ?? null,
  };
}

function factsOf(place: PlaceRow, sources: readonly RoleSourceRow[]): RepositoryFacts {
  return {
    visibility: place.visibility,
    namespace: place.namespaceId !== null,
    role: sources.reduce<Role | null>((strongest, { role }) => (role > (strongest ?? 0) ? role : strongest), null),
  };
}

function deathOf({ account, token }: Asked): string {
  if (account?.disabled === true) return `the account ${account.name} is disabled`;
  return `the token ${token?.name} ${token?.revoked === true ? 'was revoked' : 'has expired'}`;
}

function sourceText({ kind, team }: RoleSourceRow, name: RepositoryName): string {
  const namespace = namespaceOf(name);
  switch (kind) {
    case 'namespace':
      return `the namespace ${namespace} is the account's own`;
    case 'member':
      return `member of ${namespace}`;
    case 'team':
      return `team ${team} of ${namespace}`;
    case 'collaborator':
      return `collaborator on ${name}`;
    case 'collaborating team':
      return `team ${team}, which is a collaborator on ${name}`;
  }
}

function changesOf(last: Reason, { username, account, token, name, action }: Asked, place: PlaceRow): string[] {
  const namespace = namespaceOf(name);
  if (last.rule === 'dead-credential')
    return account?.disabled === true
      ? ['an administrator enables the account again']
      : [`${username} makes a new token that may ${action} ${name}`];
  if (last.rule === 'outside-grants')
    return [`${username} makes a token whose grants allow to ${action} ${name}; ${token?.name} stays as it is`];
  const role = roleName(roleNeeded[action]);
  const changes = [`an owner gives ${username} the role ${role} (or a stronger one) in ${namespace}`];
  if (place.repositoryId !== null) changes.push(`an owner makes ${username} a collaborator on ${name} as ${role}`);
  if (namespace === '_') return ['an administrator does it: names without a slash are theirs'];
  if (place.namespaceId === null) return [`somebody makes the organization ${namespace}, and gives ${username} a role`];
  if (action === 'pull' && place.repositoryId !== null)
    changes.push('a maintainer makes the repository internal or public');
  return changes;
}
