/** `Idempotency-Key`: the same creation asked for twice is done once. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deleteExpiredIdempotencyKeys } from '../../src/access/idempotency.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startApiServer, type ApiServer } from '../support/api-server.ts';

let server: ApiServer;
let alice: Api;
beforeAll(async () => {
  server = await startApiServer();
  alice = await apiOf(server.url, { token: 'alice' });
});
afterAll(() => server.stop());
beforeEach(async () => {
  await server.database.query('DELETE FROM things');
  await server.database.query('DELETE FROM idempotency_keys');
});

const count = async (table: 'things' | 'idempotency_keys'): Promise<number> =>
  (await server.database.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`))[0]!.n;
const create = (api: Api, key: string, body: unknown = { name: 'one' }) =>
  api.post('/things', body).set('Idempotency-Key', key);

describe('the same request again', () => {
  test('gets the first answer, secret and all, and says so', async () => {
    const key = randomUUID();
    const first = await create(alice, key);
    expect(first.status).toBe(201);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    const second = await create(alice, key);
    expect(second.status).toBe(201);
    expect(second.text).toBe(first.text);
    expect(second.headers['location']).toBe(first.headers['location']);
    expect(second.headers['idempotency-replayed']).toBe('true');
    expect(second.headers['x-request-id']).not.toBe(first.headers['x-request-id']);
    expect(await count('things')).toBe(1);
  });

  test('in another order of fields is the same', async () => {
    const key = randomUUID();
    const first = await create(alice, key, { name: 'one', note: 'x' });
    expect((await create(alice, key, { note: 'x', name: 'one' })).text).toBe(first.text);
  });

  test('at the same time: all get one answer', async () => {
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 6 }, async () => create(alice, key)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    expect(answers.filter(({ headers }) => headers['idempotency-replayed'] === undefined)).toHaveLength(1);
    expect(await count('things')).toBe(1);
  });

  test.each([
    ['gives up: the second gets the answer of the first', 'ROLLBACK', 201, 1],
    ['wins: both fail alike, and nothing is remembered', 'COMMIT', 409, 0],
  ])('while the first waits for somebody who %s', async (_what, outcome, status, remembered) => {
    const blocked = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    // Somebody else is making the very thing, so that the first request stands still inside its transaction.
    const holder = server.database.transaction(async (queryer) => {
      await queryer.query(`INSERT INTO things (name, note) VALUES ('one', 'held')`);
      blocked.resolve();
      await release.promise;
      if (outcome === 'ROLLBACK') throw new Error('gives up');
    });
    const ended = holder.catch(() => undefined);
    await blocked.promise;
    const key = randomUUID();
    const both = Promise.all([create(alice, key), create(alice, key)].map(async (request) => request));
    await waiting(2);
    release.resolve();
    await ended;
    const answers = await both;
    expect(answers.map((answer) => answer.status)).toEqual([status, status]);
    if (status === 201) expect(answers[0]!.text).toBe(answers[1]!.text);
    expect(await count('idempotency_keys')).toBe(remembered);
  });
});

/** Until so many connections wait for a lock of another. */
async function waiting(connections: number): Promise<void> {
  for (;;) {
    const [row] = await server.database.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (row!.n >= connections) return;
  }
}

describe('another request', () => {
  test('with the same key: 422, and nothing done', async () => {
    const key = randomUUID();
    await create(alice, key);
    const answer = await create(alice, key, { name: 'two' });
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({ type: 'urn:berth:problem:idempotency-key-reused' });
    expect(await count('things')).toBe(1);
  });

  test('of another credential with the same key is its own, also of the same account', async () => {
    const key = randomUUID();
    const first = await create(alice, key, { name: 'one' });
    for (const [token, name] of [
      ['bob', 'two'],
      ['alice-again', 'three'],
    ] as const) {
      const answer = await create(await apiOf(server.url, { token }), key, { name });
      expect(answer.status).toBe(201);
      expect(answer.text).not.toBe(first.text);
    }
  });

  test('that failed leaves the key free', async () => {
    const key = randomUUID();
    await server.database.query(`INSERT INTO things (name, note) VALUES ('one', '')`);
    expect((await create(alice, key)).status).toBe(409);
    expect((await create(alice, key, { name: 'two', note: 'broken' })).status).toBe(500);
    expect(await count('idempotency_keys')).toBe(0);
    await server.database.query('DELETE FROM things');
    expect((await create(alice, key)).status).toBe(201);
  });

  test('of nobody is not remembered: the key would be everybody\u2019s', async () => {
    const nobody = await apiOf(server.url);
    const key = randomUUID();
    const ask = async () => (await nobody.post('/session').set('Idempotency-Key', key)).text;
    expect(await ask()).not.toBe(await ask());
    expect(await count('idempotency_keys')).toBe(0);
  });

  test.each(['short', 'x'.repeat(256), 'with spaces within it', 'umläut-umläut-umläut'])(
    'with the key %s: 400',
    async (key) => {
      const answer = await create(alice, encodeLatin(key));
      expect(answer.status).toBe(400);
      expect(answer.body).toMatchObject({ errors: [{ path: 'header.Idempotency-Key' }] });
      expect(await count('things')).toBe(0);
    },
  );
});

/** Headers are sent in latin1. */
function encodeLatin(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

describe('what is kept', () => {
  test('shows neither the key nor what was asked and answered', async () => {
    const key = randomUUID();
    const answer = await create(alice, key, { name: 'one', note: 'a private note' });
    const secret = (answer.body as { secret: string }).secret;
    const [row] = await server.database.query<{ all: string; bytes: Buffer }>(
      'SELECT k::text AS all, key_hash || fingerprint || answer AS bytes FROM idempotency_keys k',
    );
    const everything = row!.all + row!.bytes.toString('latin1');
    for (const text of [key, secret, 'a private note']) {
      expect(everything).not.toContain(text);
      expect(row!.all).not.toContain(Buffer.from(text).toString('hex'));
    }
  });

  test('is forgotten after a day', async () => {
    const [old, young] = [randomUUID(), randomUUID()];
    const first = await create(alice, old);
    await create(alice, young, { name: 'two' });
    const age = (hours: number) =>
      server.database.query(
        `UPDATE idempotency_keys SET expires_at = expires_at - $1 * interval '1 hour'
         WHERE key_hash = sha256(convert_to($2, 'UTF8'))`,
        [hours, old],
      );
    await age(23);
    expect((await create(alice, old)).text).toBe(first.text);
    await age(1);
    await server.database.query(`DELETE FROM things WHERE name = 'one'`);
    const again = await create(alice, old);
    expect(again.status).toBe(201);
    expect(again.text).not.toBe(first.text);
    await age(24);
    expect(await deleteExpiredIdempotencyKeys(server.database)).toBe(1);
    expect(await count('idempotency_keys')).toBe(1);
  });
});
