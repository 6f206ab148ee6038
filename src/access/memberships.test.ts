/**
 * Whatever happens to members, teams, collaborators and invitations, one after the other or at once: `granted_roles` says
 * what they say together, there is an owner, and whoever is in a team is a member.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database, type Queryer } from '../database/pool.ts';
import { ApiError } from '../oci/problem.ts';
import { commandLine } from './actor.ts';
import { removeCollaborator, setCollaborator } from './collaborators.ts';
import { acceptInvitation, invite } from './invitations.ts';
import { memberOf, removeMember, setMember } from './members.ts';
import { lockOrganization, seeNamespace, type By, type Namespace } from './namespaces.ts';
import { createOrganization } from './organizations.ts';
import type { Subject } from './policy.ts';
import type { Role } from './roles.ts';
import { addToTeam, changeTeam, createTeam, removeTeam, takeFromTeam, teamOf } from './teams.ts';

const users = ['ada', 'bob', 'cy', 'dan'] as const;
const teams = ['red', 'blue'] as const;
const repositories = ['app', 'lib'] as const;

let facts: TestDatabase;
let database: Database;
const userIds = new Map<string, number>();
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 6, hotLanes: 1 });
  for (const name of users) {
    const [row] = await database.query<{ id: number }>('INSERT INTO users (name) VALUES ($1) RETURNING id', [name]);
    userIds.set(name, row!.id);
  }
  by = byOf('ada');
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

/** Everybody acts as an administrator would: what is allowed is tested elsewhere, here all of it happens. */
const byOf = (name: string): By => {
  const user = { id: userIds.get(name)!, name, admin: true };
  const subject: Subject = {
    credentialId: 1,
    kind: 'password',
    credentialName: null,
    user,
    robot: null,
    grants: null,
  };
  return { subject, actor: { ...commandLine('test'), userId: user.id } };
};
let by: By;
const check = (): void => undefined;

interface Place {
  readonly namespace: Namespace;
  readonly repositoryIds: ReadonlyMap<string, number>;
}
type Step = (queryer: Queryer, place: Place) => Promise<unknown>;

const user = fc.constantFrom(...users);
const team = fc.constantFrom(...teams);
const role = fc.constantFrom<Role>(1, 2, 3, 4);
const repositoryOf = ({ namespace, repositoryIds }: Place, name: string) => ({
  repositoryId: repositoryIds.get(name)!,
  namespaceId: namespace.id,
  name: `${namespace.name}/${name}`,
});
const grantee = fc.oneof(
  fc.record({ kind: fc.constant('user' as const), name: user }, { noNullPrototype: true }),
  fc.record({ kind: fc.constant('team' as const), name: team }, { noNullPrototype: true }),
);
const settings = { days: 1, max: 1_000_000, mail: undefined };

const step: fc.Arbitrary<{ readonly text: string; readonly run: Step }> = fc.oneof(
  fc.tuple(user, role).map(([name, to]) => ({
    text: `${name} is made ${to}`,
    run: (queryer: Queryer, { namespace }: Place) => setMember(queryer, by, namespace, { name, role: to }, check),
  })),
  user.map((name) => ({
    text: `${name} is removed`,
    run: async (queryer: Queryer, { namespace }: Place) =>
      removeMember(queryer, by, namespace, await memberOf(queryer, namespace, name)),
  })),
  fc.tuple(team, fc.option(role)).map(([name, to]) => ({
    text: `the team ${name} is made, with ${to}`,
    run: (queryer: Queryer, { namespace }: Place) => createTeam(queryer, by, namespace, { name, role: to }),
  })),
  fc.tuple(team, fc.option(role)).map(([name, to]) => ({
    text: `the team ${name} gets ${to}`,
    run: async (queryer: Queryer, { namespace }: Place) =>
      changeTeam(queryer, by, namespace, await teamOf(queryer, namespace, name), { role: to }),
  })),
  team.map((name) => ({
    text: `the team ${name} is deleted`,
    run: async (queryer: Queryer, { namespace }: Place) =>
      removeTeam(queryer, by, namespace, await teamOf(queryer, namespace, name)),
  })),
  fc.tuple(team, user).map(([name, who]) => ({
    text: `${who} joins the team ${name}`,
    run: async (queryer: Queryer, { namespace }: Place) =>
      addToTeam(queryer, by, namespace, await teamOf(queryer, namespace, name), who),
  })),
  fc.tuple(team, user).map(([name, who]) => ({
    text: `${who} leaves the team ${name}`,
    run: async (queryer: Queryer, { namespace }: Place) =>
      takeFromTeam(queryer, by, namespace, await teamOf(queryer, namespace, name), who),
  })),
  fc.tuple(fc.constantFrom(...repositories), grantee, role).map(([name, who, to]) => ({
    text: `the ${who.kind} ${who.name} gets ${to} on ${name}`,
    run: (queryer: Queryer, place: Place) =>
      setCollaborator(queryer, by, repositoryOf(place, name), { ...who, role: to, inside: true }, check),
  })),
  fc.tuple(fc.constantFrom(...repositories), grantee).map(([name, who]) => ({
    text: `the ${who.kind} ${who.name} loses what it has on ${name}`,
    run: (queryer: Queryer, place: Place) => removeCollaborator(queryer, by, repositoryOf(place, name), who, check),
  })),
  fc.tuple(user, fc.option(fc.constantFrom(...repositories)), role).map(([name, repository, to]) => ({
    text: `${name} is invited to ${repository ?? 'all'} with ${to}, and accepts`,
    run: async (queryer: Queryer, place: Place) => {
      const repositoryId = repository === null ? null : place.repositoryIds.get(repository)!;
      const at = { namespaceId: place.namespace.id, repositoryId };
      const { invitation } = await invite(queryer, by, at, { invitee: name, role: to }, settings);
      await acceptInvitation(queryer, byOf(name), { id: invitation.id });
    },
  })),
);

let places = 0;
async function newPlace(): Promise<Place> {
  places += 1;
  const name = `organization-${places}`;
  await database.transaction((queryer) =>
    createOrganization(queryer, by.actor, { name, description: '', ownerId: userIds.get('ada')! }),
  );
  const namespace = await seeNamespace(database, by.subject, name);
  const ids = await database.query<{ id: number; name: string }>(
    `INSERT INTO repositories (namespace_id, name, visibility) SELECT $1, $2 || '/' || each, 'private' FROM unnest($3::text[]) each
     RETURNING id, name`,
    [namespace.id, name, repositories],
  );
  return { namespace, repositoryIds: new Map(ids.map((row) => [row.name.slice(name.length + 1), row.id])) };
}

/** One change as a handler makes it. What a rule refuses has not happened. */
async function take(place: Place, run: Step): Promise<void> {
  const work = async (queryer: Queryer): Promise<void> => {
    const namespace = await lockOrganization(queryer, by.subject, place.namespace.name);
    await run(queryer, { ...place, namespace });
  };
  await database.transaction(work).catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error;
  });
}

/** The strongest role of everybody everywhere, computed one row at a time. */
async function naive({ namespace: { id } }: Place): Promise<Record<string, number>> {
  const [members, teamMembers, collaborators] = await Promise.all([
    database.query<{ user: number; role: number }>(
      'SELECT user_id AS user, role FROM namespace_members WHERE namespace_id = $1',
      [id],
    ),
    database.query<{ user: number; team: number; role: number | null }>(
      `SELECT m.user_id AS user, t.id AS team, t.role FROM teams t JOIN team_members m ON m.team_id = t.id WHERE t.namespace_id = $1`,
      [id],
    ),
    database.query<{ repository: number; user: number | null; team: number | null; role: number }>(
      `SELECT c.repository_id AS repository, c.user_id AS user, c.team_id AS team, c.role
       FROM collaborators c JOIN repositories r ON r.id = c.repository_id WHERE r.namespace_id = $1`,
      [id],
    ),
  ]);
  expect(members.some((member) => member.role === 4)).toBe(true);
  const names = new Set(members.map((member) => member.user));
  for (const each of teamMembers) expect(names).toContain(each.user);
  const strongest: Record<string, number> = {};
  const give = (who: number, where: number, what: number): void => {
    const key = `${who} on ${where}`;
    strongest[key] = Math.max(strongest[key] ?? 0, what);
  };
  for (const member of members) give(member.user, 0, member.role);
  for (const each of teamMembers) if (each.role !== null) give(each.user, 0, each.role);
  for (const each of collaborators) {
    if (each.user !== null) give(each.user, each.repository, each.role);
    for (const inTeam of teamMembers) if (inTeam.team === each.team) give(inTeam.user, each.repository, each.role);
  }
  return strongest;
}

async function granted({ namespace: { id } }: Place): Promise<Record<string, number>> {
  const rows = await database.query<{ key: string; role: number }>(
    `SELECT user_id || ' on ' || repository_id AS key, role FROM granted_roles WHERE namespace_id = $1`,
    [id],
  );
  return Object.fromEntries(rows.map((row) => [row.key, row.role]));
}

const steps = (maxLength: number) => fc.array(step, { minLength: 1, maxLength });

test('one after the other: after each change, what is granted is what was given', async () => {
  await fc.assert(
    fc.asyncProperty(steps(25), async (each) => {
      const place = await newPlace();
      for (const { run } of each) {
        await take(place, run);
        expect(await granted(place)).toEqual(await naive(place));
      }
    }),
    { numRuns: 15 },
  );
});

test('many at once: what is granted is what was given', async () => {
  await fc.assert(
    fc.asyncProperty(steps(12), steps(12), steps(12), async (...all) => {
      const place = await newPlace();
      await Promise.all(
        all.map(async (each) => {
          for (const { run } of each) await take(place, run);
        }),
      );
      expect(await granted(place)).toEqual(await naive(place));
    }),
    { numRuns: 15 },
  );
});

test('every change leaves its row in the audit log, and what was refused leaves none', async () => {
  await fc.assert(
    fc.asyncProperty(steps(15), async (each) => {
      const place = await newPlace();
      const rowsOf = async (): Promise<number> =>
        (
          await database.query<{ count: number }>('SELECT count(*) FROM audit_log WHERE namespace_id = $1', [
            place.namespace.id,
          ])
        )[0]!.count;
      const stateOf = async (): Promise<string> => {
        const [row] = await database.query<{ state: string }>(
          `SELECT json_build_array(
             (SELECT json_agg(m ORDER BY user_id) FROM namespace_members m WHERE namespace_id = $1),
             (SELECT json_agg(t ORDER BY id) FROM teams t WHERE namespace_id = $1),
             (SELECT json_agg(m ORDER BY team_id, user_id) FROM team_members m JOIN teams t ON t.id = team_id WHERE namespace_id = $1),
             (SELECT json_agg(c ORDER BY c.id) FROM collaborators c JOIN repositories r ON r.id = repository_id WHERE namespace_id = $1),
             (SELECT json_agg(i ORDER BY id) FROM invitations i WHERE namespace_id = $1))::text AS state`,
          [place.namespace.id],
        );
        return row!.state;
      };
      for (const { run, text } of each) {
        const [rows, state] = [await rowsOf(), await stateOf()];
        await take(place, run);
        const [rowsNow, stateNow] = [await rowsOf(), await stateOf()];
        expect(rowsNow > rows, text).toBe(stateNow !== state);
      }
    }),
    { numRuns: 8 },
  );
});
