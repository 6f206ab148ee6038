// Everything that is checked without running Berth; `npm run lint -- --fix` repairs what a machine can repair.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const fix = process.argv.includes('--fix');

/** What each check is for, and the command that makes it. */
const checks: Readonly<Record<string, readonly string[]>> = {
  'rules and floors': ['oxlint', ...(fix ? ['--fix'] : []), '--deny-warnings'],
  format: ['oxfmt', ...(fix ? [] : ['--check'])],
  types: ['tsc', '-p', '.'],
  'dead exports and dependencies': ['knip'],
  "the README's settings": ['node', 'scripts/settings-table.ts', ...(fix ? [] : ['--check'])],
};

const failed: string[] = [];
for (const [name, [program = '', ...args]] of Object.entries(checks)) {
  const started = performance.now();
  const child = spawn(join(root, 'node_modules', '.bin', program), args, { cwd: root, stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) failed.push(name);
  console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

if (failed.length > 0) {
  console.log(`\nFailed: ${failed.join(', ')}. npm run lint -- --fix repairs what a machine can repair.`);
  process.exitCode = 1;
}
