import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { UsageError } from './usage-error.ts';

export const organizationCommand = (): Command =>
  new Command('organization').description('Manage organizations.').addCommand(createCommand());

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
          import('../app.ts'),
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
