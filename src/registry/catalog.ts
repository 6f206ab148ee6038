/** The catalog: which repositories somebody may see, by keyset. */
import type { Subject } from '../access/policy.ts';
import type { Database } from '../database/pool.ts';
import type { Replica } from '../database/replica.ts';
import { filterVisible, listVisible } from './sql/repositories.ts';

export interface Catalog {
  /** The first names behind `last` that the subject may see, in byte order; fewer than `limit` only where the list ends. */
  list(subject: Subject, last: string, limit: number): Promise<string[]>;
}

/**
 * A replica names those that the subject may see as far as it knows, and the primary says which of them that still holds for:
 * what is new may be missing, what was taken away never appears.
 */
export function createCatalog(database: Database, replica: Replica | undefined): Catalog {
  return {
    async list(subject, last, limit) {
      const candidates = await replica?.read((reader) => listVisible(reader, subject, last, limit));
      if (candidates !== undefined) {
        const names = await filterVisible(database, subject, candidates);
        // Else the page has holes to be filled from behind it: that is soon over, and never costs more than this.
        if (names.length === candidates.length || candidates.length < limit) return names;
      }
      return listVisible(database, subject, last, limit);
    },
  };
}
