/** Organizations and their members: who sees them, who is in, who may say so, and that it holds with the next request. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { auditOf, told } from '../support/organizations.ts';

let berth: TestBerth;
let nobody: Api;
let admin: Api;
const logins: Record<string, Login> = {};
const apis: Record<string, Api> = {};
beforeAll(async () => {
  berth = await startTestBerth();
  nobody = await apiOf(berth.url);
  admin = await apiOf(berth.url, berth.admin);
  for (const name of ['ada', 'bob', 'cy', 'dan', 'eve']) {
    logins[name] = await berth.addUser(name);
    apis[name] = await apiOf(berth.url, logins[name]);
  }
});
afterAll(() => berth.stop());

const as = (name: string): Api => apis[name]!;

/** An organization of ada's, with these members besides. */
async function organization(name: string, members: Record<string, string> = {}): Promise<string> {
  const made = await as('ada').post('/namespaces', { name });
  expect(made.status).toBe(201);
  for (const [user, role] of Object.entries(members))
    expect((await admin.put(`/namespaces/${name}/members/${user}`, { role })).status).toBe(200);
  return `/namespaces/${name}`;
}

describe('making an organization', () => {
  test('its maker owns it, and can push to it at once', async () => {
    const made = await as('ada').post('/namespaces', { name: 'acme', description: 'Anvils' });
    expect(made.status).toBe(201);
    expect(made.headers['location']).toBe('/api/v1/namespaces/acme');
    expect(made.body).toEqual({
      name: 'acme',
      kind: 'organization',
      description: 'Anvils',
      role: 'owner',
      createdAt: expect.any(String) as string,
      can: { edit: true, delete: true, manageMembers: true, createRepositories: true },
    });
    expect((await as('ada').get('/namespaces/acme')).body).toEqual(made.body);
    await clientOf(berth.url, logins['ada']).pushImage('acme/app', 'v1', makeImage());
    expect(await auditOf(berth, 'acme')).toContainEqual(
      expect.objectContaining({ action: 'organization.create', actor: 'ada', after: { description: 'Anvils' } }),
    );
  });

  test('a name that is reserved, a user or an organization cannot be taken: the same words', async () => {
    await organization('taken');
    for (const name of ['settings', 'bob', 'taken', 'v2']) {
      const refused = await as('ada').post('/namespaces', { name });
      expect(refused.status).toBe(409);
      expect((refused.body as { detail: string }).detail).toBe(`the name ${name} cannot be taken; choose another one`);
    }
  });

  test.each(['', 'Acme', 'a/b', '_', 'a'.repeat(65), 'ac me', 'acme-'])('%j is no name', async (name) => {
    expect((await as('ada').post('/namespaces', { name })).status).toBe(400);
  });

  test('two at once: one gets the name', async () => {
    const answers = await Promise.all(['ada', 'bob'].map((name) => as(name).post('/namespaces', { name: 'race' })));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 409]);
  });

  test('only administrators make them where it is set so', async () => {
    const strict = await startTestBerth({ BERTH_ORGANIZATION_CREATION: 'administrators' });
    try {
      const user = await apiOf(strict.url, await strict.addUser('ada'));
      expect((await user.post('/namespaces', { name: 'acme' })).status).toBe(403);
      expect((await (await apiOf(strict.url, strict.admin)).post('/namespaces', { name: 'acme' })).status).toBe(201);
    } finally {
      await strict.stop();
    }
  });
});

describe('seeing an organization', () => {
  beforeAll(async () => {
    await organization('hidden');
    await organization('known', { bob: 'reader' });
    const ada = clientOf(berth.url, logins['ada']);
    await ada.pushImage('hidden/app', 'v1', makeImage());
    for (const [name, visibility] of [
      ['known/open', 'public'],
      ['known/closed', 'private'],
    ] as const) {
      await ada.pushImage(name, 'v1', makeImage());
      const changed = await as('ada').patch(`/repositories/${name}/-`, { visibility });
      expect(changed.status).toBe(200);
    }
  });

  test('what a stranger may not see is like what is not there, in every operation', async () => {
    const requests: ((name: string) => [keyof Api, string, unknown?])[] = [
      (name) => ['get', `/namespaces/${name}`],
      (name) => ['patch', `/namespaces/${name}`, { description: 'mine' }],
      (name) => ['get', `/namespaces/${name}/members`],
      (name) => ['get', `/namespaces/${name}/members/ada`],
      (name) => ['put', `/namespaces/${name}/members/ada`, { role: 'reader' }],
      (name) => ['delete', `/namespaces/${name}/members/ada`],
      (name) => ['delete', `/namespaces/${name}/members/eve`],
      (name) => ['get', `/namespaces/${name}/teams`],
      (name) => ['post', `/namespaces/${name}/teams`, { name: 'dev' }],
      (name) => ['get', `/namespaces/${name}/teams/dev`],
      (name) => ['patch', `/namespaces/${name}/teams/dev`, { role: 'owner' }],
      (name) => ['delete', `/namespaces/${name}/teams/dev`],
      (name) => ['get', `/namespaces/${name}/teams/dev/members`],
      (name) => ['get', `/namespaces/${name}/teams/dev/members/ada`],
      (name) => ['put', `/namespaces/${name}/teams/dev/members/ada`],
      (name) => ['delete', `/namespaces/${name}/teams/dev/members/ada`],
      (name) => ['delete', `/namespaces/${name}/teams/dev/members/eve`],
      (name) => ['post', `/namespaces/${name}/invitations`, { invitee: 'eve', role: 'owner' }],
      (name) => ['get', `/namespaces/${name}/invitations`],
      (name) => ['delete', `/namespaces/${name}/invitations/1`],
    ];
    for (const request of requests)
      for (const who of [as('eve'), nobody]) {
        const [[method, path, body], [, otherPath]] = [request('hidden'), request('absent')];
        const [hidden, absent] = [await who[method](path, body), await who[method](otherPath, body)];
        expect(hidden.status, path).toBe(who === nobody ? 401 : 404);
        expect(told(hidden, 'hidden'), path).toEqual(told(absent, 'absent'));
      }
  });

  test('one with a public repository is there for everybody, but not who is in it', async () => {
    for (const who of [as('eve'), nobody]) {
      const seen = await who.get('/namespaces/known');
      expect(seen.status).toBe(200);
      expect(seen.body).toMatchObject({
        role: null,
        can: { edit: false, delete: false, manageMembers: false, createRepositories: false },
      });
    }
    expect((await as('eve').get('/namespaces/known/members')).status).toBe(403);
    expect((await as('eve').get('/namespaces/known/teams')).status).toBe(403);
  });

  test('one with an internal repository is there for who is signed in', async () => {
    await organization('staff');
    await clientOf(berth.url, logins['ada']).pushImage('staff/app', 'v1', makeImage());
    await as('ada').patch('/repositories/staff/app/-', { visibility: 'internal' });
    expect((await as('eve').get('/namespaces/staff')).status).toBe(200);
    expect((await nobody.get('/namespaces/staff')).status).toBe(401);
  });

  test('a role on one repository is enough to see it, and no more', async () => {
    const place = '/repositories/hidden/app/-/members/users/dan';
    expect((await admin.put(place, { role: 'reader' })).status).toBe(200);
    expect((await as('dan').get('/namespaces/hidden')).body).toMatchObject({ role: null });
    expect((await as('dan').get('/namespaces/hidden/members')).status).toBe(403);
    expect((await as('ada').delete(place)).status).toBe(204);
    expect((await as('dan').get('/namespaces/hidden')).status).toBe(404);
  });

  test('everybody lists those that they are in, page by page', async () => {
    const names = (await itemsOf<{ name: string }>(as('bob'), '/namespaces?limit=1')).map(({ name }) => name);
    expect(names).toContain('bob');
    expect(names).toContain('known');
    expect(names).not.toContain('hidden');
    expect(names).toEqual(names.toSorted());
    expect((await nobody.get('/namespaces')).status).toBe(401);
  });
});

describe('describing an organization', () => {
  test('its owners do, with the version that they saw', async () => {
    const path = await organization('words', { bob: 'maintainer' });
    const seen = await as('ada').get(path);
    const changed = await as('ada').patch(path, { description: 'Words' }).set('If-Match', seen.headers['etag']!);
    expect(changed.body).toMatchObject({ description: 'Words' });
    expect(changed.headers['etag']).toBe((await as('ada').get(path)).headers['etag']);
    const stale = await as('ada').patch(path, { description: 'Old' }).set('If-Match', seen.headers['etag']!);
    expect(stale.status).toBe(412);
    expect((await as('bob').patch(path, { description: 'Mine' })).status).toBe(403);
    expect((await admin.patch(path, { description: 'Words' })).status).toBe(200);
    const changes = (await auditOf(berth, 'words')).filter(({ action }) => action === 'organization.change');
    expect(changes).toEqual([
      expect.objectContaining({ before: { description: '' }, after: { description: 'Words' }, actor: 'ada' }),
    ]);
  });
});

describe('members', () => {
  test('are seen by members, and managed by owners only', async () => {
    const path = await organization('firm', { bob: 'reader', cy: 'maintainer', dan: 'developer' });
    const listed = await itemsOf<{ user: string; role: string; can: object }>(as('bob'), `${path}/members?limit=2`);
    expect(listed.map(({ user, role }) => [user, role])).toEqual([
      ['ada', 'owner'],
      ['bob', 'reader'],
      ['cy', 'maintainer'],
      ['dan', 'developer'],
    ]);
    expect(listed.map(({ can }) => can)).toEqual([
      { edit: false, delete: false },
      { edit: false, delete: true },
      { edit: false, delete: false },
      { edit: false, delete: false },
    ]);
    for (const who of ['bob', 'cy', 'dan']) {
      expect((await as(who).put(`${path}/members/dan`, { role: 'owner' })).status).toBe(403);
      expect((await as(who).delete(`${path}/members/ada`)).status).toBe(403);
    }
    const changed = await as('ada').put(`${path}/members/dan`, { role: 'reader' });
    expect(changed.body).toMatchObject({ user: 'dan', role: 'reader', can: { edit: true, delete: true } });
    expect((await as('dan').get(`${path}/members/dan`)).body).toMatchObject({ role: 'reader' });
    expect(await auditOf(berth, 'firm')).toContainEqual(
      expect.objectContaining({
        action: 'member.change',
        actor: 'ada',
        before: { user: 'dan', role: 'developer' },
        after: { user: 'dan', role: 'reader' },
      }),
    );
  });

  test('an owner puts nobody in who was not asked, and does not learn who there is', async () => {
    const path = await organization('polite');
    const [there, absent] = [
      await as('ada').put(`${path}/members/eve`, { role: 'reader' }),
      await as('ada').put(`${path}/members/zed`, { role: 'reader' }),
    ];
    expect(there.status).toBe(404);
    expect(told(there, 'eve')).toEqual(told(absent, 'zed'));
    expect(told(await as('ada').get(`${path}/members/eve`), 'eve')).toEqual(
      told(await as('ada').get(`${path}/members/zed`), 'zed'),
    );
    expect(told(await as('ada').delete(`${path}/members/eve`), 'eve')).toEqual(
      told(await as('ada').delete(`${path}/members/zed`), 'zed'),
    );
    expect((await admin.put(`${path}/members/eve`, { role: 'reader' })).status).toBe(200);
    expect((await admin.put(`${path}/members/zed`, { role: 'reader' })).status).toBe(404);
    expect(await auditOf(berth, 'polite')).toContainEqual(
      expect.objectContaining({ action: 'member.add', actor: 'admin', after: { user: 'eve', role: 'reader' } }),
    );
  });

  test('a change is for the version that was seen', async () => {
    const path = await organization('versions', { bob: 'reader' });
    const { etag } = (await as('ada').get(`${path}/members/bob`)).headers;
    const [first, second] = [
      await as('ada').put(`${path}/members/bob`, { role: 'developer' }).set('If-Match', etag!),
      await as('ada').put(`${path}/members/bob`, { role: 'owner' }).set('If-Match', etag!),
    ];
    expect([first.status, second.status]).toEqual([200, 412]);
    expect((await as('ada').delete(`${path}/members/bob`).set('If-Match', etag!)).status).toBe(412);
    expect((await admin.put(`${path}/members/cy`, { role: 'reader' }).set('If-Match', etag!)).status).toBe(412);
  });

  test('who is removed loses teams, roles on single repositories and open invitations; the answer says so', async () => {
    const path = await organization('left', { bob: 'reader' });
    await clientOf(berth.url, logins['ada']).pushImage('left/app', 'v1', makeImage());
    await as('ada').post(`${path}/teams`, { name: 'dev', role: 'developer' });
    await as('ada').put(`${path}/teams/dev/members/bob`);
    await as('ada').put('/repositories/left/app/-/members/users/bob', { role: 'maintainer' });
    const removed = await as('ada').delete(`${path}/members/bob`);
    expect(removed.body).toEqual({ user: 'bob', teams: ['dev'], repositories: ['left/app'] });
    expect((await as('bob').get(path)).status).toBe(404);
    expect((await clientOf(berth.url, logins['bob']).request('get', '/v2/left/app/tags/list')).status).toBe(404);
    expect((await as('ada').delete(`${path}/members/bob`)).status).toBe(404);
    expect(await auditOf(berth, 'left')).toContainEqual(
      expect.objectContaining({
        action: 'member.remove',
        before: { user: 'bob', role: 'reader', teams: ['dev'], repositories: ['left/app'] },
      }),
    );
  });

  test("a person's own namespace has none", async () => {
    expect((await as('bob').get('/namespaces/bob')).body).toMatchObject({
      kind: 'user',
      role: 'owner',
      can: { edit: true, delete: false, manageMembers: false, createRepositories: true },
    });
    expect((await as('bob').get('/namespaces/bob/members')).status).toBe(404);
    expect((await as('bob').post('/namespaces/bob/teams', { name: 'dev' })).status).toBe(422);
    expect((await as('bob').delete('/namespaces/bob/members/bob')).status).toBe(403);
    expect((await as('eve').get('/namespaces/bob')).status).toBe(404);
  });
});

describe('the last owner', () => {
  test('cannot leave, be removed or become less, not even by an administrator', async () => {
    const path = await organization('lonely', { bob: 'maintainer' });
    for (const who of [as('ada'), admin]) {
      expect((await who.delete(`${path}/members/ada`)).status).toBe(409);
      const refused = await who.put(`${path}/members/ada`, { role: 'maintainer' });
      expect(refused.status).toBe(409);
      expect((refused.body as { detail: string }).detail).toBe('ada is the last owner of lonely whose account works');
    }
    await as('ada').put(`${path}/members/bob`, { role: 'owner' });
    expect((await as('ada').delete(`${path}/members/ada`)).status).toBe(200);
    expect((await as('bob').delete(`${path}/members/bob`)).status).toBe(409);
  });

  test('is not one whose account is disabled, nor one by a team', async () => {
    const path = await organization('asleep', { bob: 'owner', cy: 'reader' });
    await as('ada').post(`${path}/teams`, { name: 'chiefs', role: 'owner' });
    await as('ada').put(`${path}/teams/chiefs/members/cy`);
    await berth.database.query("UPDATE users SET disabled_at = now() WHERE name = 'bob'");
    try {
      expect((await as('ada').delete(`${path}/members/ada`)).status).toBe(409);
      // One by a team may do what owners do.
      expect((await as('cy').delete(`${path}/members/bob`)).status).toBe(200);
    } finally {
      await berth.database.query("UPDATE users SET disabled_at = NULL WHERE name = 'bob'");
    }
  });

  test('two who demote each other at once: one stays', async () => {
    for (let round = 0; round < 8; round += 1) {
      const path = await organization(`duel-${round}`, { bob: 'owner' });
      const answers = await Promise.all([
        as('ada').put(`${path}/members/bob`, { role: 'reader' }),
        as('bob').put(`${path}/members/ada`, { role: 'reader' }),
      ]);
      expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 403]);
      const members = await itemsOf<{ role: string }>(admin, `${path}/members`);
      expect(members.map(({ role }) => role).toSorted()).toEqual(['owner', 'reader']);
    }
  });

  test('two who leave at once: one stays', async () => {
    for (let round = 0; round < 8; round += 1) {
      const path = await organization(`exit-${round}`, { bob: 'owner' });
      const answers = await Promise.all(['ada', 'bob'].map((who) => as(who).delete(`${path}/members/${who}`)));
      expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 409]);
    }
  });
});

test('what changes for a member changes for the next request of a token that is in use', async () => {
  const path = await organization('live', { bob: 'reader' });
  await clientOf(berth.url, logins['ada']).pushImage('live/app', 'v1', makeImage());
  const token = await tokenFor(berth.url, ['repository:live/app:pull'], logins['bob']);
  const anonymous = clientOf(berth.url);
  const pull = async () =>
    (await anonymous.request('get', '/v2/live/app/manifests/v1').auth(token, { type: 'bearer' })).status;
  const bob = clientOf(berth.url, logins['bob']);
  const push = async () => (await bob.request('post', '/v2/live/app/blobs/uploads/')).status;
  expect([await pull(), await push()]).toEqual([200, 403]);
  await as('ada').put(`${path}/members/bob`, { role: 'developer' });
  expect(await push()).toBe(202);
  await as('ada').put(`${path}/members/bob`, { role: 'reader' });
  expect(await push()).toBe(403);
  await as('ada').delete(`${path}/members/bob`);
  expect([await pull(), await push()]).toEqual([404, 403]);
});

describe('a credential that was made for less', () => {
  async function tokenApi(apiScopes: string[], grants: unknown[] = []): Promise<Api> {
    const body = { name: `token-${randomUUID()}`, grants, apiScopes };
    const made = await as('ada').post('/tokens', body);
    expect(made.status, made.text).toBe(201);
    return apiOf(berth.url, { token: (made.body as { secret: string }).secret });
  }

  test('looks, changes, or does neither, as its API scopes say; `can` says so', async () => {
    const path = await organization('scoped', { bob: 'reader' });
    const reads = await tokenApi(['organizations:read']);
    expect((await reads.get(path)).body).toMatchObject({
      role: 'owner',
      can: { edit: false, delete: false, manageMembers: false, createRepositories: false },
    });
    expect((await reads.get(`${path}/members/bob`)).body).toMatchObject({ can: { edit: false, delete: false } });
    expect((await reads.put(`${path}/members/bob`, { role: 'owner' })).status).toBe(403);
    const pushes = await tokenApi([], [{ repositories: 'scoped/*', actions: ['pull', 'push'] }]);
    expect((await pushes.get(path)).status).toBe(403);
    expect((await pushes.get(`${path}/members`)).status).toBe(403);
    const both = await tokenApi(
      ['organizations:read', 'organizations:write'],
      [{ repositories: 'scoped/*', actions: ['push'] }],
    );
    expect((await both.get(path)).body).toMatchObject({
      can: { edit: true, manageMembers: true, createRepositories: true },
    });
    expect((await both.get('/namespaces/ada')).body).toMatchObject({ can: { createRepositories: false } });
    expect((await both.put(`${path}/members/bob`, { role: 'developer' })).status).toBe(200);
  });

  test('manages a repository’s roles only where its grants say admin', async () => {
    await organization('granted', { bob: 'reader' });
    await clientOf(berth.url, logins['ada']).pushImage('granted/app', 'v1', makeImage());
    const place = '/repositories/granted/app/-/members';
    const all = ['organizations:read', 'organizations:write', 'account:read'];
    const pulls = await tokenApi(all, [{ repositories: 'granted/*', actions: ['pull', 'push', 'delete'] }]);
    expect((await pulls.get(place)).status).toBe(403);
    expect((await pulls.put(`${place}/users/bob`, { role: 'owner' })).status).toBe(403);
    const admins = await tokenApi([], [{ repositories: 'granted/app', actions: ['admin', 'pull'] }]);
    expect((await admins.get(place)).status).toBe(200);
    expect((await admins.put(`${place}/users/bob`, { role: 'developer' })).status).toBe(200);
  });

  test('a robot of the organization owns it as far as its scopes go, and nothing else', async () => {
    const path = await organization('robots', { bob: 'reader' });
    await organization('others');
    const made = await as('ada').post(`${path}/robots`, {
      name: 'hr',
      grants: [{ repositories: 'robots/*', actions: ['pull'] }],
      apiScopes: ['organizations:read', 'organizations:write'],
    });
    expect(made.status, made.text).toBe(201);
    const robot = await apiOf(berth.url, { token: (made.body as { secret: string }).secret });
    expect(await itemsOf<{ name: string }>(robot, '/namespaces')).toEqual([
      expect.objectContaining({ name: 'robots' }),
    ]);
    expect((await robot.put(`${path}/members/bob`, { role: 'developer' })).status).toBe(200);
    expect((await robot.get('/namespaces/others')).status).toBe(404);
    expect((await robot.post('/namespaces', { name: 'mine' })).status).toBe(403);
    expect((await robot.post(`${path}/invitations`, { invitee: 'eve', role: 'reader' })).status).toBe(403);
  });

  test('an access token of the data plane changes no organization', async () => {
    const path = await organization('planes');
    await clientOf(berth.url, logins['ada']).pushImage('planes/app', 'v1', makeImage());
    const jwt = await apiOf(berth.url, {
      token: await tokenFor(berth.url, ['repository:planes/app:*'], logins['ada']),
    });
    expect((await jwt.get(path)).status).toBe(403);
    expect((await jwt.get('/repositories/planes/app/-/members')).status).toBe(403);
    expect((await jwt.put('/repositories/planes/app/-/members/users/bob', { role: 'owner' })).status).toBe(401);
  });
});
