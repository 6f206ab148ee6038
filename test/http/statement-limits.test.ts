/** What may take how long in the database. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
let owner: Api;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_DATABASE_STATEMENT_TIMEOUT_SECONDS: '1' });
  const olga = await berth.addUser('olga');
  owner = await apiOf(berth.url, olga);
  expect((await owner.post('/namespaces', { name: 'acme' })).status).toBe(201);
  const pusher = clientOf(berth.url, olga);
  for (const name of ['acme/api', 'acme/web']) await pusher.pushImage(name, '1', makeImage());
  // As slow as a repository with a million tags.
  await berth.database.query(
    `CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN coalesce(NEW, OLD); END $$`,
  );
  await berth.database.query(
    `CREATE TRIGGER slowly BEFORE UPDATE OR DELETE ON repositories FOR EACH ROW EXECUTE FUNCTION slowly()`,
  );
});
afterAll(() => berth.stop());

async function deleted(path: string): Promise<number> {
  const plan = await owner.delete(`${path}?dry_run=1`);
  return (await owner.delete(path).set('If-Match', plan.headers['etag']!)).status;
}

test('an ordinary change that takes too long is given up, and can be tried again', async () => {
  const slow = await owner.patch('/repositories/acme/api/-', { visibility: 'public' });
  expect([slow.status, slow.headers['retry-after']]).toEqual([503, '5']);
  expect((await owner.get('/repositories/acme/api/-')).body).toMatchObject({ visibility: 'private' });
});

test('a repository and an organization are deleted, however long that takes', async () => {
  expect(await deleted('/repositories/acme/api/-')).toBe(200);
  expect(await deleted('/namespaces/acme')).toBe(200);
});
