import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import type { Actor } from './actor.ts';
import { recordAudit, type AuditEntry } from './audit.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const ada: Actor = {
  credentialId: 7,
  userId: 3,
  name: 'ada',
  address: '192.0.2.1',
  client: 'docker/29.1',
  requestId: 'req-1',
};
const entry: AuditEntry = { action: 'repository.visibility', target: 'acme/app', outcome: 'done' };

/** Records the entry and reads the row back. */
async function recorded(fields: Partial<AuditEntry>, actor: Actor = ada): Promise<Record<string, unknown>> {
  return database.transaction(async (queryer) => {
    await recordAudit(queryer, actor, { ...entry, ...fields });
    const rows = await queryer.query<Record<string, unknown>>('SELECT * FROM audit_log ORDER BY id DESC LIMIT 1');
    return rows[0]!;
  });
}

describe('a row', () => {
  test('says who did what to what, from where, and what it was before', async () => {
    const fields = {
      namespaceId: 4,
      repositoryId: 5,
      before: { visibility: 'private' },
      after: { visibility: 'public' },
    };
    expect(await recorded(fields)).toEqual({
      id: expect.any(Number),
      at: expect.any(Date),
      credential_id: 7,
      user_id: 3,
      actor_name: 'ada',
      address: '192.0.2.1',
      client: 'docker/29.1',
      request_id: 'req-1',
      action: 'repository.visibility',
      outcome: 'done',
      namespace_id: 4,
      repository_id: 5,
      target: 'acme/app',
      before: { visibility: 'private' },
      after: { visibility: 'public' },
      reason: null,
    });
  });

  test('says why something was denied, also of nobody in particular', async () => {
    const nobody = {
      credentialId: null,
      userId: null,
      name: 'anonymous',
      address: null,
      client: null,
      requestId: null,
    };
    expect(await recorded({ outcome: 'denied', reason: 'sign in first' }, nobody)).toMatchObject({
      user_id: null,
      outcome: 'denied',
      reason: 'sign in first',
      before: null,
      after: null,
    });
  });

  test('goes with the transaction of its change', async () => {
    const target = 'never/happened';
    const change = database.transaction(async (queryer) => {
      await recordAudit(queryer, ada, { ...entry, target });
      throw new Error('the change failed');
    });
    await expect(change).rejects.toThrow('the change failed');
    expect(await database.query('SELECT 1 FROM audit_log WHERE target = $1', [target])).toEqual([]);
  });
});

describe('what a client sends', () => {
  test('is cut to what a row may hold', async () => {
    const long = 'x'.repeat(5000);
    const row = await recorded(
      { target: long, reason: long },
      { ...ada, name: long, client: long, address: long, requestId: long },
    );
    const lengths = Object.entries(row).map(([name, value]) => [name, typeof value === 'string' ? value.length : 0]);
    expect(Object.fromEntries(lengths)).toMatchObject({
      target: 512,
      reason: 1024,
      actor_name: 256,
      client: 256,
      address: 64,
      request_id: 128,
    });
  });

  test('may be any text: NULs go, broken characters are replaced', async () => {
    const text = 'a\0b\ud800c\r\n\u{1f6a2}';
    const kept = 'ab\ufffdc\r\n\u{1f6a2}';
    const row = await recorded({ target: text, reason: text, after: { text } }, { ...ada, client: text });
    expect(row).toMatchObject({ target: kept, reason: kept, client: kept, after: { text } });
  });

  test('does not fill the log: a large value is cut to a summary', async () => {
    const row = await recorded({ before: 'x'.repeat(64 * 1024 - 2), after: { text: 'é'.repeat(64 * 1024) } });
    expect(row['before']).toHaveLength(64 * 1024 - 2);
    expect(row['after']).toEqual({ cut: true, bytes: 2 * 64 * 1024 + 11, start: `{"text":"${'é'.repeat(1024 - 9)}` });
  });

  test('is not written where it has the name of a secret', async () => {
    const row = await recorded({ after: { name: 'ci', password: 'hunter2', nested: [{ secret: 'hunter2' }] } });
    expect(row['after']).toEqual({ name: 'ci', password: '***', nested: [{ secret: '***' }] });
  });
});
