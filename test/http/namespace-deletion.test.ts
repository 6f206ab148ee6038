/** An organization deleted with everything that is in it: first said, then done. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage, type TestImage } from '../support/images.ts';

let berth: TestBerth;
let olga: Login;
let owner: Api;
let stranger: Api;
let pusher: Client;
let image: TestImage;
let name: string;
let count = 0;

beforeAll(async () => {
  berth = await startTestBerth();
  olga = await berth.addUser('olga');
  owner = await apiOf(berth.url, olga);
  stranger = await apiOf(berth.url, await berth.addUser('stan'));
  pusher = clientOf(berth.url, olga);
});
afterAll(() => berth.stop());
beforeEach(async () => {
  count += 1;
  name = `org${count}`;
  expect((await owner.post('/namespaces', { name })).status).toBe(201);
  image = makeImage();
  for (const repository of ['api', 'web']) await pusher.pushImage(`${name}/${repository}`, '1', image);
});

const dryRun = (api: Api) => api.delete(`/namespaces/${name}?dry_run=1`);

describe('an organization', () => {
  test('is not deleted before somebody has looked at what goes', async () => {
    const unseen = await owner.delete(`/namespaces/${name}`);
    expect([unseen.status, unseen.body.next]).toEqual([
      428,
      'Ask with dry_run=1 first, and send the ETag of its answer as If-Match.',
    ]);
    const plan = await dryRun(owner);
    expect(plan.body).toMatchObject({
      repositories: [`${name}/api`, `${name}/web`],
      tags: 2,
      manifests: 2,
      blobs: 1 + image.layers.length,
      members: 1,
      teams: 0,
      robots: 0,
      dryRun: true,
    });
    expect((await pusher.request('get', `/v2/${name}/api/manifests/1`)).status).toBe(200);
  });

  test('goes with its repositories, members, teams and robots; everything that worked stops with the next request', async () => {
    const robot = await owner
      .post(`/namespaces/${name}/robots`, { name: 'ci', grants: [{ repositories: `${name}/*`, actions: ['pull'] }] })
      .set('Idempotency-Key', randomUUID());
    expect(robot.status).toBe(201);
    const login = { username: `${name}+ci`, password: robot.body.secret as string };
    const token = await tokenFor(berth.url, [`repository:${name}/api:pull`], login);
    const pull = () =>
      clientOf(berth.url).request('get', `/v2/${name}/api/manifests/1`).auth(token, { type: 'bearer' });
    expect((await pull()).status).toBe(200);

    const plan = await dryRun(owner);
    const done = await owner.delete(`/namespaces/${name}`).set('If-Match', plan.headers['etag']!);
    expect([done.status, done.body]).toEqual([200, { ...plan.body, dryRun: false }]);

    expect((await pull()).status).toBe(401);
    expect((await pusher.request('get', `/v2/${name}/api/manifests/1`)).status).toBe(404);
    expect((await owner.get(`/namespaces/${name}`)).status).toBe(404);
    expect((await pusher.request('post', `/v2/${name}/api/blobs/uploads/`)).status).toBe(403);
    for (const table of ['repositories', 'namespace_members', 'teams', 'granted_roles', 'invitations']) {
      const rows = await berth.database.query(
        `SELECT 1 FROM ${table} WHERE namespace_id NOT IN (SELECT id FROM namespaces)`,
      );
      expect(rows, table).toHaveLength(0);
    }
    // The name is free again.
    expect((await stranger.post('/namespaces', { name })).status).toBe(201);
  });

  test('is not deleted when something was pushed since it was said', async () => {
    const plan = await dryRun(owner);
    await pusher.pushImage(`${name}/new`, '1', makeImage());
    expect((await owner.delete(`/namespaces/${name}`).set('If-Match', plan.headers['etag']!)).status).toBe(412);
  });

  test('is deleted by its owners only; strangers cannot tell it from one that is not there', async () => {
    const hidden = await dryRun(stranger);
    const absent = await stranger.delete('/namespaces/absent?dry_run=1');
    expect([hidden.status, absent.status]).toEqual([404, 404]);
    expect(hidden.body.detail.replace(name, 'X')).toBe(absent.body.detail.replace('absent', 'X'));
  });

  test('survives a push into it at the same moment, or the push is refused', async () => {
    const plan = await dryRun(owner);
    const [deleted, pushed] = await Promise.all([
      owner.delete(`/namespaces/${name}`).set('If-Match', plan.headers['etag']!),
      pusher.pushImage(`${name}/late`, '1', makeImage()).then(
        () => true,
        () => false,
      ),
    ]);
    const there = await berth.database.query('SELECT 1 FROM namespaces WHERE name = $1', [name]);
    // Whichever came first counted: a push that was taken leaves an organization that was not deleted.
    expect(there).toHaveLength(deleted.status === 200 ? 0 : 1);
    if (deleted.status === 200) expect(pushed).toBe(false);
  });
});

test('a person’s namespace cannot be deleted by itself', async () => {
  expect((await owner.delete('/namespaces/olga?dry_run=1')).status).toBe(422);
});
