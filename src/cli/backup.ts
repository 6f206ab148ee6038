import { Command } from 'commander';
import { remoteCommand } from './remote/command.ts';
import { UsageError } from './usage-error.ts';

interface Hold {
  readonly held: boolean;
  readonly since: string | null;
  readonly until: string | null;
  readonly by: string | null;
}

const defaultHours = '24';

export const backupCommand = (): Command =>
  new Command('backup')
    .description('Keep storage still while a backup is made: hold, dump the database, copy the objects, release.')
    .addCommand(holdCommand())
    .addCommand(statusCommand())
    .addCommand(releaseCommand());

const holdCommand = (): Command =>
  remoteCommand<{ readonly hours: string }>({
    name: 'hold',
    description:
      'Delete nothing from storage until the release, or until the hours are over. Pushes, pulls and deletions go on; only the bytes stay.',
    example: 'backup hold --hours 6',
    options: [['--hours <hours>', 'when it ends by itself', defaultHours]],
    async run({ api, options, print }) {
      if (!/^[1-9]\d*$/.test(options.hours)) throw new UsageError(`--hours ${options.hours}: expected a whole number`);
      const { body } = await api.send<Hold>('PUT', '/storage/hold', { body: { hours: Number(options.hours) } });
      print.done(`Nothing is deleted from storage until ${body.until}, or berth backup release.`, body);
    },
  });

const statusCommand = (): Command =>
  remoteCommand({
    name: 'status',
    description: 'Say whether storage is held.',
    example: 'backup status',
    async run({ api, print }) {
      const { body } = await api.send<Hold>('GET', '/storage/hold');
      if (body.held) print.done(`Held by ${body.by} since ${body.since}, until ${body.until}.`, body);
      else print.done('Not held: what nothing names any more is deleted from storage.', body);
    },
  });

const releaseCommand = (): Command =>
  remoteCommand({
    name: 'release',
    description: 'Let deletions from storage go on.',
    example: 'backup release',
    async run({ api, print }) {
      await api.send('DELETE', '/storage/hold');
      print.done('What nothing names any more is deleted from storage again.');
    },
  });
