import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database, type Queryer } from '../database/pool.ts';
import {
  grantActions,
  grantSchema,
  grantsCover,
  grantsWithin,
  likePatterns,
  matchesPattern,
  type Grant,
} from './grants.ts';
import { repositoryActions, type RepositoryAction } from './policy.ts';

/** What a pattern means, in the most naive words. */
const oracle = (pattern: string, name: string): boolean =>
  new RegExp(`^${RegExp.escape(pattern).replaceAll('\\*', '.*')}$`, 's').test(name);

// Few characters, so that patterns and names meet; those that mean something to LIKE are among them.
const nameText = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', '_', '-', '0'), minLength: 1, maxLength: 12 });
const patternText = fc.string({
  unit: fc.constantFrom('a', 'b', '/', '_', '.', '*', '*'),
  minLength: 1,
  maxLength: 10,
});
/** A pattern that was made from the name, so that it matches or nearly does. */
const related = nameText.chain((name) =>
  fc
    .array(fc.constantFrom(null, '*', 'a'), { minLength: name.length, maxLength: name.length })
    .map((holes) => ({ name, pattern: holes.map((hole, i) => hole ?? name[i]).join('') })),
);
const pair = fc.oneof(fc.record({ name: nameText, pattern: patternText }), related);

const grant: fc.Arbitrary<Grant> = fc.record(
  { repositories: patternText, actions: fc.subarray([...grantActions], { minLength: 1 }) },
  { noNullPrototype: true },
);
const action = fc.constantFrom<RepositoryAction>(...repositoryActions);

/** The longest that the schema takes. */
const longest = 255;
const hostile: readonly (readonly [pattern: string, name: string])[] = [
  [`${'a*'.repeat(127)}b`, 'a'.repeat(longest)],
  [`${'*a'.repeat(127)}b`, 'a'.repeat(longest)],
  [`${'*'.repeat(254)}b`, 'a'.repeat(longest)],
  [`*${'a'.repeat(120)}b*${'a'.repeat(120)}b`, 'a'.repeat(longest)],
];

describe('a pattern', () => {
  test('matches as a regular expression would', () => {
    fc.assert(
      fc.property(pair, ({ pattern, name }) => {
        expect(matchesPattern(pattern, name)).toBe(oracle(pattern, name));
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['acme/api', 'acme/api', true],
    ['acme/api', 'acme/api2', false],
    ['acme/api', 'acme/ap', false],
    ['acme/*', 'acme/team/api', true],
    ['acme/*', 'acme/', true],
    ['acme/*', 'acme', false],
    ['acme/*', 'acme2/api', false],
    ['*/api', 'acme/team/api', true],
    ['*', 'anything/at/all', true],
    ['a_b', 'axb', false],
    ['a.b', 'axb', false],
    ['**', 'a', true],
  ])('%s and %s: %s', (pattern, name, matches) => {
    expect(matchesPattern(pattern, name)).toBe(matches);
  });

  test('takes no longer for the worst of patterns than both lengths together make of it', () => {
    for (const [pattern, name] of hostile) {
      expect(pattern.length).toBeLessThanOrEqual(longest);
      let reads = 0;
      const counted = new Proxy(Object(name) as object, {
        get: (target, key) => {
          reads += 1;
          return Reflect.get(target, key, target) as unknown;
        },
      }) as unknown as string;
      expect(matchesPattern(pattern, counted)).toBe(false);
      // Two looks at the name for each step (its length and a character), and no more steps than a table of both would have cells.
      expect(reads).toBeLessThan(3 * (pattern.length + 1) * (name.length + 1));
    }
  });

  test('is refused when it holds what no repository name can', () => {
    for (const repositories of ['', 'Acme/*', 'acme/%', 'a\\b', 'acme/{a,b}', 'acme/?', 'a b', 'a\n', 'a'.repeat(256)])
      expect(grantSchema.safeParse({ repositories, actions: ['pull'] }).success, repositories).toBe(false);
    expect(grantSchema.safeParse({ repositories: 'acme/*_-.0', actions: ['pull'] }).success).toBe(true);
  });
});

describe('in PostgreSQL', () => {
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

  const like = async (
    pairs: readonly { name: string; patterns: readonly string[] }[],
    queryer: Queryer = database,
  ): Promise<boolean[]> => {
    const rows = await queryer.query<{ matches: boolean }>(
      `SELECT name LIKE ANY (ARRAY(SELECT jsonb_array_elements_text(patterns))) AS matches
       FROM unnest($1::text[], $2::jsonb[]) WITH ORDINALITY AS asked (name, patterns, i) ORDER BY i`,
      [pairs.map(({ name }) => name), pairs.map(({ patterns }) => JSON.stringify(patterns))],
    );
    return rows.map(({ matches }) => matches);
  };

  test('grants cover the same names', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(pair, fc.array(grant, { maxLength: 3 }), action), { minLength: 50, maxLength: 100 }),
        async (asked) => {
          const all = asked.map(([{ name, pattern }, grants, what]) => {
            const made: Grant[] = [...grants, { repositories: pattern, actions: ['pull', 'admin'] }];
            return { name, made, what, patterns: likePatterns(made, what) };
          });
          const covered = all.map(({ made, name, what }) => grantsCover(made, name, what));
          expect(await like(all)).toEqual(covered);
        },
      ),
      { numRuns: 20 },
    );
  });

  test('characters that mean something to LIKE mean themselves', async () => {
    // The schema lets only the underscore through; rows of the database are believed no more than needed.
    const patterns = ['a_b', 'a%b', 'a\\b', 'a\\', '\\*', '%', '_'];
    const names = ['a_b', 'axb', 'a%b', 'a\\b', 'ab', 'a\\', '\\', '\\x', 'a', '%', '_'];
    const pairs = patterns.flatMap((pattern) => names.map((name) => ({ pattern, name })));
    const grantOf = (repositories: string): Grant[] => [{ repositories, actions: ['pull'] }];
    const answers = await like(
      pairs.map(({ pattern, name }) => ({ name, patterns: likePatterns(grantOf(pattern), 'pull') })),
    );
    expect(answers).toEqual(pairs.map(({ pattern, name }) => oracle(pattern, name)));
  });

  test('the worst of patterns are looked up in no time', async () => {
    const asked = hostile.map(([pattern, name]) => ({
      name,
      patterns: likePatterns([{ repositories: pattern, actions: ['pull'] }], 'pull'),
    }));
    const answers = await database.transaction(async (queryer) => {
      await queryer.query("SELECT set_config('statement_timeout', '5s', true)");
      return like(asked, queryer);
    });
    expect(answers).toEqual(hostile.map(() => false));
  });
});

describe('grants within others', () => {
  test('allow nothing that the others do not', () => {
    // Half of the inner ones are drawn from the outer ones, made narrower, so that they often lie within.
    const sets = fc.tuple(fc.array(grant, { minLength: 1, maxLength: 3 }), nameText).chain(([outer, filling]) =>
      fc.record({
        outer: fc.constant(outer),
        inner: fc.array(
          fc.oneof(
            grant,
            fc.constantFrom(...outer).map((each) => ({
              ...each,
              repositories: each.repositories.replace('*', filling),
            })),
          ),
          { maxLength: 3 },
        ),
      }),
    );
    let within = 0;
    fc.assert(
      fc.property(
        sets,
        fc.array(nameText, { minLength: 1, maxLength: 20 }),
        action,
        ({ inner, outer }, names, what) => {
          if (!grantsWithin(inner, outer)) return;
          within += 1;
          const candidates = [...names, ...inner.map(({ repositories }) => repositories.replaceAll('*', names[0]!))];
          for (const name of candidates)
            if (grantsCover(inner, name, what)) expect(grantsCover(outer, name, what), name).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
    expect(within).toBeGreaterThan(100);
  });

  test('are found to be so: everything within itself, and within everything', () => {
    fc.assert(
      fc.property(fc.array(grant, { maxLength: 4 }), (grants) => {
        expect(grantsWithin(grants, grants)).toBe(true);
        expect(grantsWithin(grants, [{ repositories: '*', actions: [...grantActions] }])).toBe(true);
        expect(grantsWithin([], grants)).toBe(true);
      }),
    );
  });

  test.each([
    ['acme/api', 'acme/*', true],
    ['acme/a*', 'acme/*', true],
    ['*', 'acme/*', false],
    ['acme/*', 'acme/api', false],
    ['acme*', 'acme/*', false],
    ['acme/*', '*', true],
  ])('%s within %s: %s', (inner, outer, within) => {
    const grantsOf = (repositories: string): Grant[] => [{ repositories, actions: ['pull'] }];
    expect(grantsWithin(grantsOf(inner), grantsOf(outer))).toBe(within);
  });

  test('not when an action is missing', () => {
    const outer: Grant[] = [
      { repositories: 'acme/*', actions: ['pull'] },
      { repositories: '*', actions: ['push'] },
    ];
    expect(grantsWithin([{ repositories: 'acme/api', actions: ['pull', 'push'] }], outer)).toBe(true);
    expect(grantsWithin([{ repositories: 'acme/api', actions: ['pull', 'delete'] }], outer)).toBe(false);
    expect(grantsWithin([{ repositories: 'other/api', actions: ['pull'] }], outer)).toBe(false);
  });
});
