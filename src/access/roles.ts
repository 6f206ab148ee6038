/** Roles on an organization, a team or a repository: each may do what the one below it may, and more. */

export const roleNames = ['reader', 'developer', 'maintainer', 'owner'] as const;
export type RoleName = (typeof roleNames)[number];

/** As the database keeps it, so that the strongest of several is the greatest. */
export type Role = 1 | 2 | 3 | 4;

export function roleOf(name: RoleName): Role {
  return (roleNames.indexOf(name) + 1) as Role;
}

export function roleName(role: Role): RoleName {
  return roleNames[role - 1]!;
}
