import { Command } from 'commander';
import { path } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';

interface Team {
  readonly name: string;
  readonly role: string | null;
  readonly createdAt: string;
}

export const teamCommand = (): Command =>
  new Command('team')
    .description('Manage the teams of an organization.')
    .addCommand(listCommand())
    .addCommand(createCommand())
    .addCommand(roleCommand())
    .addCommand(membersCommand())
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(deleteCommand());

const listCommand = (): Command =>
  remoteCommand({
    name: 'list',
    arguments: '<organization>',
    description: 'List the teams of an organization.',
    example: 'team list acme',
    run: ({ api, print }, organization) =>
      print.list(api.items<Team>(path`/namespaces/${organization}/teams`), {
        team: ({ name }) => name,
        role: ({ role }) => role,
        since: ({ createdAt }) => createdAt,
      }),
  });

const createCommand = (): Command =>
  remoteCommand<{ role?: string }>({
    name: 'create',
    arguments: '<organization> <team>',
    description: 'Make a team.',
    options: [
      [
        '--role <role>',
        'what its members are in the whole organization; by default only what it is given on single repositories',
      ],
    ],
    example: 'team create acme backend --role developer',
    async run({ api, options: { role }, print }, organization, name) {
      const { body } = await api.send('POST', path`/namespaces/${organization}/teams`, { body: { name, role } });
      print.done(`Made the team ${name} of ${organization}.`, body);
    },
  });

const roleCommand = (): Command =>
  remoteCommand({
    name: 'role',
    arguments: '<organization> <team> <role>',
    description: 'Change what the members of a team are in the whole organization; none takes the role away.',
    example: 'team role acme backend maintainer',
    async run({ api, print }, organization, team, role) {
      const address = path`/namespaces/${organization}/teams/${team}`;
      const { body } = await api.send<Team>('PATCH', address, { body: { role: role === 'none' ? null : role } });
      const now = body.role === null ? 'no role' : `the role ${body.role}`;
      print.done(`The team ${team} has ${now} in all of ${organization}.`, body);
    },
  });

const membersCommand = (): Command =>
  remoteCommand({
    name: 'members',
    arguments: '<organization> <team>',
    description: 'List who is in a team.',
    example: 'team members acme backend',
    run: ({ api, print }, organization, team) =>
      print.list(api.items<{ user: string }>(path`/namespaces/${organization}/teams/${team}/members`), {
        user: ({ user }) => user,
      }),
  });

const addCommand = (): Command =>
  remoteCommand({
    name: 'add',
    arguments: '<organization> <team> <user>',
    description: 'Put a member of the organization into a team.',
    example: 'team add acme backend ada',
    async run({ api, print }, organization, team, user) {
      const { body } = await api.send('PUT', path`/namespaces/${organization}/teams/${team}/members/${user}`);
      print.done(`${user} is in the team ${team} of ${organization}.`, body);
    },
  });

const removeCommand = (): Command =>
  remoteCommand({
    name: 'remove',
    arguments: '<organization> <team> <user>',
    description: 'Take somebody out of a team.',
    example: 'team remove acme backend ada',
    async run({ api, print }, organization, team, user) {
      await api.send('DELETE', path`/namespaces/${organization}/teams/${team}/members/${user}`);
      print.done(`${user} is not in the team ${team} of ${organization} any more.`);
    },
  });

const deleteCommand = (): Command =>
  remoteCommand({
    name: 'delete',
    arguments: '<organization> <team>',
    description: 'Delete a team; what its members had by it ends.',
    example: 'team delete acme backend',
    async run({ api, print }, organization, team) {
      await api.send('DELETE', path`/namespaces/${organization}/teams/${team}`);
      print.done(`Deleted the team ${team} of ${organization}.`);
    },
  });
