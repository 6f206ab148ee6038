import { Command } from 'commander';
import { invitationLines } from './member.ts';
import { path, repositoryPath } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';
import { planOrDelete } from './remote/deletion.ts';

interface Repository {
  readonly name: string;
  readonly visibility: string;
}

interface RepositoryMember {
  readonly kind: 'user' | 'team';
  readonly name: string;
  readonly role: string;
  readonly sources: readonly { readonly source: string; readonly team: string | null; readonly role: string }[];
}

export const repositoryCommand = (): Command =>
  new Command('repository')
    .description('Manage repositories, and who has a role on them.')
    .addCommand(createCommand())
    .addCommand(showCommand())
    .addCommand(visibilityCommand())
    .addCommand(renameCommand())
    .addCommand(deleteCommand())
    .addCommand(membersCommand())
    .addCommand(grantCommand())
    .addCommand(revokeCommand())
    .addCommand(inviteCommand());

const createCommand = (): Command =>
  remoteCommand<{ visibility?: string }>({
    name: 'create',
    arguments: '<repository>',
    description: 'Make an empty repository; a first push does the same.',
    options: [['--visibility <visibility>', 'private, internal or public; by default what the settings say']],
    example: 'repository create acme/app --visibility public',
    async run({ api, options: { visibility }, print }, name) {
      const { body } = await api.send<Repository>('POST', '/repositories', { body: { name, visibility } });
      print.done(`Made the repository ${body.name}; it is ${body.visibility}.`, body);
    },
  });

const showCommand = (): Command =>
  remoteCommand({
    name: 'show',
    arguments: '<repository>',
    description: 'Show a repository, and what you may do with it.',
    example: 'repository show acme/app',
    async run({ api, print }, name) {
      const { body } = await api.send<Repository & { can: Record<string, boolean> }>('GET', repositoryPath(name));
      const may = Object.keys(body.can).filter((action) => body.can[action]);
      print.done([`${body.name} is ${body.visibility}.`, `You may: ${may.join(', ')}.`], body);
    },
  });

const visibilityCommand = (): Command =>
  remoteCommand({
    name: 'visibility',
    arguments: '<repository> <visibility>',
    description:
      'Say who may pull: its members (private), everybody who is signed in (internal), or everybody (public).',
    example: 'repository visibility acme/app public',
    async run({ api, print }, name, visibility) {
      const { body } = await api.send<Repository>('PATCH', repositoryPath(name), { body: { visibility } });
      print.done(`${body.name} is ${body.visibility}.`, body);
    },
  });

const renameCommand = (): Command =>
  remoteCommand({
    name: 'rename',
    arguments: '<repository> <to>',
    description: 'Rename a repository, or move it to another namespace. Pulls by the old name go on.',
    example: 'repository rename acme/app acme/website',
    async run({ api, print }, name, to) {
      const { body } = await api.send<Repository>('POST', `${repositoryPath(name)}/rename`, { body: { to } });
      print.done(`${name} is ${body.name} now; pulls by the old name go on until somebody takes it.`, body);
    },
  });

const deleteCommand = (): Command =>
  remoteCommand<{ yes?: true }>({
    name: 'delete',
    arguments: '<repository>',
    description: 'Show what would go with a repository; with --yes, delete it.',
    options: [['--yes', 'delete it']],
    example: 'repository delete acme/app --yes',
    run: (call, name) => planOrDelete(call, repositoryPath(name), `the repository ${name}`),
  });

const membersCommand = (): Command =>
  remoteCommand({
    name: 'members',
    arguments: '<repository>',
    description: 'List who has a role on a repository, and by what.',
    example: 'repository members acme/app',
    run: ({ api, print }, name) =>
      print.list(api.items<RepositoryMember>(`${repositoryPath(name)}/members`), {
        kind: ({ kind }) => kind,
        name: (member) => member.name,
        role: ({ role }) => role,
        by: ({ sources }) =>
          sources.map(({ source, team, role }) => `${team === null ? source : `team ${team}`} (${role})`).join(', '),
      }),
  });

const teamFlag = ['--team', 'the name is that of a team'] as const;

const memberPath = (repository: string, name: string, { team }: { team?: true }): string =>
  repositoryPath(repository) + (team ? path`/members/teams/${name}` : path`/members/users/${name}`);

const grantCommand = (): Command =>
  remoteCommand<{ team?: true }>({
    name: 'grant',
    arguments: '<repository> <name> <role>',
    description: 'Give somebody who is in already, or a team, a role on one repository.',
    options: [teamFlag],
    example: 'repository grant acme/app backend developer --team',
    async run({ api, options, print }, repository, name, role) {
      const { body } = await api.send<RepositoryMember>('PUT', memberPath(repository, name, options), {
        body: { role },
      });
      print.done(`The ${body.kind} ${body.name} has the role ${role} on ${repository}.`, body);
    },
  });

const revokeCommand = (): Command =>
  remoteCommand<{ team?: true }>({
    name: 'revoke',
    arguments: '<repository> <name>',
    description: 'Take away the role that somebody, or a team, has on one repository.',
    options: [teamFlag],
    example: 'repository revoke acme/app ada',
    async run({ api, options, print }, repository, name) {
      await api.send('DELETE', memberPath(repository, name, options));
      print.done(`The ${options.team ? 'team' : 'user'} ${name} has no role of its own on ${repository} any more.`);
    },
  });

const inviteCommand = (): Command =>
  remoteCommand({
    name: 'invite',
    arguments: '<repository> <invitee> <role>',
    description: 'Invite an account, or a mail address, to work on one repository.',
    example: 'repository invite acme/app ada@example.com developer',
    async run({ api, print }, repository, invitee, role) {
      const address = `${repositoryPath(repository)}/invitations`;
      const { body } = await api.send<Parameters<typeof invitationLines>[2]>('POST', address, {
        body: { invitee, role },
      });
      print.done(invitationLines(invitee, repository, body), body);
    },
  });
