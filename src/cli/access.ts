import { Command } from 'commander';
import { withQuery } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';

interface Explanation {
  readonly user: string;
  readonly repository: string;
  readonly action: string;
  readonly allowed: boolean;
  readonly reasons: readonly { readonly rule: string; readonly text: string }[];
  readonly roles: readonly { readonly source: string; readonly role: string }[];
  readonly changes: readonly string[];
}

export const accessCommand = (): Command =>
  new Command('access').description('Find out who may do what, and why.').addCommand(explainCommand());

const explainCommand = (): Command =>
  remoteCommand<{ tokenId?: string }>({
    name: 'explain',
    arguments: '<user> <repository> <action>',
    description: 'Say whether somebody may pull, push, delete, change settings or members, and by what.',
    options: [['--token-id <id>', 'with this personal access token of the account']],
    example: 'access explain ada acme/app push',
    async run({ api, options: { tokenId: token }, print }, user, repository, action) {
      const query = withQuery('/access/explain', { user, repository, action, token });
      const { body } = await api.send<Explanation>('GET', query);
      print.done(linesOf(body), body);
    },
  });

function linesOf({ user, repository, action, allowed, reasons, roles, changes }: Explanation): string[] {
  return [
    `${user} ${allowed ? 'may' : 'may not'} ${phrases[action] ?? action} ${repository}.`,
    ...section(
      'Because',
      reasons.map(({ text }) => text),
    ),
    ...section(
      'Roles',
      roles.map(({ source, role }) => `${role}: ${source}`),
    ),
    ...section('What would allow it', changes),
  ];
}

const phrases: Readonly<Record<string, string>> = {
  pull: 'pull from',
  push: 'push to',
  delete: 'delete in',
  settings: 'change the settings of',
  members: 'change the members of',
};

const section = (heading: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : [`${heading}:`, ...lines.map((line) => `  ${line}`)];
