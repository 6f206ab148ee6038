import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';

export const keyCommand = (): Command =>
  new Command('key').description('Manage the keys that sign access tokens.').addCommand(rotateCommand());

const rotateCommand = (): Command =>
  new Command('rotate')
    .description(
      'Sign with a new key from now on, without a restart. Tokens signed before stay valid until they expire.',
    )
    .action(async () => {
      const config = loadConfig();
      const { rotateSigningKey } = await import('../app.ts');
      await rotateSigningKey(config, createLogger(config.log));
      process.stdout.write('New tokens are signed with a new key.\n');
    });
