import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';

let folder: string;
let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'berth-cli-'));
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 1, hotLanes: 1 });
  await database.query("INSERT INTO users (name) VALUES ('ada')");
});
afterAll(async () => {
  await database.close();
  await facts.drop();
  await rm(folder, { recursive: true, force: true });
});

async function berth(...args: string[]) {
  const main = resolve(import.meta.dirname, '../main.ts');
  const env = { BERTH_DATABASE_URL: facts.url, BERTH_DATA_DIR: folder, BERTH_LOG_LEVEL: 'silent' };
  const child = spawn(process.execPath, [main, 'organization', ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr, code: code as number };
}

test('berth organization create makes one with its owner, once, and the audit log says so', async () => {
  const made = await berth('create', 'acme', '--owner', 'ada', '--description', 'Anvils');
  expect(made).toEqual({ stdout: 'Made the organization acme, owned by ada.\n', stderr: '', code: 0 });
  const owners = await database.query(
    `SELECT n.description, u.name, g.role FROM namespaces n JOIN granted_roles g ON g.namespace_id = n.id
     JOIN users u ON u.id = g.user_id WHERE n.name = 'acme'`,
  );
  expect(owners).toEqual([{ description: 'Anvils', name: 'ada', role: 4 }]);
  const rows = await database.query("SELECT action, actor_name FROM audit_log WHERE target = 'acme'");
  expect(rows).toEqual([{ action: 'organization.create', actor_name: 'berth organization create' }]);

  const again = await berth('create', 'acme', '--owner', 'ada');
  expect(again).toMatchObject({ code: 1, stderr: 'berth: the name acme cannot be taken; choose another one\n' });
});

test.each([
  [['create', 'other', '--owner', 'zed'], 'berth: there is no user zed\n'],
  [['create', 'Other', '--owner', 'ada'], 'berth: "Other" is no name for an organization\n'],
])('%j says what is wrong', async (args, stderr) => {
  expect(await berth(...args)).toEqual({ code: 1, stdout: '', stderr });
});
