import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { inWorld, randomSubjects, randomWorld } from '../../../test/support/random-access.ts';
import { createDatabase, type Database } from '../../database/pool.ts';
import { filterVisible, listVisible } from './repositories.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

test('the catalog lists exactly what the decision lets somebody pull, page by page, and of what it is asked about as much', async () => {
  await fc.assert(
    fc.asyncProperty(randomWorld, randomSubjects, fc.integer({ min: 1, max: 4 }), (world, subjects, limit) =>
      inWorld(database, world, async (queryer, { repositories, subjectOf, mayPull }) => {
        for (const each of subjects) {
          const listed: string[] = [];
          for (let more = true; more;) {
            const page = await listVisible(queryer, subjectOf(each), listed.at(-1) ?? '', limit);
            expect(page.length).toBeLessThanOrEqual(limit);
            listed.push(...page);
            more = page.length === limit;
          }
          const allowed = repositories.filter((repository, at) => repository.listed && mayPull(each, at));
          const names = allowed.map(({ name }) => name).toSorted();
          expect(listed).toEqual(names);
          const asked = ['none/none', ...repositories.map(({ name }) => name)];
          expect(await filterVisible(queryer, subjectOf(each), asked)).toEqual(names);
        }
      }),
    ),
    { numRuns: 100 },
  );
});
