import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { readPassword } from './read-password.ts';

export const userCommand = (): Command => new Command('user').description('Manage accounts.').addCommand(addCommand());

interface AddOptions {
  readonly admin: boolean;
  readonly passwordStdin: boolean;
}

const addCommand = (): Command =>
  new Command('add')
    .description('Add an account. Without --password-stdin a password is generated and printed once.')
    .argument('<name>', 'lower-case letters and digits, with single . _ or - between them')
    .option('--admin', 'the account may do everything', false)
    .option('--password-stdin', 'read the password from the standard input', false)
    .action(async (username: string, { admin, passwordStdin }: AddOptions) => {
      const config = loadConfig();
      const chosen = passwordStdin ? { password: await readPassword(process.stdin) } : {};
      const { addUser } = await import('../app.ts');
      const { password } = await addUser(config, createLogger(config.log), { username, admin, ...chosen });
      process.stdout.write(`Added ${admin ? 'the administrator' : 'the user'} ${username}.\n`);
      if (password !== undefined) process.stdout.write(`Password (it is not shown again): ${password}\n`);
    });
