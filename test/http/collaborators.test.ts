/** Roles on single repositories: who has one and by what, who may give one, and that it holds with the next request. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { auditOf, told } from '../support/organizations.ts';

interface Entry {
  readonly kind: string;
  readonly name: string;
  readonly role: string;
  readonly sources: { source: string; team: string | null; role: string }[];
  readonly can: { edit: boolean; delete: boolean };
}

let berth: TestBerth;
const logins: Record<string, Login> = {};
const apis: Record<string, Api> = {};
let admin: Api;
const as = (name: string): Api => apis[name]!;
const members = '/repositories/acme/app/-/members';
beforeAll(async () => {
  berth = await startTestBerth();
  admin = await apiOf(berth.url, berth.admin);
  for (const name of ['ada', 'bob', 'cy', 'dan', 'eve']) {
    logins[name] = await berth.addUser(name);
    apis[name] = await apiOf(berth.url, logins[name]);
  }
  await as('ada').post('/namespaces', { name: 'acme' });
  await admin.put('/namespaces/acme/members/bob', { role: 'reader' });
  await as('ada').post('/namespaces/acme/teams', { name: 'all', role: 'reader' });
  await as('ada').post('/namespaces/acme/teams', { name: 'build' });
  await as('ada').put('/namespaces/acme/teams/build/members/bob');
  for (const name of ['acme/app', 'acme/open'])
    await clientOf(berth.url, logins['ada']).pushImage(name, 'v1', makeImage());
  await as('ada').patch('/repositories/acme/open/-', { visibility: 'public' });
});
afterAll(() => berth.stop());

const pushStatus = async (who: string): Promise<number> =>
  (await clientOf(berth.url, logins[who]).request('post', '/v2/acme/app/blobs/uploads/')).status;

test('everybody with a role is listed, with all that gives it', async () => {
  await as('ada').put(`${members}/teams/build`, { role: 'developer' });
  await as('ada').put(`${members}/users/bob`, { role: 'maintainer' });
  const listed = await itemsOf<Entry>(as('ada'), `${members}?limit=1`);
  expect(listed).toEqual([
    {
      kind: 'team',
      name: 'all',
      role: 'reader',
      sources: [{ source: 'organization', team: null, role: 'reader' }],
      can: { edit: true, delete: false },
    },
    {
      kind: 'team',
      name: 'build',
      role: 'developer',
      sources: [{ source: 'collaborator', team: null, role: 'developer' }],
      can: { edit: true, delete: true },
    },
    {
      kind: 'user',
      name: 'ada',
      role: 'owner',
      sources: [{ source: 'organization', team: null, role: 'owner' }],
      can: { edit: true, delete: false },
    },
    {
      kind: 'user',
      name: 'bob',
      role: 'maintainer',
      sources: [
        { source: 'collaborator', team: null, role: 'maintainer' },
        { source: 'team', team: 'build', role: 'developer' },
        { source: 'organization', team: null, role: 'reader' },
      ],
      can: { edit: true, delete: true },
    },
  ]);
  expect((await as('bob').get(`${members}/users/ada`)).body).toMatchObject({ can: { edit: false, delete: false } });
  const own = await clientOf(berth.url, logins['cy'])
    .pushImage('cy/app', 'v1', makeImage())
    .then(() => itemsOf<Entry>(as('cy'), '/repositories/cy/app/-/members'));
  expect(own.map(({ sources }) => sources)).toEqual([[{ source: 'owner', team: null, role: 'owner' }]]);
});

test('a role holds from the next request on, and ends with one, for a token in use, too', async () => {
  await as('ada').delete(`${members}/users/bob`);
  await as('ada').delete(`${members}/teams/build`);
  expect(await pushStatus('bob')).toBe(403);
  expect((await as('ada').put(`${members}/users/bob`, { role: 'developer' })).status).toBe(200);
  expect(await pushStatus('bob')).toBe(202);
  const token = await tokenFor(berth.url, ['repository:acme/app:pull,push'], logins['bob']);
  expect((await as('ada').delete(`${members}/users/bob`)).status).toBe(204);
  const refused = await clientOf(berth.url)
    .request('post', '/v2/acme/app/blobs/uploads/')
    .auth(token, { type: 'bearer' });
  expect(refused.status).toBe(403);
  const rows = (await auditOf(berth, 'acme')).filter(({ action }) => action.startsWith('collaborator.'));
  expect(rows.slice(-2)).toEqual([
    expect.objectContaining({
      action: 'collaborator.add',
      target: 'acme/app',
      after: { user: 'bob', role: 'developer' },
    }),
    expect.objectContaining({ action: 'collaborator.remove', before: { user: 'bob', role: 'developer' } }),
  ]);
});

test('below owner nobody gives roles; an owner of the one repository does, and an administrator', async () => {
  for (const role of ['reader', 'developer', 'maintainer']) {
    await as('ada').put(`${members}/users/bob`, { role });
    expect((await as('bob').put(`${members}/users/bob`, { role: 'owner' })).status).toBe(403);
    expect((await as('bob').put(`${members}/teams/all`, { role: 'owner' })).status).toBe(403);
    expect((await as('bob').delete(`${members}/users/ada`)).status).toBe(403);
  }
  await as('ada').put(`${members}/users/bob`, { role: 'owner' });
  expect((await as('bob').put(`${members}/teams/all`, { role: 'developer' })).status).toBe(200);
  expect((await as('bob').put('/namespaces/acme/members/bob', { role: 'owner' })).status).toBe(403);
  expect((await admin.put(`${members}/users/dan`, { role: 'reader' })).status).toBe(200);
  // What one was given, one may give back.
  expect((await as('dan').delete(`${members}/users/dan`)).status).toBe(204);
  expect((await as('dan').get(members)).status).toBe(404);
  expect((await as('bob').delete(`${members}/users/bob`)).status).toBe(204);
  await as('ada').delete(`${members}/teams/all`);
});

test('who has no role there is invited, not put in; nobody learns who there is', async () => {
  for (const kind of ['users', 'teams']) {
    const [there, absent] = [
      await as('ada').put(`${members}/${kind}/eve`, { role: 'reader' }),
      await as('ada').put(`${members}/${kind}/zed`, { role: 'reader' }),
    ];
    expect(there.status).toBe(404);
    expect(told(there, 'eve')).toEqual(told(absent, 'zed'));
  }
  expect((await admin.put(`${members}/users/zed`, { role: 'reader' })).status).toBe(404);
  expect((await as('ada').delete(`${members}/users/eve`)).status).toBe(404);
});

test('an owner of one repository from outside does not learn which teams there are', async () => {
  await admin.put(`${members}/users/dan`, { role: 'owner' });
  const [there, absent] = [
    await as('dan').put(`${members}/teams/build`, { role: 'reader' }),
    await as('dan').put(`${members}/teams/absent`, { role: 'reader' }),
  ];
  expect(there.status).toBe(404);
  expect(told(there, 'build')).toEqual(told(absent, 'absent'));
  await as('ada').delete(`${members}/users/dan`);
});

test('what comes from elsewhere is not taken away here', async () => {
  const refused = await as('ada').delete(`${members}/teams/all`);
  expect(refused.status).toBe(409);
  expect((await as('ada').delete(`${members}/users/bob`)).status).toBe(409);
});

test('a change is for the version that was seen', async () => {
  await as('ada').put(`${members}/users/bob`, { role: 'reader' });
  const { etag } = (await as('ada').get(`${members}/users/bob`)).headers;
  const put = (role: string) => as('ada').put(`${members}/users/bob`, { role }).set('If-Match', etag!);
  expect([(await put('developer')).status, (await put('owner')).status]).toEqual([200, 412]);
  expect((await as('ada').delete(`${members}/users/bob`).set('If-Match', etag!)).status).toBe(412);
});

test('hidden and absent repositories are alike, in every operation', async () => {
  const requests = (name: string): [keyof Api, string, unknown?][] => [
    ['get', `/repositories/${name}/-/members`],
    ['get', `/repositories/${name}/-/members/users/ada`],
    ['put', `/repositories/${name}/-/members/users/ada`, { role: 'reader' }],
    ['delete', `/repositories/${name}/-/members/users/ada`],
    ['delete', `/repositories/${name}/-/members/users/eve`],
    ['get', `/repositories/${name}/-/members/teams/all`],
    ['put', `/repositories/${name}/-/members/teams/all`, { role: 'reader' }],
    ['delete', `/repositories/${name}/-/members/teams/all`],
    ['get', `/repositories/${name}/-/invitations`],
    ['post', `/repositories/${name}/-/invitations`, { invitee: 'ada', role: 'reader' }],
    ['delete', `/repositories/${name}/-/invitations/1`],
  ];
  const absent = requests('acme/absent');
  for (const [i, [method, path, body]] of requests('acme/app').entries()) {
    const hidden = await as('eve')[method](path, body);
    expect(hidden.status, path).toBe(404);
    expect(told(hidden, 'acme/app'), path).toEqual(told(await as('eve')[method](absent[i]![1], body), 'acme/absent'));
  }
  // Who merely may pull it sees that it is there, and not who is in it.
  expect((await as('eve').get('/repositories/acme/open/-/members')).status).toBe(403);
  expect((await as('eve').put('/repositories/acme/open/-/members/users/ada', { role: 'reader' })).status).toBe(403);
});
