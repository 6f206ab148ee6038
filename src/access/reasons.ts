/** The reasons of a decision in words, for whoever was denied and for whoever asks why. */
import { grantsCover, type Grant } from './grants.ts';
import { roleNeeded, type Decision, type Reason, type RepositoryAction, type Subject } from './policy.ts';
import { roleName } from './roles.ts';

/** What this credential was made for, short: "pull acme/api". */
function purposeOf(grants: readonly Grant[], name: string): string {
  const near = grants.filter((grant) => grantsCover([{ ...grant, actions: ['pull'] }], name, 'pull'));
  const shown = (near.length > 0 ? near : grants).slice(0, 3);
  const more = (near.length > 0 ? near : grants).length - shown.length;
  const text = shown
    .map((grant) => `${grant.actions.join(', ')} ${near.length > 0 ? name : grant.repositories}`)
    .join('; ');
  return more > 0 ? `${text}; and ${more} more` : text;
}

/** "the token ci-api may pull acme/api, not push"; null when the credential has no limit that stands against it. */
export function limitOf(subject: Subject | null, name: string, action: RepositoryAction): string | null {
  if (subject === null || subject.grants === null || grantsCover(subject.grants, name, action)) return null;
  const verb = action === 'settings' || action === 'members' ? 'admin' : action;
  const what = subject.kind === 'robot' ? 'robot' : 'token';
  if (subject.grants.length === 0) return `the ${what} ${subject.credentialName} has no grants for repositories`;
  return `the ${what} ${subject.credentialName} may ${purposeOf(subject.grants, name)}, not ${verb}${
    subject.grants.some((grant) => grantsCover([{ ...grant, actions: ['pull'] }], name, 'pull')) ? '' : ` ${name}`
  }`;
}

/** Why somebody who sees a repository may not do this to it. */
export function denialOf(decision: Decision, subject: Subject | null, name: string, action: RepositoryAction): string {
  const last = decision.reasons.at(-1)!;
  if (last.rule === 'outside-grants') return limitOf(subject, name, action) ?? `this token may not ${action} ${name}`;
  if (last.rule === 'anonymous')
    return `you are not signed in, and ${name} can only be pulled without an account; sign in to ${action}`;
  const needed = roleName(roleNeeded[action]);
  if (last.rule === 'weak-role')
    return `your role on ${name} is ${roleName(last.role)}; to ${action} it takes ${needed}: ask an owner of the namespace`;
  return `your account may pull ${name}, but not ${action}: that takes the role ${needed}; ask an owner of the namespace`;
}

/** One reason as a sentence of its own. */
export function sentenceOf(reason: Reason, subject: Subject | null, name: string, action: RepositoryAction): string {
  switch (reason.rule) {
    case 'dead-credential':
      return 'the credential was revoked or has expired, or its account is disabled';
    case 'anonymous':
      return 'nobody is signed in, and without an account only public repositories can be pulled';
    case 'administrator':
      return 'administrators of the registry may do everything';
    case 'public':
      return 'the repository is public: everybody may pull it';
    case 'internal':
      return 'the repository is internal: everybody who is signed in may pull it';
    case 'role':
      return `the role ${roleName(reason.role)} may ${action}`;
    case 'weak-role':
      return `the role ${roleName(reason.role)} may not ${action}: that takes ${roleName(roleNeeded[action])}`;
    case 'no-role':
      return 'the account has no role on the repository or in its namespace';
    case 'no-namespace':
      return 'there is no such namespace, and only an administrator may make one by a push';
    case 'grants':
      return `the ${subject?.kind ?? 'token'} ${subject?.credentialName ?? ''} was made for this`;
    case 'outside-grants':
      return limitOf(subject, name, action) ?? 'the token was not made for this';
    case 'scopes':
      return 'the access token has the scope';
    case 'outside-scopes':
      return 'the access token was asked for without this scope';
  }
}
