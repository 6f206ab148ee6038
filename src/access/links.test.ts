import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { parseEmailAddress, type EmailAddress } from '../config/email-address.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { ApiError } from '../oci/problem.ts';
import { addAccount } from './accounts.ts';
import { commandLine } from './actor.ts';
import { checkLink, consumeLink, makeLink, siteOf, sweepLinksAndSessions } from './links.ts';
import { createSecret, hashOfSecret } from './secrets.ts';
import { findPassword } from './sql/accounts.ts';
import { insertSession } from './sql/sessions.ts';

let facts: TestDatabase;
let database: Database;
const ada = { username: 'ada', password: 'a fine password', admin: false };
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 10, hotLanes: 1 });
  await addAccount(database, ada, commandLine('test'));
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const email = parseEmailAddress('ada@mail.example') as EmailAddress;
const registration = { purpose: 'registration', email, userId: null, createdBy: null, hours: 24 } as const;

describe('a link', () => {
  test('is kept as a hash only, and works once, for one of many at once', async () => {
    const { token } = await makeLink(database, registration);
    const rows = await database.query('SELECT * FROM one_time_links');
    expect(JSON.stringify(rows)).toContain(hashOfSecret(token));
    expect(JSON.stringify(rows)).not.toContain(token);
    await expect(checkLink(database, 'registration', token)).resolves.toMatchObject({ email });
    const used = await Promise.allSettled(
      Array.from({ length: 8 }, () => database.transaction((queryer) => consumeLink(queryer, 'registration', token))),
    );
    expect(used.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('that failed at what it was for works again', async () => {
    const { token } = await makeLink(database, registration);
    const failing = database.transaction(async (queryer) => {
      await consumeLink(queryer, 'registration', token);
      throw new Error('the name is taken');
    });
    await expect(failing).rejects.toThrow('the name is taken');
    await expect(consumeLink(database, 'registration', token)).resolves.toMatchObject({ email });
  });

  test('ends the older ones of its purpose and owner, and no others', async () => {
    const other = { ...registration, email: parseEmailAddress('bob@mail.example') as EmailAddress };
    const { token: others } = await makeLink(database, other);
    const { token: older } = await makeLink(database, registration);
    const { token: newer } = await makeLink(database, registration);
    await expect(checkLink(database, 'registration', older)).rejects.toThrow(ApiError);
    await expect(checkLink(database, 'registration', newer)).resolves.toMatchObject({ email });
    await expect(checkLink(database, 'registration', others)).resolves.toMatchObject({ email: other.email });
    await expect(checkLink(database, 'password_reset', newer)).rejects.toThrow(ApiError);
  });

  test.each(['', 'bth_', 'x'.repeat(46), createSecret().text])(
    'that was never made, such as %j, does not work',
    async (text) => {
      await expect(checkLink(database, 'registration', text)).rejects.toThrow('does not work');
      await expect(consumeLink(database, 'registration', text)).rejects.toThrow('does not work');
    },
  );
});

test('what is long over is swept; what is not, or is named by history, stays', async () => {
  const password = (await findPassword(database, ada.username))!;
  const session = async (expiredDays: number): Promise<number> => {
    const row = { userId: password.user_id, rootId: password.credential_id, ttlHours: 1, address: null, client: null };
    const { id } = await insertSession(database, { ...row, secretHash: createSecret().hash });
    await database.query(`UPDATE credentials SET expires_at = now() - make_interval(days => $2) WHERE id = $1`, [
      id,
      expiredDays,
    ]);
    return id;
  };
  const [gone, moved, recent, live] = [await session(2), await session(2), await session(0), await session(-1)];
  await database.query(
    `INSERT INTO tag_history (repository_id, name, to_digest, credential_id) VALUES (1, 'v1', '\\x01', $1)`,
    [moved],
  );
  await database.query('DELETE FROM one_time_links');
  await makeLink(database, registration);
  await database.query(`UPDATE one_time_links SET expires_at = now() - interval '2 days'`);
  const { token } = await makeLink(database, registration);

  expect(await sweepLinksAndSessions(database, AbortSignal.timeout(10_000))).toBe(2);
  const left = await database.query<{ id: number }>(`SELECT id FROM credentials WHERE kind = 'session' ORDER BY id`);
  expect(left.map(({ id }) => id)).toEqual([moved, recent, live]);
  expect(left.map(({ id }) => id)).not.toContain(gone);
  await expect(checkLink(database, 'registration', token)).resolves.toMatchObject({ email });
  expect(await sweepLinksAndSessions(database, AbortSignal.timeout(10_000))).toBe(0);
});

test.each([
  [{ publicUrl: new URL('https://hub.example'), tls: undefined }, 'https://hub.example/'],
  [{ publicUrl: undefined, tls: undefined }, 'http://localhost:5000/'],
  [{ publicUrl: undefined, tls: {} }, 'https://localhost:5000/'],
])('links of %o lead to %s', (settings, url) => {
  const site = siteOf({ ...settings, listen: { host: '0.0.0.0', port: 5000 }, mail: undefined });
  expect(site).toEqual({ publicUrl: new URL(url), sendsMail: false });
});
