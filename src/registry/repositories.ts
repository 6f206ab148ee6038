/** Repositories: created with their first content, listed from their first manifest on, visible to whom they are visible. */
import { foundOrganization, isAdministrator } from '../access/organizations.ts';
import type { Visibility } from '../access/policy.ts';
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { RegistryError } from '../oci/errors.ts';
import { ApiError } from '../oci/problem.ts';
import { namespaceOf, type RepositoryName } from '../oci/reference.ts';
import {
  findName,
  insertRepository,
  lockRepository,
  shareRepository,
  updateVisibility,
  type RepositoryIds,
} from './sql/repositories.ts';

export interface Repositories {
  /**
   * Returns the repository, creating it where it is missing, and keeps it from being deleted until the transaction ends. The
   * caller has been authorized to push. An administrator's push also makes the namespace: an organization of his.
   * @throws RegistryError `denied` when the namespace is not there (any more) and the actor may not make one
   */
  ensure(queryer: Queryer, name: RepositoryName, actor: Actor): Promise<RepositoryIds>;
  /** Makes an empty repository. @throws ApiError `conflict` when the name is taken, RegistryError `denied` as `ensure` */
  create(queryer: Queryer, name: RepositoryName, visibility: Visibility | undefined, actor: Actor): Promise<Visibility>;
  /** The present name of a repository; undefined when it is gone. */
  nameOf(repositoryId: number): Promise<RepositoryName | undefined>;
  /** Changes who may see a repository. @throws RegistryError `nameUnknown` when it is gone */
  setVisibility(queryer: Queryer, repositoryId: number, visibility: Visibility, actor: Actor): Promise<void>;
}

export function createRepositories(database: Database, defaultVisibility: Visibility): Repositories {
  /** @returns whether this made the repository; if not, it may be there now, or it may be worth another try */
  async function create(
    queryer: Queryer,
    name: RepositoryName,
    actor: Actor,
    visibility = defaultVisibility,
  ): Promise<boolean> {
    const namespace = namespaceOf(name);
    const made = await insertRepository(queryer, name, namespace, visibility);
    if (made !== undefined) {
      await recordAudit(queryer, actor, {
        action: 'repository.create',
        namespaceId: made.namespaceId,
        repositoryId: made.id,
        target: name,
        after: { visibility },
        outcome: 'done',
      });
      return true;
    }
    // Either somebody was faster, and the next look finds the repository; or the namespace is missing.
    if ((await shareRepository(queryer, name)) !== undefined) return false;
    if (!(await isAdministrator(queryer, actor)))
      throw new RegistryError('denied', { message: `there is no namespace ${namespace} to push to` });
    await foundOrganization(queryer, actor, namespace);
    return false;
  }

  return {
    async ensure(queryer, name, actor) {
      for (;;) {
        const found = await shareRepository(queryer, name);
        if (found !== undefined) return found;
        // Somebody may delete it again between the two statements; each round is theirs to lose.
        await create(queryer, name, actor);
      }
    },
    async create(queryer, name, visibility, actor) {
      while (!(await create(queryer, name, actor, visibility))) {
        if ((await shareRepository(queryer, name)) !== undefined)
          throw new ApiError('conflict', `there is already a repository ${name}`);
      }
      return visibility ?? defaultVisibility;
    },
    nameOf: (repositoryId) => findName(database, repositoryId),
    async setVisibility(queryer, repositoryId, visibility, actor) {
      const before = await lockRepository(queryer, repositoryId);
      if (before === undefined) throw new RegistryError('nameUnknown');
      await updateVisibility(queryer, repositoryId, visibility);
      await recordAudit(queryer, actor, {
        action: 'repository.visibility',
        namespaceId: before.namespaceId,
        repositoryId,
        target: before.name,
        before: { visibility: before.visibility },
        after: { visibility },
        outcome: 'done',
      });
    },
  };
}
