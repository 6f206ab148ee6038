/** What of the management API a personal access token or a robot may be made for. Passwords and sessions have no such limit. */
export const apiScopes = {
  'account:read': "See one's own account, credentials and invitations.",
  'account:write': "Change one's own account. Passwords, second factors and new tokens take a session.",
  'organizations:read': 'See organizations, their members, teams, robots and invitations.',
  'organizations:write': 'Change organizations, their members, teams, robots and invitations.',
  'audit:read': 'Read the audit log, as far as its owner may.',
  'admin:read': 'See what only administrators of the registry see.',
  'admin:write': 'Change what only administrators of the registry may.',
} as const satisfies Readonly<Record<string, string>>;

export type ApiScope = keyof typeof apiScopes;
export const apiScopeNames = Object.keys(apiScopes) as [ApiScope, ...ApiScope[]];
