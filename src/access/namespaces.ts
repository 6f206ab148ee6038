/** Namespaces as somebody sees them, and who may do what with one: the rules beside policy.ts, which is about repositories. */
import type { Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { quote } from '../oci/quote.ts';
import { UnauthorizedError } from './errors.ts';
import type { Grant } from './grants.ts';
import type { Subject } from './policy.ts';
import { roleOf } from './roles.ts';
import { findNamespaceRow, updateDescription, type NamespaceKind, type NamespaceRow } from './sql/namespaces.ts';
import { lockNamespace } from './sql/roles.ts';

/** A namespace that is there and that the subject may see; `role` is the subject's. */
export type Namespace = NamespaceRow;

/** Whoever asks for a change, and how the audit log names them. */
export interface By {
  readonly subject: Subject;
  readonly actor: Actor;
}

/** What a subject may do with a namespace; of its credential's limits only the grants count here, not the API scopes. */
export interface NamespaceRights {
  /** Knows who its members and teams are. */
  readonly inside: boolean;
  readonly edit: boolean;
  readonly delete: boolean;
  readonly manageMembers: boolean;
  readonly createRepositories: boolean;
}

export function namespaceRights(subject: Subject | null, { name, kind, role }: Namespace): NamespaceRights {
  const admin = subject?.user?.admin === true;
  const owner = admin || role === roleOf('owner');
  const organization = kind === 'organization';
  return {
    inside: admin || role !== null,
    edit: owner,
    delete: owner && organization,
    manageMembers: owner && organization,
    createRepositories:
      (admin || (role !== null && role >= roleOf('developer'))) && reaches(subject?.grants ?? null, kind, name),
  };
}

/** Whether the grants let somebody push some name of a namespace. */
function reaches(grants: readonly Grant[] | null, kind: NamespaceKind, namespace: string): boolean {
  if (grants === null) return true;
  return grants.some(({ actions, repositories: pattern }) => {
    if (!actions.includes('push')) return false;
    if (kind === 'system') return !pattern.includes('/');
    const [literal = ''] = pattern.split('*', 1);
    const prefix = `${namespace}/`;
    return literal.startsWith(prefix) || (literal !== pattern && prefix.startsWith(literal));
  });
}

/** The one sentence for what is not there, or not there for whoever asks. */
function namespaceUnknown(name: string): ApiError {
  return new ApiError('notFound', `there is no namespace ${quote(name)}, or you may not see it`);
}

/**
 * A namespace that the subject may see: its members may, administrators, and everybody who may pull one of its repositories.
 * @param subject null for nobody
 * @throws ApiError `notFound`, UnauthorizedError where nobody is signed in
 */
export async function seeNamespace(queryer: Queryer, subject: Subject | null, name: string): Promise<Namespace> {
  const found = await findNamespaceRow(queryer, name, subject);
  const robotsOwn = found !== undefined && subject?.robot?.namespaceId === found.id;
  if (found !== undefined && (found.visible || robotsOwn || subject?.user?.admin === true)) {
    const { visible: _visible, ...namespace } = found;
    const wholeRobot = robotsOwn && subject?.robot?.repositoryId === null;
    return wholeRobot ? { ...namespace, role: roleOf('owner') } : namespace;
  }
  throw subject === null ? new UnauthorizedError() : namespaceUnknown(name);
}

/** An organization whose members and teams the subject may know. @throws as `seeNamespace`; ApiError `forbidden` */
export async function enterOrganization(queryer: Queryer, subject: Subject, name: string): Promise<Namespace> {
  const namespace = await seeNamespace(queryer, subject, name);
  if (!namespaceRights(subject, namespace).inside)
    throw new ApiError('forbidden', `only members of ${name} see who is in it`);
  return organizationOnly(namespace, 'notFound');
}

function organizationOnly(namespace: Namespace, otherwise: 'notFound' | 'unprocessable'): Namespace {
  if (namespace.kind === 'organization') return namespace;
  throw new ApiError(otherwise, `${namespace.name} is no organization: it has no members and no teams`, {
    next: 'Make an organization, or give people roles on single repositories.',
  });
}

/**
 * Locks a namespace for a change. Whoever may not make it is refused before the lock, so that strangers neither hold nor
 * wait for it; and what they may is looked at again behind it, since it may have been taken from them meanwhile.
 * @param allowed throws where the change is not allowed
 * @throws ApiError `notFound`, and what `allowed` throws
 */
export async function lockNamespaceFor(
  queryer: Queryer,
  subject: Subject,
  name: string,
  allowed: (namespace: Namespace) => void,
): Promise<Namespace> {
  const before = await seeNamespace(queryer, subject, name);
  allowed(before);
  if (!(await lockNamespace(queryer, before.id))) throw namespaceUnknown(name);
  const namespace = await seeNamespace(queryer, subject, name);
  allowed(namespace);
  return namespace;
}

/** Locks a namespace for its owners' changes. @throws ApiError `notFound`, `forbidden` */
export async function lockOwned(queryer: Queryer, subject: Subject, name: string): Promise<Namespace> {
  return lockNamespaceFor(queryer, subject, name, (namespace) => {
    if (!namespaceRights(subject, namespace).edit)
      throw new ApiError('forbidden', `only owners of ${name} may do this`);
  });
}

/** The same for an organization's members, teams and invitations. @throws as `lockOwned`; ApiError `unprocessable` */
export async function lockOrganization(queryer: Queryer, subject: Subject, name: string): Promise<Namespace> {
  return organizationOnly(await lockOwned(queryer, subject, name), 'unprocessable');
}

/** Changes the description of a locked namespace. */
export async function describeNamespace(
  queryer: Queryer,
  { actor }: By,
  namespace: Namespace,
  description: string,
): Promise<Namespace> {
  if (description === namespace.description) return namespace;
  await updateDescription(queryer, namespace.id, description);
  await recordAudit(queryer, actor, {
    action: 'organization.change',
    namespaceId: namespace.id,
    target: namespace.name,
    before: { description: namespace.description },
    after: { description },
    outcome: 'done',
  });
  return { ...namespace, description };
}
