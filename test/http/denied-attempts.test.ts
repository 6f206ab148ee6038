/** What was tried and not let happen stands in the audit log, for those whose things it was aimed at. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { auditActionOf } from '../../src/http/api/denied.ts';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';

let berth: TestBerth;
let [olga, stan]: Login[] = [];
let owner: Api;
let stranger: Api;

interface Row {
  readonly action: string;
  readonly outcome: string;
  readonly actor: string;
  readonly target: string;
}

beforeAll(async () => {
  berth = await startTestBerth();
  [olga, stan] = [await berth.addUser('olga'), await berth.addUser('stan')];
  [owner, stranger] = [await apiOf(berth.url, olga), await apiOf(berth.url, stan)];
  await owner.post('/namespaces', { name: 'acme' });
  await owner.post('/repositories', { name: 'acme/api', visibility: 'public' });
});
afterAll(() => berth.stop());

/** Attempts are written behind the answers. */
const deniedRows = (count: number): Promise<Row[]> =>
  vi.waitFor(
    async () => {
      const rows = await itemsOf<Row>(owner, '/audit?namespace=acme&outcome=denied');
      expect(rows.length).toBeGreaterThanOrEqual(count);
      return rows;
    },
    { timeout: 10_000, interval: 100 },
  );

test('pushes, deletions and changes of settings, with who tried', async () => {
  const client = clientOf(berth.url, stan);
  expect((await client.request('post', '/v2/acme/api/blobs/uploads/')).status).toBe(403);
  expect((await client.request('delete', '/v2/acme/api/manifests/1')).status).toBe(403);
  expect((await stranger.patch('/repositories/acme/api/-', { visibility: 'private' })).status).toBe(403);
  expect((await stranger.delete('/namespaces/acme?dry_run=1')).status).toBe(403);
  const rows = await deniedRows(4);
  expect(rows.map(({ action }) => action).toSorted()).toEqual([
    'blob.push',
    'manifest.delete',
    'namespace.delete',
    'repository.visibility',
  ]);
  expect(rows.every((row) => row.actor === 'stan' && row.target.startsWith('acme'))).toBe(true);
});

test('whoever is no owner does not see them', async () => {
  const rows = await itemsOf<Row>(stranger, '/audit?outcome=denied');
  expect(rows.every((row) => row.actor === 'stan')).toBe(true);
});

test('every operation that changes something has a name in the log', async () => {
  const { body } = await owner.get('/openapi.json');
  const paths = body.paths as Record<string, Record<string, { operationId?: string }>>;
  const changing = Object.values(paths).flatMap((operations) =>
    Object.entries(operations).flatMap(([method, { operationId }]) =>
      ['post', 'put', 'patch', 'delete'].includes(method) ? [operationId!] : [],
    ),
  );
  expect(changing.filter((id) => !Object.hasOwn(auditActionOf, id))).toEqual([]);
  expect(Object.keys(auditActionOf).filter((id) => !changing.includes(id))).toEqual([]);
});
