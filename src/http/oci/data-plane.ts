/** What the handlers of the data plane work with, and the two questions that each of them begins with. */
import type { Authenticator } from '../../access/authenticate.ts';
import { actorOf } from '../../access/actor.ts';
import type { Caller } from '../../access/caller.ts';
import { enforce, repositoryUnknown, scopeFor } from '../../access/enforce.ts';
import { UnauthorizedError } from '../../access/errors.ts';
import type { RateLimits } from '../../access/limits/limits.ts';
import type { Lookup, Standing } from '../../access/lookup.ts';
import { decide, type RepositoryAction, type Subject } from '../../access/policy.ts';
import type { Actor } from '../../events/actor.ts';
import type { DeniedRecorder } from '../../events/denied.ts';
import { RegistryError } from '../../oci/errors.ts';
import type { RepositoryName } from '../../oci/reference.ts';
import type { Blobs } from '../../registry/blobs.ts';
import type { Catalog } from '../../registry/catalog.ts';
import type { Listings } from '../../registry/listings.ts';
import type { Manifests } from '../../registry/manifests.ts';
import type { PushManifest } from '../../registry/push-manifest.ts';
import type { Repositories } from '../../registry/repositories.ts';
import type { Uploads } from '../../registry/uploads.ts';
import { originOf, type Exchange } from './exchange.ts';

export interface DataPlane {
  readonly authenticator: Authenticator;
  readonly lookup: Lookup;
  readonly repositories: Repositories;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly pushManifest: PushManifest;
  readonly listings: Listings;
  readonly catalog: Catalog;
  readonly rateLimits: RateLimits;
  /** Told of changes that were not let happen. */
  readonly denied: DeniedRecorder;
  readonly limits: {
    readonly manifestBytesMax: number;
    readonly manifestDepthMax: number;
    readonly manifestReferencesMax: number;
    readonly tagsPerPushMax: number;
    readonly pageSizeMax: number;
    readonly referrersPageBytesMax: number;
  };
  /** Who is sent to the storage for a blob; undefined: nobody. */
  readonly redirect:
    | {
        /** The smallest blob. */
        readonly bytesMin: number;
        /** What the `User-Agent` of a client that cannot follow has in it. */
        readonly notFor: readonly string[];
      }
    | undefined;
}

/** The caller of a request about one repository. @throws UnauthorizedError, whose challenge names the scope to ask for */
export async function callerOf(
  plane: DataPlane,
  exchange: Exchange,
  name: RepositoryName,
  action: RepositoryAction,
): Promise<Caller> {
  try {
    return await plane.authenticator.authenticate(exchange.req.headers.authorization, () => originOf(exchange));
  } catch (error) {
    throw error instanceof UnauthorizedError ? error.forScope(scopeFor(name, action)) : error;
  }
}

/**
 * Lets a caller with this standing do the action, or says why not.
 * @returns the subject, which is alive
 */
export function permit(standing: Standing, caller: Caller, name: RepositoryName, action: RepositoryAction): Subject {
  const { subject, facts } = standing;
  enforce(decide(subject, caller.scopes, name, action, facts), subject, name, action);
  return subject!;
}

/** As `permit`; a change that is not let happen is told to the audit log. */
function permitted(
  plane: DataPlane,
  exchange: Exchange,
  standing: Standing,
  caller: Caller,
  name: RepositoryName,
  action: RepositoryAction,
): Subject {
  try {
    return permit(standing, caller, name, action);
  } catch (error) {
    // Not the 401s: every client begins with one, and asks for a token.
    if (standing.subject !== null && action !== 'pull' && error instanceof RegistryError && error.kind === 'denied')
      plane.denied.record(actorOf(standing.subject, originOf(exchange)), {
        action: `${exchange.req.url!.includes('/manifests/') ? 'manifest' : 'blob'}.${action === 'push' ? 'push' : 'delete'}`,
        namespaceId: standing.namespaceId ?? undefined,
        repositoryId: standing.repositoryId ?? undefined,
        target: name,
        reason: error.message,
      });
    throw error;
  }
}

/** Authorizes a request that needs no hot read of its own. A former name of a repository is good for pulls only. */
export async function authorize(
  plane: DataPlane,
  exchange: Exchange,
  name: RepositoryName,
  action: RepositoryAction,
): Promise<{ caller: Caller; standing: Standing; subject: Subject; actor: Actor }> {
  const caller = await callerOf(plane, exchange, name, action);
  const standing = await plane.lookup(caller, name, action === 'pull' ? 'aliases' : undefined);
  const subject = permitted(plane, exchange, standing, caller, name, action);
  if (action === 'push' && standing.repositoryId === null) await refuseFormerName(plane, caller, name);
  return { caller, standing, subject, actor: actorOf(subject, originOf(exchange)) };
}

/**
 * A push by a former name would take the name away from those who still pull by it; most likely its sender has not heard of
 * the new one. Whoever may not see the repository hears nothing of it, and may take the name.
 */
async function refuseFormerName(plane: DataPlane, caller: Caller, name: RepositoryName): Promise<void> {
  const { subject, facts, repositoryId } = await plane.lookup(caller, name, 'aliases');
  if (repositoryId === null || decide(subject, null, name, 'pull', facts).outcome !== 'allowed') return;
  const now = await plane.repositories.nameOf(repositoryId);
  if (now === undefined || now === name) return;
  throw new RegistryError('denied', {
    message: `${name} is called ${now} now: push there. To use the old name for something else, make the repository by the API first`,
    detail: { name, renamed: now },
  });
}

/** The id of a repository that must be there. */
export function existing(standing: Standing, name: RepositoryName): number {
  if (standing.repositoryId === null) throw repositoryUnknown(name, standing.subject);
  return standing.repositoryId;
}
