import { Command } from 'commander';
import { accessCommand } from './access.ts';
import { apiCommand } from './api.ts';
import { auditCommand } from './audit.ts';
import { backupCommand } from './backup.ts';
import { configCommand } from './config.ts';
import { keyCommand } from './key.ts';
import { memberCommand } from './member.ts';
import { migrateCommand } from './migrate.ts';
import { organizationCommand } from './organization.ts';
import { repositoryCommand } from './repository.ts';
import { robotCommand } from './robot.ts';
import { serveCommand } from './serve.ts';
import { sessionCommand } from './session.ts';
import { endAtSignals } from './signals.ts';
import { storageCommand } from './storage.ts';
import { teamCommand } from './team.ts';
import { tokenCommand } from './token.ts';
import { userCommand } from './user.ts';
import { readVersion, versionCommand } from './version.ts';

/**
 * The `berth` command. A command's rooms are imported when it runs, so that `berth --help` and `berth config check`
 * wait for none of them.
 */
export function createProgram(): Command {
  return new Command('berth')
    .description('A home port for container images.')
    .version(readVersion(), '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Print this help.')
    .helpCommand('help [command]', 'Print the help of a command.')
    .addHelpText(
      'after',
      '\nSettings come from BERTH_* environment variables or berth.yaml; see the README, or berth config check.',
    )
    .configureHelp({ showGlobalOptions: false })
    .showHelpAfterError('(berth --help prints what there is)')
    .hook('preAction', (_program, command) => {
      if (command.name() !== 'serve') endAtSignals();
    })
    .addCommand(serveCommand())
    .addCommand(migrateCommand())
    .addCommand(userCommand())
    .addCommand(organizationCommand())
    .addCommand(memberCommand())
    .addCommand(teamCommand())
    .addCommand(repositoryCommand())
    .addCommand(robotCommand())
    .addCommand(tokenCommand())
    .addCommand(sessionCommand())
    .addCommand(accessCommand())
    .addCommand(auditCommand())
    .addCommand(apiCommand())
    .addCommand(keyCommand())
    .addCommand(backupCommand())
    .addCommand(storageCommand())
    .addCommand(configCommand())
    .addCommand(versionCommand());
}
