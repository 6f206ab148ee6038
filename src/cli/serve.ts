import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';

export const serveCommand = (): Command =>
  new Command('serve')
    .description('Run the registry until SIGTERM or Ctrl-C.')
    .addHelpText('after', '\nWithout BERTH_DATABASE_URL it runs its own PostgreSQL in the data folder.')
    .action(async () => {
      const config = loadConfig();
      const { serve } = await import('../app.ts');
      await serve(config, createLogger(config.log));
    });
