import { Command } from 'commander';
import { path } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';

interface Session {
  readonly id: number;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly lastUsed: { readonly at: string; readonly address: string | null; readonly client: string | null };
}

export const sessionCommand = (): Command =>
  new Command('session')
    .description('Manage where accounts are signed in.')
    .addCommand(listCommand())
    .addCommand(revokeAllCommand());

const listCommand = (): Command =>
  remoteCommand({
    name: 'list',
    description: "List one's own sessions, the newest first.",
    example: 'session list',
    run: ({ api, print }) =>
      print.list(api.items<Session>('/sessions'), {
        id: ({ id }) => id,
        since: ({ createdAt }) => createdAt,
        expires: ({ expiresAt }) => expiresAt,
        'last used': ({ lastUsed }) => lastUsed.at,
        address: ({ lastUsed }) => lastUsed.address,
        client: ({ lastUsed }) => lastUsed.client,
      }),
  });

const revokeAllCommand = (): Command =>
  remoteCommand({
    name: 'revoke-all',
    arguments: '[user]',
    description:
      "Sign out everywhere: end all of one's own sessions and docker logins, or as an administrator those of another account. Tokens stay.",
    example: 'session revoke-all ada',
    async run({ api, print }, user?: string) {
      await api.send('DELETE', user === undefined ? '/sessions' : path`/users/${user}/sessions`);
      print.done(`${user ?? 'You'} ${user === undefined ? 'are' : 'is'} signed out everywhere.`);
    },
  });
