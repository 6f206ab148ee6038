import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { settingNames } from '../src/config/settings.ts';
import { settingsTable, withSettingsTable } from './settings-table.ts';

const readme = await readFile(join(import.meta.dirname, '..', 'README.md'), 'utf8');

test("README.md's table has the settings of the schema", () => {
  expect(readme).toContain(settingsTable());
  expect(withSettingsTable(readme)).toBe(readme);
});

test('every setting has a row of four cells, with its default', () => {
  const rows = settingsTable().split('\n').slice(2);
  expect(rows.map((row) => /^\| `(BERTH_\w+)` /.exec(row)?.[1])).toEqual(settingNames);
  for (const row of rows) expect(row.match(/(?<!\\)\|/g)).toHaveLength(5);
  expect(rows).toContainEqual(expect.stringMatching(/^\| `BERTH_LISTEN` \| `127\.0\.0\.1:5000` \|/));
});

test('an old table is replaced and nothing else', () => {
  const old = 'before\n<!-- settings -->\n| old |\n<!-- /settings -->\nafter\n';
  expect(withSettingsTable(old)).toBe(`before\n<!-- settings -->\n${settingsTable()}\n<!-- /settings -->\nafter\n`);
  expect(() => withSettingsTable('no markers')).toThrow('README.md has no <!-- settings -->');
});
