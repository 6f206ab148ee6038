import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../../test/support/database.ts';
import { inWorld, randomSubjects, randomWorld } from '../../../test/support/random-access.ts';
import { createDatabase, type Database } from '../../database/pool.ts';
import { readableCondition, readerParameters } from './readable.ts';

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

test('the condition holds for exactly the repositories that the decision lets somebody pull', async () => {
  await fc.assert(
    fc.asyncProperty(randomWorld, randomSubjects, (world, subjects) =>
      inWorld(database, world, async (queryer, { repositories, subjectOf, mayPull }) => {
        for (const each of subjects) {
          const rows = await queryer.query<{ name: string }>(
            `SELECT name FROM repositories r WHERE ${readableCondition(1)} ORDER BY name`,
            readerParameters(subjectOf(each)),
          );
          const allowed = repositories.filter((_, at) => mayPull(each, at)).map(({ name }) => name);
          expect(rows.map(({ name }) => name)).toEqual(allowed.toSorted());
        }
      }),
    ),
    { numRuns: 100 },
  );
});
