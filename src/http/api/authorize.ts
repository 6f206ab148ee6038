/** What a caller of the API may do with a repository: the same decision as everywhere. */
import { enforce, repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup, Standing } from '../../access/lookup.ts';
import { decide, type RepositoryAction, type Subject, type Visibility } from '../../access/policy.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import { anonymousCaller, type ApiCaller } from './caller.ts';

/** A repository that is there, and that the caller may see. */
export interface Authorized extends Standing {
  readonly subject: Subject;
  readonly repositoryId: number;
  readonly namespaceId: number;
  readonly visibility: Visibility;
}

/** A former name is good for looking only. @throws what `enforce` throws; 404 for what the caller may not see, also for changes */
export async function authorizeRepository(
  lookup: Lookup,
  caller: ApiCaller | null,
  name: RepositoryName,
  action: RepositoryAction,
): Promise<Authorized> {
  const { caller: asking } = caller ?? anonymousCaller;
  const standing = await lookup(asking, name, action === 'pull' ? 'aliases' : undefined);
  const { subject, facts, repositoryId, namespaceId } = standing;
  const decision = decide(subject, asking.scopes, name, action, facts);
  if (decision.outcome === 'invisible') throw repositoryUnknown(name, subject);
  enforce(decision, subject, name, action);
  // Who may do everything everywhere may also ask for what is not there.
  if (repositoryId === null || namespaceId === null || facts.visibility === null)
    throw repositoryUnknown(name, subject);
  return { ...standing, subject: subject!, repositoryId, namespaceId, visibility: facts.visibility };
}

/** Whether the caller may make a repository of this name. @throws what `enforce` throws; the same whatever is there */
export async function authorizeCreation(
  lookup: Lookup,
  caller: ApiCaller,
  name: RepositoryName,
): Promise<{ namespaceId: number | null; taken: boolean }> {
  const { caller: asking } = caller;
  const standing = await lookup(asking, name);
  enforce(decide(standing.subject, asking.scopes, name, 'push', standing.facts), standing.subject, name, 'push');
  return { namespaceId: standing.namespaceId, taken: standing.repositoryId !== null };
}
