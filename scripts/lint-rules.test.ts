import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const wrong = 'eslint(no-restricted-imports)';

/** A line of a file, and the rule that refuses it, if any. */
const lines: readonly { file: string; line: string; refusedBy?: string }[] = [
  // down the floors
  { file: 'src/main.ts', line: `import './cli/x.ts';` },
  { file: 'src/cli/a.ts', line: `import '../app.ts';` },
  { file: 'src/app.ts', line: `import './http/x.ts';` },
  { file: 'src/http/oci/a.ts', line: `import '../../registry/x.ts';` },
  { file: 'src/http/a.ts', line: `import '../oci/x.ts';` },
  { file: 'src/registry/sql/a.ts', line: `import '../../database/x.ts';` },
  { file: 'src/storage/disk/a.ts', line: `import '../port.ts';` },
  // up
  { file: 'src/app.ts', line: `import './cli/x.ts';`, refusedBy: wrong },
  { file: 'src/app.ts', line: `import './main.ts';`, refusedBy: wrong },
  { file: 'src/cli/a.ts', line: `import '../main.ts';`, refusedBy: wrong },
  { file: 'src/http/a.ts', line: `import '../app.ts';`, refusedBy: wrong },
  { file: 'src/http/api/a.ts', line: `import '../../app.ts';`, refusedBy: wrong },
  { file: 'src/registry/a.ts', line: `import '../http/x.ts';`, refusedBy: wrong },
  { file: 'src/registry/sql/a.ts', line: `import '../../http/x.ts';`, refusedBy: wrong },
  { file: 'src/storage/s3/a.ts', line: `import '../../registry/x.ts';`, refusedBy: wrong },
  { file: 'src/oci/a.ts', line: `import '../config/x.ts';`, refusedBy: wrong },
  { file: 'src/access/a.ts', line: `export * from '../registry/x.ts';`, refusedBy: wrong },
  { file: 'src/access/a.ts', line: `export type { X } from '../registry/x.ts';`, refusedBy: wrong },
  { file: 'src/access/a.ts', line: `import '../../src/registry/x.ts';`, refusedBy: wrong },
  // beside
  { file: 'src/storage/b.ts', line: `import '../database/x.ts';`, refusedBy: wrong },
  { file: 'src/telemetry/a.ts', line: `import '../config/x.ts';`, refusedBy: wrong },
  { file: 'src/jobs/a.ts', line: `import '../http/x.ts';`, refusedBy: wrong },
  // packages at home
  { file: 'src/http/b.ts', line: `import 'express';` },
  { file: 'src/http/api/b.ts', line: `import 'express';` },
  { file: 'src/http/api/b.ts', line: `import 'multer';` },
  { file: 'src/database/a.ts', line: `import 'pg';` },
  { file: 'src/access/sql/a.ts', line: `import 'pg';` },
  { file: 'src/access/b.ts', line: `import 'jsonwebtoken';` },
  { file: 'src/access/b.ts', line: `import 'pg-something-else';` },
  { file: 'src/storage/s3/b.ts', line: `import '@aws-sdk/client-s3';` },
  // packages elsewhere
  { file: 'src/app.ts', line: `import 'express';`, refusedBy: wrong },
  { file: 'src/main.ts', line: `import 'pg/lib/client.js';`, refusedBy: wrong },
  { file: 'src/http/c.ts', line: `import 'multer';`, refusedBy: wrong },
  { file: 'src/http/c.ts', line: `import 'pg';`, refusedBy: wrong },
  { file: 'src/access/c.ts', line: `export type { Pool } from 'pg';`, refusedBy: wrong },
  { file: 'src/access/sql/c.ts', line: `import 'express';`, refusedBy: wrong },
  { file: 'src/registry/c.ts', line: `import 'jsonwebtoken';`, refusedBy: wrong },
  { file: 'src/storage/disk/c.ts', line: `import '@aws-sdk/client-s3';`, refusedBy: wrong },
  // circles
  { file: 'src/events/a.ts', line: `import './b.ts';`, refusedBy: 'import(no-cycle)' },
  { file: 'src/events/b.ts', line: `import './a.ts';`, refusedBy: 'import(no-cycle)' },
  // the environment is read in one file, promises are waited for
  { file: 'src/config/load.ts', line: `void process.env['BERTH_X'];` },
  { file: 'src/config/other.ts', line: `void process.env['BERTH_X'];`, refusedBy: 'node(no-process-env)' },
  { file: 'src/hub/a.ts', line: `Promise.resolve(1);`, refusedBy: 'typescript(no-floating-promises)' },
];

let house: string;
let found: readonly string[];

beforeAll(async () => {
  house = await mkdtemp(join(tmpdir(), 'berth-lint-'));
  for (const file of ['oxlint.config.ts', 'tsconfig.json', 'package.json'])
    await cp(join(root, file), join(house, file));
  await symlink(join(root, 'node_modules'), join(house, 'node_modules'));
  for (const [file, inFile] of Map.groupBy(lines, ({ file }) => file)) {
    await mkdir(dirname(join(house, file)), { recursive: true });
    await writeFile(join(house, file), inFile.map(({ line }) => `${line}\n`).join(''));
  }
  found = await lint();
});

afterAll(() => rm(house, { recursive: true, force: true }));

/** Every finding as `file:line rule`. */
async function lint(): Promise<string[]> {
  const oxlint = join(root, 'node_modules', '.bin', 'oxlint');
  const output = await new Promise<string>((done) => {
    execFile(oxlint, ['--format=json', 'src'], { cwd: house, maxBuffer: 1 << 26 }, (_error, stdout) => done(stdout));
  });
  const report = JSON.parse(output) as {
    diagnostics: { code: string; filename: string; labels: { span: { line: number } }[] }[];
  };
  return report.diagnostics.map(({ filename, code, labels }) => `${filename}:${labels[0]?.span.line} ${code}`);
}

test.each(lines.map((entry) => ({ ...entry, verdict: entry.refusedBy ?? 'fine' })))(
  '$file: $line -> $verdict',
  ({ file, line, refusedBy }) => {
    const inFile = lines.filter((other) => other.file === file).map((other) => other.line);
    const at = `${file}:${inFile.indexOf(line) + 1} `;
    expect(found.filter((finding) => finding.startsWith(at))).toEqual(refusedBy === undefined ? [] : [at + refusedBy]);
  },
);

test('every room of the house stands on a floor', async () => {
  const rooms = await readdir(join(root, 'src'));
  const refused: string[] = [];
  await rm(join(house, 'src'), { recursive: true });
  for (const room of rooms.filter((name) => name !== 'main.ts')) {
    const file = room.endsWith('.ts') ? join('src', room) : join('src', room, 'probe.ts');
    await mkdir(dirname(join(house, file)), { recursive: true });
    await writeFile(join(house, file), `import '${room.endsWith('.ts') ? './' : '../'}main.ts';\n`);
    refused.push(`${file}:1 ${wrong}`);
  }
  expect((await lint()).toSorted()).toEqual(refused.toSorted());
});
