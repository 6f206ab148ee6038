import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { commandLine } from './actor.ts';
import { AccountError, addAccount, ensureAdmin } from './accounts.ts';
import { verifyPassword } from './passwords.ts';
import { findPassword } from './sql/accounts.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 5, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

async function isPasswordOf(username: string, password: string): Promise<boolean> {
  const row = await findPassword(database, username);
  return row !== undefined && verifyPassword(password, row.secret_hash);
}

const noPassword = async (): Promise<string> => expect.unreachable('a password was generated');

describe('the administrator of the settings', () => {
  test('is made once, with the one password that was generated, however many processes start at once', async () => {
    const generated: string[] = [];
    const generate = async (): Promise<string> => {
      generated.push(`generated password ${generated.length}`);
      return generated.at(-1)!;
    };
    await Promise.all(Array.from({ length: 5 }, () => ensureAdmin(database, 'root', undefined, generate)));
    expect(generated).toEqual(['generated password 0']);
    expect(await isPasswordOf('root', 'generated password 0')).toBe(true);
  });

  test('gets the password of the settings, from the moment it is there', async () => {
    await ensureAdmin(database, 'boss', 'first password', noPassword);
    const before = await findPassword(database, 'boss');
    await ensureAdmin(database, 'boss', 'first password', noPassword);
    expect(await findPassword(database, 'boss')).toEqual(before);
    await ensureAdmin(database, 'boss', 'second password', noPassword);
    expect(await isPasswordOf('boss', 'second password')).toBe(true);
    expect(await isPasswordOf('boss', 'first password')).toBe(false);
    await ensureAdmin(database, 'boss', undefined, noPassword);
    expect(await isPasswordOf('boss', 'second password')).toBe(true);
  });

  test('that was disabled stays disabled, and does not keep Berth from starting', async () => {
    await ensureAdmin(database, 'former', 'first password', noPassword);
    await database.query(`UPDATE users SET disabled_at = now() WHERE name = 'former'`);
    await ensureAdmin(database, 'former', undefined, noPassword);
    await ensureAdmin(database, 'former', 'second password', noPassword);
    expect(await findPassword(database, 'former')).toBeUndefined();
    await database.query(`UPDATE users SET disabled_at = NULL WHERE name = 'former'`);
    expect(await isPasswordOf('former', 'second password')).toBe(true);
  });
});

const actor = commandLine('test');

describe('adding an account', () => {
  test.each(['', 'Alice', 'a/b', '_', 'a..b', 'x'.repeat(65), 'a b', 'ä'])('refuses the name %j', async (username) => {
    await expect(addAccount(database, { username, password: 'long enough', admin: false }, actor)).rejects.toThrow(
      AccountError,
    );
  });

  test('refuses a name that somebody has, and one that is the namespace of repositories', async () => {
    const account = { username: 'alice', password: 'long enough', admin: false };
    await addAccount(database, account, actor);
    await expect(addAccount(database, account, actor)).rejects.toThrow('already a user named alice');
    await database.query("INSERT INTO namespaces (name, kind) VALUES ('acme', 'organization')");
    await expect(addAccount(database, { ...account, username: 'acme' }, actor)).rejects.toThrow(
      'already the namespace',
    );
    expect(await findPassword(database, 'acme')).toBeUndefined();
  });
});
