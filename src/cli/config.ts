import { Command } from 'commander';
import { loadSettings, type SettingInEffect } from '../config/load.ts';

export const configCommand = (): Command =>
  new Command('config').description('Look at the settings.').addCommand(checkCommand());

const checkCommand = (): Command =>
  new Command('check')
    .description('Print every setting in effect and where it comes from, or all that is wrong with them.')
    .action(() => {
      const { inEffect } = loadSettings();
      process.stdout.write(inEffect.map(line).join(''));
    });

function line({ name, shown, source }: SettingInEffect): string {
  return shown === undefined ? `${name} is not set\n` : `${name}=${shown} (${source})\n`;
}
