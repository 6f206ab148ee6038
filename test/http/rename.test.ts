/** Repositories renamed, moved to other namespaces, and deleted. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client, tokenFor } from '../support/client.ts';
import { makeImage, type TestImage } from '../support/images.ts';

let berth: TestBerth;
let [alice, bob]: Login[] = [];
let [aliceApi, bobApi]: Api[] = [];
let [asAlice, asBob]: Client[] = [];
let image: TestImage;
let count = 0;
let name: string;

beforeAll(async () => {
  berth = await startTestBerth();
  [alice, bob] = [await berth.addUser('alice'), await berth.addUser('bob')];
  [aliceApi, bobApi] = [await apiOf(berth.url, alice), await apiOf(berth.url, bob)];
  [asAlice, asBob] = [clientOf(berth.url, alice), clientOf(berth.url, bob)];
});
afterAll(() => berth.stop());
beforeEach(async () => {
  count += 1;
  name = `alice/app${count}`;
  image = makeImage();
  await asAlice!.pushImage(name, '1', image);
});

const pull = async (client: Client, from: string) => (await client.request('get', `/v2/${from}/manifests/1`)).status;
const rename = (api: Api, from: string, to: string) => api.post(`/repositories/${from}/-/rename`, { to });

describe('a renamed repository', () => {
  test('is pulled by both names, with tokens for each; blobs, tags and referrers too', async () => {
    expect((await rename(aliceApi!, name, `${name}-new`)).status).toBe(200);
    for (const each of [name, `${name}-new`]) {
      const token = await tokenFor(berth.url, [`repository:${each}:pull`], alice);
      const bearer = clientOf(berth.url)
        .request('get', `/v2/${each}/manifests/1`)
        .set('Authorization', `Bearer ${token}`);
      expect((await bearer).status).toBe(200);
      expect((await asAlice!.request('get', `/v2/${each}/blobs/${image.config.digest}`)).status).toBe(200);
      const tags = await asAlice!.request('get', `/v2/${each}/tags/list`);
      expect(tags.body).toEqual({ name: each, tags: ['1'] });
      const referrers = await asAlice!.request('get', `/v2/${each}/referrers/${image.digest}`);
      expect(referrers.status).toBe(200);
    }
    const looked = await aliceApi!.get(`/repositories/${name}/-`);
    const all = { pull: true, push: true, delete: true, settings: true, members: true };
    expect(looked.body).toEqual({ name: `${name}-new`, visibility: 'private', can: all });
    const catalog = await asAlice!.request('get', '/v2/_catalog');
    expect(catalog.body.repositories).toContain(`${name}-new`);
    expect(catalog.body.repositories).not.toContain(name);
  });

  test('stays when it was changed since its editor looked at it', async () => {
    const { etag } = (await aliceApi!.get(`/repositories/${name}/-`)).headers;
    await aliceApi!.patch(`/repositories/${name}/-`, { visibility: 'internal' });
    expect((await rename(aliceApi!, name, `${name}-new`).set('If-Match', etag!)).status).toBe(412);
    expect(await pull(asAlice!, `${name}-new`)).toBe(404);
    const seen = (await aliceApi!.get(`/repositories/${name}/-`)).headers['etag'];
    expect((await rename(aliceApi!, name, `${name}-new`).set('If-Match', seen!)).status).toBe(200);
  });

  test('keeps every former name, also over several renames and back', async () => {
    await rename(aliceApi!, name, `${name}-b`);
    await rename(aliceApi!, `${name}-b`, `${name}-c`);
    expect([await pull(asAlice!, name), await pull(asAlice!, `${name}-b`), await pull(asAlice!, `${name}-c`)]).toEqual([
      200, 200, 200,
    ]);
    await rename(aliceApi!, `${name}-c`, name);
    expect([await pull(asAlice!, name), await pull(asAlice!, `${name}-c`)]).toEqual([200, 200]);
  });

  test('is not pushed to by the old name: the answer says the new one', async () => {
    await rename(aliceApi!, name, `${name}-new`);
    const answer = await asAlice!.request('post', `/v2/${name}/blobs/uploads/`);
    expect(answer.status).toBe(403);
    expect(answer.body.errors[0].message).toContain(`is called ${name}-new now`);
    expect((await asAlice!.request('delete', `/v2/${name}/manifests/1`)).status).toBe(404);
  });

  test('loses the old name to whoever makes a repository of that name', async () => {
    await rename(aliceApi!, name, `${name}-new`);
    expect((await aliceApi!.post('/repositories', { name })).status).toBe(201);
    expect([await pull(asAlice!, name), await pull(asAlice!, `${name}-new`)]).toEqual([404, 200]);
    await asAlice!.pushImage(name, '1', makeImage());
    expect(await pull(asAlice!, name)).toBe(200);
  });

  test('cannot take a name that is taken, or one in a namespace that is not its owner’s', async () => {
    const other = `${name}-other`;
    await asAlice!.pushImage(other, '1', image);
    expect((await rename(aliceApi!, name, other)).status).toBe(409);
    const foreign = await rename(aliceApi!, name, 'bob/mine');
    expect(foreign.status).toBe(403);
    expect(foreign.body.detail).toContain('the namespace bob is not yours');
    expect(await pull(asAlice!, name)).toBe(200);
  });

  test('is renamed by its owner only; strangers cannot tell it from one that is not there', async () => {
    const hidden = await rename(bobApi!, name, 'bob/mine');
    const absent = await rename(bobApi!, 'alice/absent', 'bob/mine');
    expect([hidden.status, absent.status]).toEqual([404, 404]);
    expect(hidden.body.detail.replaceAll(name, 'N')).toBe(absent.body.detail.replaceAll('alice/absent', 'N'));
  });

  test('of two that rename at once one wins, and the repository has one name', async () => {
    const answers = await Promise.all(['x', 'y', 'z'].map((to) => rename(aliceApi!, name, `${name}-${to}`)));
    // Whoever comes later finds the name gone, or the repository changed meanwhile.
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.every((status) => [200, 404, 409].includes(status))).toBe(true);
    const rows = await berth.database.query('SELECT 1 FROM repositories WHERE name LIKE $1', [`${name}%`]);
    expect(rows).toHaveLength(1);
  });
});

describe('a repository that moves to another namespace', () => {
  test('belongs to that one: who owned it before may pull by no name any more', async () => {
    await berth.database.query(
      `INSERT INTO granted_roles SELECT u.id, n.id, 0, 2 FROM users u, namespaces n WHERE u.name = 'alice' AND n.name = 'bob'`,
    );
    const to = `bob/moved${count}`;
    expect((await rename(aliceApi!, name, to)).status).toBe(200);
    await berth.database.query(
      `DELETE FROM granted_roles WHERE user_id = (SELECT id FROM users WHERE name = 'alice')
         AND namespace_id = (SELECT id FROM namespaces WHERE name = 'bob')`,
    );
    expect([await pull(asBob!, to), await pull(asBob!, name)]).toEqual([200, 200]);
    expect([await pull(asAlice!, to), await pull(asAlice!, name)]).toEqual([404, 404]);
    // Alice does not see what her old name leads to, so the name is free for her.
    await asAlice!.pushImage(name, '1', makeImage());
    expect(await pull(asBob!, name)).toBe(404);
  });
});

describe('deleting a repository', () => {
  test('is first said, then done, and everything in it is gone', async () => {
    const path = `/repositories/${name}/-`;
    const unseen = await aliceApi!.delete(path);
    expect(unseen.status).toBe(428);
    const plan = await aliceApi!.delete(`${path}?dry_run=1`);
    const size = image.config.bytes.length + image.layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(plan.body).toEqual({
      repositories: [name],
      tags: 1,
      manifests: 1,
      blobs: 1 + image.layers.length,
      bytesFreed: size,
      dryRun: true,
    });
    expect(await pull(asAlice!, name)).toBe(200);
    const done = await aliceApi!.delete(path).set('If-Match', plan.headers['etag']!);
    expect([done.status, done.body.dryRun]).toEqual([200, false]);
    expect(await pull(asAlice!, name)).toBe(404);
    expect((await asAlice!.request('get', `/v2/${name}/blobs/${image.config.digest}`)).status).toBe(404);
    const reviews = await berth.database.query("SELECT 1 FROM gc_blob_reviews WHERE reason = 'repository-deleted'");
    expect(reviews.length).toBeGreaterThanOrEqual(1 + image.layers.length);
  });

  test('is not done when something was pushed since it was said', async () => {
    const path = `/repositories/${name}/-`;
    const plan = await aliceApi!.delete(`${path}?dry_run=1`);
    await asAlice!.pushImage(name, '2', makeImage());
    const done = await aliceApi!.delete(path).set('If-Match', plan.headers['etag']!);
    expect(done.status).toBe(412);
    expect(await pull(asAlice!, name)).toBe(200);
  });

  test('a stranger cannot, and does not learn that it is there', async () => {
    const hidden = await bobApi!.delete(`/repositories/${name}/-?dry_run=1`);
    const absent = await bobApi!.delete('/repositories/alice/absent/-?dry_run=1');
    expect([hidden.status, absent.status]).toEqual([404, 404]);
  });
});
