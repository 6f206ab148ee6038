/** Teams of organizations, and who is in them. */
import type { Queryer } from '../../database/pool.ts';
import type { Role } from '../roles.ts';

export interface TeamRow {
  readonly id: number;
  readonly name: string;
  /** What its members are in the whole organization; null: nothing by the team alone. */
  readonly role: Role | null;
  readonly createdAt: Date;
}

const selectTeam = 'SELECT id, name, role, created_at AS "createdAt" FROM teams WHERE namespace_id = $1';

export async function findTeam(queryer: Queryer, namespaceId: number, name: string): Promise<TeamRow | undefined> {
  return (await queryer.query<TeamRow>(`${selectTeam} AND name = $2`, [namespaceId, name]))[0];
}

/** Teams behind `after`, in byte order of their names. */
export async function listTeams(
  queryer: Queryer,
  namespaceId: number,
  after: string,
  limit: number,
): Promise<TeamRow[]> {
  return queryer.query<TeamRow>(`${selectTeam} AND name > $2 ORDER BY name LIMIT $3`, [namespaceId, after, limit]);
}

/** @returns undefined when the name is taken */
export async function insertTeam(
  queryer: Queryer,
  namespaceId: number,
  name: string,
  role: Role | null,
): Promise<TeamRow | undefined> {
  const rows = await queryer.query<TeamRow>(
    `INSERT INTO teams (namespace_id, name, role) VALUES ($1, $2, $3)
     ON CONFLICT (namespace_id, name) DO NOTHING RETURNING id, name, role, created_at AS "createdAt"`,
    [namespaceId, name, role],
  );
  return rows[0];
}

export async function updateTeam(queryer: Queryer, teamId: number, name: string, role: Role | null): Promise<void> {
  await queryer.query('UPDATE teams SET name = $2, role = $3 WHERE id = $1', [teamId, name, role]);
}

/** Deletes a team with all that it was given. */
export async function deleteTeam(queryer: Queryer, teamId: number): Promise<void> {
  await queryer.query('DELETE FROM team_members WHERE team_id = $1', [teamId]);
  await queryer.query('DELETE FROM collaborators WHERE team_id = $1', [teamId]);
  await queryer.query('DELETE FROM teams WHERE id = $1', [teamId]);
}

/** The names behind `after` of who is in a team, in byte order. */
export async function listTeamMembers(
  queryer: Queryer,
  teamId: number,
  after: string,
  limit: number,
): Promise<string[]> {
  const rows = await queryer.query<{ name: string }>(
    `SELECT u.name FROM team_members m JOIN users u ON u.id = m.user_id
     WHERE m.team_id = $1 AND u.name > $2 ORDER BY u.name LIMIT $3`,
    [teamId, after, limit],
  );
  return rows.map(({ name }) => name);
}

/** The id of somebody who is in a team. */
export async function findTeamMember(queryer: Queryer, teamId: number, name: string): Promise<number | undefined> {
  const rows = await queryer.query<{ id: number }>(
    'SELECT u.id FROM team_members m JOIN users u ON u.id = m.user_id WHERE m.team_id = $1 AND u.name = $2',
    [teamId, name],
  );
  return rows[0]?.id;
}

export async function insertTeamMember(queryer: Queryer, teamId: number, userId: number): Promise<void> {
  await queryer.query('INSERT INTO team_members (team_id, user_id) VALUES ($1, $2)', [teamId, userId]);
}

export async function deleteTeamMember(queryer: Queryer, teamId: number, userId: number): Promise<void> {
  await queryer.query('DELETE FROM team_members WHERE team_id = $1 AND user_id = $2', [teamId, userId]);
}
