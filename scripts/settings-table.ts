// node scripts/settings-table.ts [--check]
//
// Writes the table of settings into README.md, between its markers; with --check it only says whether it would change.
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { settingNames, settingOf } from '../src/config/settings.ts';

const START = '<!-- settings -->';
const END = '<!-- /settings -->';
const readmePath = join(import.meta.dirname, '..', 'README.md');

/** The table in Markdown, a row for every setting in the order of the schema. */
export function settingsTable(): string {
  const rows = settingNames.map((name) => {
    const { default: fallback, unit, doc, type } = settingOf(name);
    const standard = fallback === undefined ? '' : `\`${fallback}\`${unit === undefined ? '' : ` ${unit}`}`;
    return [`\`${name}\``, standard, String(type.description).replaceAll('|', '\\|'), doc];
  });
  const table = [['Setting', 'Default', 'Value', 'Meaning'], ['---', '---', '---', '---'], ...rows];
  return table.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/**
 * The README with the table of now between its markers.
 * @throws Error when the markers are not there
 */
export function withSettingsTable(readme: string): string {
  const [before, rest] = split(readme, START);
  const [, after] = split(rest, END);
  return `${before}${START}\n${settingsTable()}\n${END}${after}`;
}

function split(text: string, marker: string): [string, string] {
  const at = text.indexOf(marker);
  if (at < 0) throw new Error(`README.md has no ${marker}`);
  return [text.slice(0, at), text.slice(at + marker.length)];
}

async function main(checkOnly: boolean): Promise<void> {
  const readme = await readFile(readmePath, 'utf8');
  const wanted = withSettingsTable(readme);
  if (readme === wanted) return;
  if (checkOnly) {
    process.stderr.write(
      "README.md's settings are not those of the schema: node scripts/run.mjs scripts/settings-table.ts\n",
    );
    process.exitCode = 1;
  } else {
    await writeFile(readmePath, wanted);
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === import.meta.filename) {
  await main(process.argv.includes('--check'));
}
