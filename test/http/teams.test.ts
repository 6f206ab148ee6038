/** Teams: roles for several members together, in the whole organization or on single repositories. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { auditOf, told } from '../support/organizations.ts';

let berth: TestBerth;
let ada: Api;
let bob: Api;
let eve: Api;
let admin: Api;
let bobLogin: Login;
const teams = '/namespaces/acme/teams';
beforeAll(async () => {
  berth = await startTestBerth();
  const owner = await berth.addUser('ada');
  bobLogin = await berth.addUser('bob');
  ada = await apiOf(berth.url, owner);
  bob = await apiOf(berth.url, bobLogin);
  eve = await apiOf(berth.url, await berth.addUser('eve'));
  admin = await apiOf(berth.url, berth.admin);
  await berth.addUser('cy');
  expect((await ada.post('/namespaces', { name: 'acme' })).status).toBe(201);
  for (const user of ['bob', 'cy']) await admin.put(`/namespaces/acme/members/${user}`, { role: 'reader' });
  await clientOf(berth.url, owner).pushImage('acme/app', 'v1', makeImage());
  await clientOf(berth.url, owner).pushImage('acme/other', 'v1', makeImage());
});
afterAll(() => berth.stop());

const pushStatus = async (name: string): Promise<number> =>
  (await clientOf(berth.url, bobLogin).request('post', `/v2/${name}/blobs/uploads/`)).status;

describe('a team', () => {
  test('is made, seen, changed and deleted by owners; members see it', async () => {
    const made = await ada.post(teams, { name: 'back-end', role: 'developer' });
    expect(made.status).toBe(201);
    expect(made.headers['location']).toBe('/api/v1/namespaces/acme/teams/back-end');
    const seen = await bob.get(`${teams}/back-end`);
    expect(seen.body).toEqual({
      name: 'back-end',
      role: 'developer',
      createdAt: expect.any(String) as string,
      can: { edit: false, delete: false, manageMembers: false },
    });
    const { etag } = (await ada.get(`${teams}/back-end`)).headers;
    const renamed = await ada.patch(`${teams}/back-end`, { name: 'core', role: null }).set('If-Match', etag!);
    expect(renamed.body).toMatchObject({ name: 'core', role: null });
    expect((await ada.get(`${teams}/back-end`)).status).toBe(404);
    expect((await ada.delete(`${teams}/core`).set('If-Match', etag!)).status).toBe(412);
    expect((await ada.delete(`${teams}/core`)).status).toBe(204);
    expect((await bob.get(`${teams}/core`)).status).toBe(404);
    const rows = (await auditOf(berth, 'acme')).filter(({ action }) => action.startsWith('team.'));
    expect(rows).toEqual([
      expect.objectContaining({ action: 'team.create', after: { name: 'back-end', role: 'developer' } }),
      expect.objectContaining({
        action: 'team.change',
        before: { name: 'back-end', role: 'developer' },
        after: { name: 'core', role: null },
      }),
      expect.objectContaining({ action: 'team.delete', before: { name: 'core', role: null } }),
    ]);
  });

  test('has a name of its own', async () => {
    await ada.post(teams, { name: 'one' });
    await ada.post(teams, { name: 'two' });
    expect((await ada.post(teams, { name: 'one' })).status).toBe(409);
    expect((await ada.patch(`${teams}/two`, { name: 'one' })).status).toBe(409);
    for (const name of ['', 'One', 'a b', 'a/b', '-a', 'a--b', 'a'.repeat(65)])
      expect((await ada.post(teams, { name })).status, name).toBe(400);
    const listed = await itemsOf<{ name: string }>(bob, `${teams}?limit=1`);
    expect(listed.map(({ name }) => name)).toEqual(['one', 'two']);
  });

  test('is not for those below owner to change', async () => {
    for (const role of ['reader', 'developer', 'maintainer']) {
      await admin.put('/namespaces/acme/members/bob', { role });
      expect((await bob.post(teams, { name: 'mine' })).status).toBe(403);
      expect((await bob.patch(`${teams}/one`, { role: 'owner' })).status).toBe(403);
      expect((await bob.delete(`${teams}/one`)).status).toBe(403);
      expect((await bob.put(`${teams}/one/members/bob`)).status).toBe(403);
    }
    await admin.put('/namespaces/acme/members/bob', { role: 'reader' });
    expect((await admin.post(teams, { name: 'site' })).status).toBe(201);
  });

  test('of a repeated request is made once', async () => {
    const key = crypto.randomUUID();
    const made = await ada.post(teams, { name: 'once' }).set('Idempotency-Key', key);
    const again = await ada.post(teams, { name: 'once' }).set('Idempotency-Key', key);
    expect([made.status, again.status]).toEqual([201, 201]);
    expect(again.body).toEqual(made.body);
  });
});

describe('who is in a team', () => {
  test('is a member of the organization; nobody learns who else there is', async () => {
    await ada.post(teams, { name: 'staff' });
    const [there, absent] = [await ada.put(`${teams}/staff/members/eve`), await ada.put(`${teams}/staff/members/zed`)];
    expect(there.status).toBe(404);
    expect(told(there, 'eve')).toEqual(told(absent, 'zed'));
    for (let i = 0; i < 2; i += 1) expect((await ada.put(`${teams}/staff/members/cy`)).status).toBe(200);
    await ada.put(`${teams}/staff/members/bob`);
    const listed = await itemsOf<{ user: string }>(bob, `${teams}/staff/members?limit=1`);
    expect(listed).toEqual([{ user: 'bob' }, { user: 'cy' }]);
    expect((await bob.get(`${teams}/staff/members/cy`)).body).toEqual({ user: 'cy' });
    expect((await bob.delete(`${teams}/staff/members/cy`)).status).toBe(403);
    // Anybody may leave.
    expect((await bob.delete(`${teams}/staff/members/bob`)).status).toBe(204);
    expect((await bob.get(`${teams}/staff/members/bob`)).status).toBe(404);
    const rows = (await auditOf(berth, 'acme')).filter(({ action }) => action.startsWith('team.member.'));
    expect(rows.map(({ action, before, after, actor }) => [action, before ?? after, actor])).toEqual([
      ['team.member.add', { user: 'cy' }, 'ada'],
      ['team.member.add', { user: 'bob' }, 'ada'],
      ['team.member.remove', { user: 'bob' }, 'bob'],
    ]);
  });

  test('may do what the team may, from the next request on, and no longer than they are in it', async () => {
    await ada.post(teams, { name: 'push', role: 'developer' });
    expect(await pushStatus('acme/app')).toBe(403);
    await ada.put(`${teams}/push/members/bob`);
    expect(await pushStatus('acme/app')).toBe(202);
    expect((await bob.get('/namespaces/acme')).body).toMatchObject({ role: 'developer' });
    await ada.patch(`${teams}/push`, { role: 'reader' });
    expect(await pushStatus('acme/app')).toBe(403);
    await ada.patch(`${teams}/push`, { role: 'maintainer' });
    expect(await pushStatus('acme/app')).toBe(202);
    await ada.delete(`${teams}/push/members/bob`);
    expect(await pushStatus('acme/app')).toBe(403);
  });

  test('may do on one repository what the team was given there', async () => {
    await ada.post(teams, { name: 'apps' });
    await ada.put(`${teams}/apps/members/bob`);
    const given = await ada.put('/repositories/acme/app/-/members/teams/apps', { role: 'developer' });
    expect(given.body).toMatchObject({ kind: 'team', name: 'apps', role: 'developer' });
    expect([await pushStatus('acme/app'), await pushStatus('acme/other')]).toEqual([202, 403]);
    const token = await tokenFor(berth.url, ['repository:acme/app:pull,push'], bobLogin);
    const upload = async () =>
      (await clientOf(berth.url).request('post', '/v2/acme/app/blobs/uploads/').auth(token, { type: 'bearer' })).status;
    expect(await upload()).toBe(202);
    expect((await ada.delete(`${teams}/apps`)).status).toBe(204);
    expect(await upload()).toBe(403);
    expect((await ada.get('/repositories/acme/app/-/members/teams/apps')).status).toBe(404);
  });

  test('is nothing that others see', async () => {
    expect(told(await eve.get(`${teams}/one/members`), 'acme')).toEqual(
      told(await eve.get('/namespaces/absent/teams/one/members'), 'absent'),
    );
  });
});
