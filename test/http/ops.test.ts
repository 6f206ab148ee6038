/** What an orchestrator asks, and what everybody hears while the database is away. */
import { rename } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage, randomContent } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const get = (address: string) => supertest(berth.url).get(address);

test('/healthz says that the process lives, /readyz that it can serve; to everybody', async () => {
  expect(await get('/healthz')).toMatchObject({ status: 200, text: 'ok\n' });
  expect(await get('/readyz')).toMatchObject({
    status: 200,
    body: { status: 'ready', database: 'ok', storage: 'ok' },
  });
});

test('/readyz says that the folder of the blobs is away, and that it is back', async () => {
  const folder = path.join(berth.dataDir, 'storage');
  await rename(folder, `${folder}-away`);
  try {
    for (let i = 0; i < 2; i += 1)
      expect(await get('/readyz')).toMatchObject({
        status: 503,
        body: { status: 'unavailable', database: 'ok', storage: 'unavailable' },
      });
  } finally {
    await rename(`${folder}-away`, folder);
  }
  expect(await get('/readyz')).toMatchObject({ status: 200 });
  // Once, however often it is asked; and not to everybody.
  expect(berth.logs.filter(({ dependency }) => dependency === 'storage')).toHaveLength(1);
});

describe('while the database is away', () => {
  /** A statement of the server's administrator, from another database. */
  async function maintain(...statements: string[]): Promise<void> {
    const client = new pg.Client({ ...inject('postgres').connection });
    await client.connect();
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  }

  test('requests are answered 503 and come back with it, and nothing is lost', async () => {
    const image = makeImage();
    await admin.pushImage('acme/app', 'v1', image);
    const token = await tokenFor(berth.url, ['repository:acme/app:pull'], berth.admin);
    const session = await admin.request('post', '/v2/acme/app/blobs/uploads/');
    const upload = new URL(session.headers['location'] as string, berth.url).pathname;
    const [{ name } = { name: '' }] = await berth.database.query<{ name: string }>('SELECT current_database() AS name');
    const away = `${name}_away`;
    const cut = (database: string) =>
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}' AND pid <> pg_backend_pid()`;

    // No new connections, then no old ones; only then can it be renamed.
    await maintain(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`, cut(name));
    const blob = randomContent();
    const expectAway = async (): Promise<void> => {
      const bearer = { Authorization: `Bearer ${token}` };
      for (const answer of [
        await get('/v2/').set(bearer),
        await get('/v2/acme/app/manifests/v1').set(bearer),
        await get(`/v2/acme/app/blobs/${image.config.digest}`).set(bearer),
        await get('/v2/acme/app/tags/list').set(bearer),
        await admin.request('get', '/v2/_catalog'),
        await admin.request('post', '/v2/acme/app/blobs/uploads/'),
        await admin.request('patch', upload).set('Content-Type', 'application/octet-stream').send(blob.bytes),
        await admin
          .request('put', '/v2/acme/app/manifests/v2')
          .set('Content-Type', image.mediaType)
          .send(image.bytes.toString()),
        await admin.request('delete', '/v2/acme/app/manifests/v1'),
        await get('/auth/token').auth('somebody', 'else'),
      ]) {
        expect(answer.status, answer.text).toBe(503);
        expect(answer.headers['retry-after']).toBe('5');
        expect(answer.body).toMatchObject({
          errors: [{ code: 'UNAVAILABLE', message: 'the registry cannot reach its database; try again later' }],
        });
      }
      const changed = await admin.request('patch', '/api/v1/repositories/acme/app/-').send({ visibility: 'public' });
      expect(changed.status).toBe(503);
      expect(await get('/readyz')).toMatchObject({
        status: 503,
        headers: { 'retry-after': '5' },
        body: { status: 'unavailable', database: 'unavailable', storage: 'ok' },
      });
      expect(await get('/healthz')).toMatchObject({ status: 200 });
    };
    try {
      await vi.waitFor(expectAway, { timeout: 10_000, interval: 50 });
      await vi.waitFor(() => maintain(cut(name), `ALTER DATABASE ${name} RENAME TO ${away}`), { timeout: 10_000 });
      await expectAway();
    } finally {
      await maintain(`ALTER DATABASE ${away} RENAME TO ${name}`).catch(() => undefined);
      await maintain(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    }

    expect(await get('/readyz')).toMatchObject({ status: 200 });
    expect((await admin.request('get', '/v2/acme/app/manifests/v1')).text).toBe(image.bytes.toString());
    expect((await admin.request('get', '/v2/acme/app/manifests/v2')).status).toBe(404);
    const patched = await admin
      .request('patch', upload)
      .set('Content-Type', 'application/octet-stream')
      .send(blob.bytes);
    expect(patched.status).toBe(202);
    expect((await admin.request('put', `${upload}?digest=${blob.digest}`)).status).toBe(201);

    const log = JSON.stringify(berth.logs);
    expect(log).toContain('the database is not available');
    expect(log).not.toContain(berth.admin.password);
    expect(log).not.toContain(token);
  });
});
