// node scripts/compile.mjs
//
// Loads every file of Berth once, so that Node keeps what it compiles of them (NODE_COMPILE_CACHE): the first start is then
// as quick as every other one, and its process as small, since nothing loads the compiler of TypeScript for good.
import { globSync } from 'node:fs';
import { join } from 'node:path';

const source = join(import.meta.dirname, '..', 'src');
const isLibrary = (file) => file !== 'main.ts' && !file.endsWith('.test.ts');

for (const file of globSync('**/*.ts', { cwd: source }).filter(isLibrary)) await import(join(source, file));
// The command itself, which ends the process.
process.argv.splice(2, Infinity, '--version');
await import(join(source, 'main.ts'));
