/** Repositories: created with their first content, listed from their first manifest on, visible to whom they are visible. */
import { foundOrganization, isAdministrator } from '../access/organizations.ts';
import type { Subject, Visibility } from '../access/policy.ts';
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { RegistryError } from '../oci/errors.ts';
import { namespaceOf, type RepositoryName } from '../oci/reference.ts';
import {
  insertRepository,
  listVisible,
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
  /** Changes who may see a repository. @throws RegistryError `nameUnknown` when it is gone */
  setVisibility(queryer: Queryer, repositoryId: number, visibility: Visibility, actor: Actor): Promise<void>;
  /** Names behind `last` that the subject may see, in byte order. */
  list(subject: Subject, last: string, limit: number): Promise<string[]>;
}

export function createRepositories(database: Database, defaultVisibility: Visibility): Repositories {
  async function create(queryer: Queryer, name: RepositoryName, actor: Actor): Promise<void> {
    const namespace = namespaceOf(name);
    const made = await insertRepository(queryer, name, namespace, defaultVisibility);
    if (made !== undefined) {
      await recordAudit(queryer, actor, {
        action: 'repository.create',
        namespaceId: made.namespaceId,
        repositoryId: made.id,
        target: name,
        after: { visibility: defaultVisibility },
        outcome: 'done',
      });
      return;
    }
    // Either somebody was faster, and the next look finds the repository; or the namespace is missing.
    if ((await shareRepository(queryer, name)) !== undefined) return;
    if (!(await isAdministrator(queryer, actor)))
      throw new RegistryError('denied', { message: `there is no namespace ${namespace} to push to` });
    await foundOrganization(queryer, actor, namespace);
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
    list: (subject, last, limit) => listVisible(database, subject, last, limit),
  };
}
