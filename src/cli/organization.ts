import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { path } from './remote/client.ts';
import { remoteCommand } from './remote/command.ts';
import { planOrDelete } from './remote/deletion.ts';
import { UsageError } from './usage-error.ts';

export const organizationCommand = (): Command =>
  new Command('organization')
    .description('Manage organizations.')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(deleteCommand());

interface Namespace {
  readonly name: string;
  readonly kind: string;
  readonly description: string;
  readonly role: string | null;
  readonly createdAt: string;
}

interface CreateOptions {
  readonly owner: string;
  readonly description: string;
}

const createCommand = (): Command =>
  new Command('create')
    .description('Make an organization, whoever may make them by the settings.')
    .argument('<name>', 'lower-case letters and digits, with single . _ or - between them')
    .requiredOption('--owner <user>', 'the account that owns it')
    .option('--description <text>', 'plain text', '')
    .action(async (name: string, { owner, description }: CreateOptions) => {
      const config = loadConfig();
      const [{ withDatabase }, { commandLine }, { isAccountName }, { createOrganization }, { findUserId }] =
        await Promise.all([
          import('../app/facts.ts'),
          import('../access/actor.ts'),
          import('../access/names.ts'),
          import('../access/organizations.ts'),
          import('../access/sql/members.ts'),
        ]);
      if (!isAccountName(name)) throw new UsageError(`${JSON.stringify(name)} is no name for an organization`);
      await withDatabase(config, createLogger(config.log), (database) =>
        database.transaction(async (queryer) => {
          const ownerId = await findUserId(queryer, owner);
          if (ownerId === undefined) throw new UsageError(`there is no user ${owner}`);
          const actor = commandLine('berth organization create');
          await createOrganization(queryer, actor, { name, description, ownerId });
        }),
      );
      process.stdout.write(`Made the organization ${name}, owned by ${owner}.\n`);
    });

const listCommand = (): Command =>
  remoteCommand({
    name: 'list',
    description: 'List the organizations that you are in.',
    example: 'organization list --user ada --password-stdin < password',
    run({ api, print }) {
      async function* organizations() {
        for await (const namespace of api.items<Namespace>('/namespaces'))
          if (namespace.kind === 'organization') yield namespace;
      }
      return print.list(organizations(), {
        organization: ({ name }) => name,
        'your role': ({ role }) => role,
        since: ({ createdAt }) => createdAt,
        description: ({ description }) => description,
      });
    },
  });

const showCommand = (): Command =>
  remoteCommand({
    name: 'show',
    arguments: '<organization>',
    description: 'Show an organization, or the namespace of an account.',
    example: 'organization show acme',
    async run({ api, print }, organization) {
      const { body } = await api.send<Namespace>('GET', path`/namespaces/${organization}`);
      const { name, kind, description, role, createdAt } = body;
      const lines = [
        `${name}: ${kind}, since ${createdAt}`,
        ...(description === '' ? [] : [description]),
        `Your role: ${role ?? 'none'}`,
      ];
      print.done(lines, body);
    },
  });

const deleteCommand = (): Command =>
  remoteCommand<{ yes?: true }>({
    name: 'delete',
    arguments: '<organization>',
    description: 'Show what would go with an organization; with --yes, delete it and all that is in it.',
    options: [['--yes', 'delete it']],
    example: 'organization delete acme --yes',
    run: (call, name) => planOrDelete(call, path`/namespaces/${name}`, `the organization ${name}`),
  });
