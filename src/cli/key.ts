import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';

export const keyCommand = (): Command =>
  new Command('key')
    .description('Manage the keys that sign access tokens.')
    .addCommand(listCommand())
    .addCommand(rotateCommand())
    .addCommand(revokeCommand());

/** What the commands work with; loaded when one of them runs. */
async function open() {
  const config = loadConfig();
  const [{ withDatabase }, { commandLine }, keys] = await Promise.all([
    import('../app/facts.ts'),
    import('../access/actor.ts'),
    import('../access/signing-keys.ts'),
  ]);
  return { config, logger: createLogger(config.log), withDatabase, commandLine, ...keys };
}

const listCommand = (): Command =>
  new Command('list').description('List the keys, the newest first.').action(async () => {
    const { config, logger, withDatabase, signingKeyStates } = await open();
    const states = await withDatabase(config, logger, signingKeyStates);
    for (const { kid, status, createdAt } of states)
      process.stdout.write(`${kid}  ${status.padEnd(8)}  since ${createdAt.toISOString()}\n`);
  });

const rotateCommand = (): Command =>
  new Command('rotate')
    .description(
      'Sign with a new key from now on, without a restart. Tokens signed before stay valid until they expire.',
    )
    .action(async () => {
      const { config, logger, withDatabase, commandLine, rotateSigningKey } = await open();
      await withDatabase(config, logger, (database) =>
        database.transaction((queryer) => rotateSigningKey(queryer, commandLine('berth key rotate'))),
      );
      process.stdout.write('New tokens are signed with a new key.\n');
    });

const revokeCommand = (): Command =>
  new Command('revoke')
    .description(
      'Drop a compromised key, without a restart: every token that it signed fails with the next request. Where it was the current one, a new one takes its place.',
    )
    .argument('<kid>', 'the id of the key, as `berth key list` shows it')
    .action(async (kid: string) => {
      const { config, logger, withDatabase, commandLine, revokeSigningKey } = await open();
      await withDatabase(config, logger, (database) =>
        database.transaction((queryer) => revokeSigningKey(queryer, commandLine('berth key revoke'), kid)),
      );
      process.stdout.write(`No token of the key ${kid} is believed any more.\n`);
    });
