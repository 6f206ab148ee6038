/** Repositories: created with their first content, listed from their first manifest on, visible to whom they are visible. */
import type { Subject, Visibility } from '../access/policy.ts';
import type { Database, Queryer } from '../database/pool.ts';
import { namespaceOf, type RepositoryName } from '../oci/reference.ts';
import { insertRepository, listAll, listVisible, shareRepository, updateVisibility } from './sql/repositories.ts';

export interface Repositories {
  /** Returns the repository's id, creating it where it is missing, and keeps it from being deleted until the transaction ends. */
  ensure(queryer: Queryer, name: RepositoryName): Promise<number>;
  setVisibility(repositoryId: number, visibility: Visibility): Promise<void>;
  /** Names behind `last` that the subject may see, in byte order. */
  list(subject: Subject, last: string, limit: number): Promise<string[]>;
}

export function createRepositories(database: Database, defaultVisibility: Visibility): Repositories {
  return {
    async ensure(queryer, name) {
      for (;;) {
        const id = await shareRepository(queryer, name);
        if (id !== undefined) return id;
        // Somebody may delete it again between the two statements; each round is theirs to lose.
        await insertRepository(queryer, name, namespaceOf(name), defaultVisibility);
      }
    },
    async setVisibility(repositoryId, visibility) {
      await updateVisibility(database, repositoryId, visibility);
    },
    list(subject, last, limit) {
      return subject.user?.admin === true
        ? listAll(database, last, limit)
        : listVisible(database, subject.user?.id ?? null, last, limit);
    },
  };
}
