import { Command } from 'commander';
import { path } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';

interface Member {
  readonly user: string;
  readonly role: string;
  readonly createdAt: string;
}

interface Removal {
  readonly teams: readonly string[];
  readonly repositories: readonly string[];
}

interface NewInvitation {
  readonly id: number;
  readonly expiresAt: string;
  readonly token?: string;
}

export const memberCommand = (): Command =>
  new Command('member')
    .description('Manage who is in an organization.')
    .addCommand(listCommand())
    .addCommand(setCommand())
    .addCommand(removeCommand())
    .addCommand(inviteCommand());

const listCommand = (): Command =>
  remoteCommand({
    name: 'list',
    arguments: '<organization>',
    description: 'List the members of an organization.',
    example: 'member list acme',
    run: ({ api, print }, organization) =>
      print.list(api.items<Member>(path`/namespaces/${organization}/members`), {
        user: ({ user }) => user,
        role: ({ role }) => role,
        since: ({ createdAt }) => createdAt,
      }),
  });

const setCommand = (): Command =>
  remoteCommand({
    name: 'set',
    arguments: '<organization> <user> <role>',
    description:
      'Give a member another role: reader, developer, maintainer or owner. An administrator also puts somebody in by it.',
    example: 'member set acme ada maintainer',
    async run({ api, print }, organization, user, role) {
      const address = path`/namespaces/${organization}/members/${user}`;
      const { body } = await api.send<Member>('PUT', address, { body: { role } });
      print.done(`${body.user} is ${body.role} of ${organization}.`, body);
    },
  });

const removeCommand = (): Command =>
  remoteCommand({
    name: 'remove',
    arguments: '<organization> <user>',
    description: 'Take somebody out of an organization, its teams and its repositories.',
    example: 'member remove acme ada',
    async run({ api, print }, organization, user) {
      const { body } = await api.send<Removal>('DELETE', path`/namespaces/${organization}/members/${user}`);
      const lost = [...body.teams.map((team) => `the team ${team}`), ...body.repositories];
      const also = lost.length === 0 ? '' : `, nor of ${lost.join(', ')}`;
      print.done(`${user} is no member of ${organization} any more${also}.`, body);
    },
  });

const inviteCommand = (): Command =>
  remoteCommand({
    name: 'invite',
    arguments: '<organization> <invitee> <role>',
    description: 'Invite an account, or a mail address, to an organization.',
    example: 'member invite acme ada@example.com developer',
    async run({ api, print }, organization, invitee, role) {
      const address = path`/namespaces/${organization}/invitations`;
      const { body } = await api.send<NewInvitation>('POST', address, { body: { invitee, role } });
      print.done(invitationLines(invitee, organization, body), body);
    },
  });

/** What there is to say of a new invitation to an organization or a repository. */
export function invitationLines(invitee: string, to: string, { id, expiresAt, token }: NewInvitation): string[] {
  const said = `Invited ${invitee} to ${to}, until ${expiresAt} (invitation ${id}).`;
  // Without a mail server, whoever invites hands it over.
  return token === undefined ? [said] : [said, `Token of the invitation (it is not shown again): ${token}`];
}
