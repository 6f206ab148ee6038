/** Random repositories, roles and credentials, and what the rules say of them: for statements that answer for many at once. */
import fc from 'fast-check';
import { grantActions, type Grant } from '../../src/access/grants.ts';
import { decide, visibilities, type Subject, type Visibility } from '../../src/access/policy.ts';
import type { Role } from '../../src/access/roles.ts';
import type { Database, Queryer } from '../../src/database/pool.ts';

const namespaceNames = ['acme', 'acme2', 'globex'] as const;
const repositoryWords = ['api', 'a_i', 'app', 'api/web', 'web'] as const;
const userCount = 3;

interface RandomRepository {
  readonly namespace: number;
  readonly name: string;
  readonly visibility: Visibility;
  /** Whether it has a manifest: catalogs show it only then. */
  readonly listed: boolean;
}

/** Places in the lists below stand for ids: those are the database's to give. */
export interface RandomWorld {
  readonly repositories: readonly RandomRepository[];
  /** `repository` null is the whole namespace. */
  readonly roles: readonly {
    readonly user: number;
    readonly namespace: number;
    readonly repository: number | null;
    readonly role: Role;
  }[];
}

interface RandomSubject {
  readonly who:
    | { readonly kind: 'anonymous' }
    | { readonly kind: 'user'; readonly user: number; readonly admin: boolean }
    | { readonly kind: 'robot'; readonly namespace: number; readonly repository: number | null };
  readonly grants: readonly Grant[] | null;
}

const role = fc.constantFrom<Role>(1, 2, 3, 4);
const names = namespaceNames.flatMap((namespace, at) =>
  repositoryWords.map((word) => ({ namespace: at, name: `${namespace}/${word}` })),
);

export const randomWorld: fc.Arbitrary<RandomWorld> = fc
  .subarray(names, { minLength: 1 })
  .chain((chosen) =>
    fc.record({
      repositories: fc.tuple(
        ...chosen.map((each) =>
          fc
            .record({
              visibility: fc.constantFrom(...visibilities),
              listed: fc.integer({ max: 3, min: 0 }).map((n) => n > 0),
            })
            .map((rest) => ({ ...each, ...rest })),
        ),
      ),
      roles: fc.array(
        fc.record({
          user: fc.nat(userCount - 1),
          place: fc.oneof(
            fc.nat(namespaceNames.length - 1).map((namespace) => ({ namespace, repository: null })),
            fc.nat(chosen.length - 1).map((repository) => ({ namespace: chosen[repository]!.namespace, repository })),
          ),
          role,
        }),
        { maxLength: 8 },
      ),
    }),
  )
  .map(({ repositories, roles }) => ({
    repositories,
    roles: roles.map(({ place, ...rest }) => ({ ...rest, ...place })),
  }));

const grant: fc.Arbitrary<Grant> = fc.record(
  {
    repositories: fc.constantFrom(
      '*',
      'acme/*',
      'acme*',
      '*/api',
      'acme/a_i',
      'acme/api',
      'globex/*',
      'a*/w*b',
      'none/*',
    ),
    actions: fc.subarray([...grantActions], { minLength: 1 }),
  },
  { noNullPrototype: true },
);

export const randomSubjects: fc.Arbitrary<RandomSubject[]> = fc.array(
  fc
    .record({
      who: fc.oneof(
        fc.constant({ kind: 'anonymous' } as const),
        fc.record({
          kind: fc.constant('user' as const),
          user: fc.nat(userCount - 1),
          admin: fc.nat(5).map((n) => n === 0),
        }),
        fc.record({
          kind: fc.constant('robot' as const),
          namespace: fc.nat(namespaceNames.length - 1),
          repository: fc.option(fc.nat(names.length)),
        }),
      ),
      grants: fc.option(fc.array(grant, { maxLength: 3 })),
    })
    .map((each) => (each.who.kind === 'anonymous' ? { ...each, grants: null } : each)),
  { minLength: 1, maxLength: 8 },
);

/** A world as the database has it. */
export interface PlacedWorld {
  readonly repositories: readonly (RandomRepository & { readonly id: number; readonly namespaceId: number })[];
  readonly subjectOf: (subject: RandomSubject) => Subject;
  /** Whether the rules let the subject pull a repository, asked of one at a time. */
  readonly mayPull: (subject: RandomSubject, repository: number) => boolean;
}

class Undone extends Error {}

/** Puts the world into the database, does the work, and takes it out again. */
export async function inWorld(
  database: Database,
  world: RandomWorld,
  work: (queryer: Queryer, placed: PlacedWorld) => Promise<void>,
): Promise<void> {
  const undone = new Undone();
  await database
    .transaction(async (queryer) => {
      await work(queryer, await place(queryer, world));
      throw undone;
    })
    .catch((error: unknown) => {
      if (error !== undone) throw error;
    });
}

async function place(queryer: Queryer, world: RandomWorld): Promise<PlacedWorld> {
  const idsOf = async (statement: string, values: readonly unknown[]): Promise<number[]> =>
    (await queryer.query<{ id: number }>(statement, values)).map(({ id }) => id);
  const users = await idsOf(
    `INSERT INTO users (name) SELECT 'user' || i FROM generate_series(1, $1::int) i RETURNING id`,
    [userCount],
  );
  const namespaces = await idsOf(
    `INSERT INTO namespaces (name, kind) SELECT name, 'organization' FROM unnest($1::text[]) WITH ORDINALITY n (name, i)
     ORDER BY i RETURNING id`,
    [namespaceNames],
  );
  const { repositories, roles } = world;
  const ids = await idsOf(
    `INSERT INTO repositories (namespace_id, name, visibility)
     SELECT namespace_id, name, visibility FROM unnest($1::bigint[], $2::text[], $3::text[])
       WITH ORDINALITY r (namespace_id, name, visibility, i) ORDER BY i RETURNING id`,
    [
      repositories.map(({ namespace }) => namespaces[namespace]),
      repositories.map(({ name }) => name),
      repositories.map(({ visibility }) => visibility),
    ],
  );
  await queryer.query(
    `INSERT INTO manifests (repository_id, digest, media_type, bytes)
     SELECT id, '\\x01'::bytea || sha256('1'), 'application/vnd.oci.image.index.v1+json', '1' FROM unnest($1::bigint[]) id`,
    [ids.filter((_, i) => repositories[i]!.listed)],
  );
  for (const { user, namespace, repository, role: given } of roles)
    await queryer.query(
      `INSERT INTO granted_roles AS g (user_id, namespace_id, repository_id, role) VALUES ($1, $2, $3, $4)
       ON CONFLICT (user_id, namespace_id, repository_id) DO UPDATE SET role = greatest(g.role, excluded.role)`,
      [users[user], namespaces[namespace], repository === null ? 0 : ids[repository], given],
    );

  const subjectOf = ({ who, grants }: RandomSubject): Subject => ({
    credentialId: 1,
    kind: who.kind === 'user' ? (grants === null ? 'password' : 'token') : who.kind,
    credentialName: null,
    user: who.kind === 'user' ? { id: users[who.user]!, name: `user${who.user}`, admin: who.admin } : null,
    robot:
      who.kind === 'robot'
        ? {
            namespaceId: namespaces[who.namespace]!,
            // One that is not there (any more), where the world has fewer.
            repositoryId: who.repository === null ? null : (ids[who.repository] ?? 0),
          }
        : null,
    grants,
  });
  return {
    repositories: repositories.map((each, i) => ({ ...each, id: ids[i]!, namespaceId: namespaces[each.namespace]! })),
    subjectOf,
    mayPull(subject, at) {
      const { namespace, name, visibility } = repositories[at]!;
      const { who } = subject;
      const held = roles
        .filter((each) => who.kind === 'user' && each.user === who.user && each.namespace === namespace)
        .filter((each) => each.repository === null || each.repository === at)
        .map((each) => each.role);
      const belongs =
        who.kind === 'robot' && who.namespace === namespace && (who.repository === null || who.repository === at);
      const strongest = Math.max(0, ...held, belongs ? 4 : 0);
      const facts = { visibility, namespace: true, role: strongest === 0 ? null : (strongest as Role) };
      return decide(subjectOf(subject), null, name, 'pull', facts).outcome === 'allowed';
    },
  };
}
