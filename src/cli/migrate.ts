import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';

export const migrateCommand = (): Command =>
  new Command('migrate')
    .description('Bring the database to the schema of this version, and end.')
    .addHelpText('after', '\nberth serve does this too; any number may do it at once.')
    .action(async () => {
      const config = loadConfig();
      const { runMigrations } = await import('../app.ts');
      await runMigrations(config, createLogger(config.log));
    });
