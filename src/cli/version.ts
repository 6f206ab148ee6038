import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';

export const versionCommand = (): Command =>
  new Command('version').description('Print the version of Berth and of its Node.').action(() => {
    process.stdout.write(`berth ${readVersion()} (Node ${process.versions.node})\n`);
  });

/** The version that package.json names. */
export function readVersion(): string {
  const manifest = readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
