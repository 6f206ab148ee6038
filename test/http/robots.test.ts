/** Robots: who makes them, what they may do, and when they end. */
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
/** Another process on the same database. */
let other: TestBerth;
const logins: Record<string, Login> = {};
const apis: Record<string, Api> = {};
beforeAll(async () => {
  berth = await startTestBerth();
  other = await startTestBerth({ BERTH_DATABASE_URL: berth.databaseUrl });
  logins['admin'] = berth.admin;
  for (const name of ['owner', 'maintainer', 'developer', 'stranger']) logins[name] = await berth.addUser(name);
  // An administrator's push makes the organization, of which it is the owner.
  for (const name of ['acme/api', 'acme/web', 'acme/open', 'ubuntu'])
    await clientOf(berth.url, berth.admin).pushImage(name, 'v1', makeImage());
  for (const [name, role] of [
    ['owner', 4],
    ['maintainer', 3],
    ['developer', 2],
  ] as const)
    await join(name, role);
  for (const [name, login] of Object.entries(logins)) apis[name] = await apiOf(berth.url, login);
  await by('admin').patch('/repositories/acme/open/-', { visibility: 'public' });
});
afterAll(async () => {
  await other.stop();
  await berth.stop();
});

const by = (name: string): Api => apis[name]!;

async function join(name: string, role: number, organization = 'acme'): Promise<void> {
  await berth.database.query(
    `WITH them AS (SELECT u.id AS user_id, n.id AS namespace_id FROM users u, namespaces n WHERE u.name = $1 AND n.name = $3),
       member AS (INSERT INTO namespace_members (user_id, namespace_id, role) SELECT user_id, namespace_id, $2 FROM them)
     INSERT INTO granted_roles (user_id, namespace_id, repository_id, role) SELECT user_id, namespace_id, 0, $2 FROM them`,
    [name, role, organization],
  );
}

interface Robot {
  readonly id: number;
  readonly name: string;
  readonly secret: string;
  readonly status: string;
  readonly repository: string | null;
}

let name = '';
let count = 0;
beforeEach(() => {
  count += 1;
  name = `ci-${count}`;
});

const pullApi = [{ repositories: 'acme/api', actions: ['pull'] }];

async function make(body: object = {}, path = '/namespaces/acme/robots', api = by('owner')): Promise<Robot> {
  const answer = await api.post(path, { name, ...(path.startsWith('/namespaces') && { grants: pullApi }), ...body });
  expect(answer.status, answer.text).toBe(201);
  return answer.body as Robot;
}
const loginOf = ({ name: username, secret }: Robot): Login => ({ username, password: secret });
const tags = (repository: string, login: Login, url = berth.url) =>
  clientOf(url, login).request('get', `/v2/${repository}/tags/list`);
const push = (repository: string, login: Login) =>
  clientOf(berth.url, login).request('post', `/v2/${repository}/blobs/uploads/`);

describe('a robot of a namespace', () => {
  test('logs in by its name, and may what it was made for', async () => {
    const robot = await make({ grants: [{ repositories: 'acme/*', actions: ['pull', 'push'] }] });
    expect(robot).toMatchObject({
      name: `acme+${name}`,
      namespace: 'acme',
      repository: null,
      createdBy: 'owner',
      status: 'active',
      can: ['rotate', 'revoke'],
    });
    await clientOf(berth.url, loginOf(robot)).pushImage(`acme/new-${count}`, 'v1', makeImage());
    expect((await tags(`acme/new-${count}`, loginOf(robot))).status).toBe(200);
    const remove = await clientOf(berth.url, loginOf(robot)).request('delete', '/v2/acme/api/manifests/v1');
    expect(remove.status).toBe(403);
    expect(remove.text).toContain(`the robot acme+${name} may pull, push acme/api, not delete`);
    const jwt = await tokenFor(berth.url, ['repository:acme/api:*'], loginOf(robot));
    const answer = await supertest(berth.url).get('/v2/acme/api/tags/list').set('Authorization', `Bearer ${jwt}`);
    expect(answer.status).toBe(200);
  });

  test('gets nowhere else, but to what is public', async () => {
    const robot = await make();
    await clientOf(berth.url, logins['stranger']).pushImage(`stranger/app-${count}`, 'v1', makeImage());
    expect((await tags(`stranger/app-${count}`, loginOf(robot))).status).toBe(404);
    expect((await tags('acme/web', loginOf(robot))).status).toBe(404);
    expect((await tags('acme/open', loginOf(robot))).status).toBe(200);
    expect((await tags('acme/api', { username: 'owner', password: robot.secret })).status).toBe(401);
  });

  test.each(['stranger/*', '*', 'acme*', 'ubuntu', 'acme-other/api'])(
    'is not made for %s: 422, in words',
    async (repositories) => {
      const answer = await by('owner').post('/namespaces/acme/robots', {
        name,
        grants: [...pullApi, { repositories, actions: ['pull'] }],
      });
      expect(answer.status).toBe(422);
      expect(answer.body).toMatchObject({
        errors: [{ path: 'body.grants.1.repositories', message: expect.stringMatching(/must begin with acme\//) }],
      });
    },
  );

  test.each(['CI', 'a+b', 'a/b', '', '-a', 'a'.repeat(65)])('cannot be called %j: 400', async (wrong) => {
    expect((await by('owner').post('/namespaces/acme/robots', { name: wrong, grants: pullApi })).status).toBe(400);
  });

  test('is made by owners and administrators only; whoever sees nothing of it hears that there is none', async () => {
    for (const [who, status] of [
      ['owner', 201],
      ['admin', 201],
      ['maintainer', 403],
      ['developer', 403],
      ['stranger', 404],
    ] as const) {
      const answer = await by(who).post('/namespaces/acme/robots', { name: `${name}-${who}`, grants: pullApi });
      expect(answer.status).toBe(status);
      expect((await by(who).get('/namespaces/acme/robots')).status).toBe(status === 201 ? 200 : status);
    }
    const there = await by('stranger').post('/namespaces/acme/robots', { name, grants: pullApi });
    const absent = await by('stranger').post('/namespaces/nobody/robots', { name, grants: pullApi });
    const alike = ({ body }: typeof there, word: string) =>
      JSON.stringify({ ...(body as object), requestId: '' }).replaceAll(word, 'NAME');
    expect(alike(there, 'acme')).toBe(alike(absent, 'nobody'));
  });

  test('a person has them, too', async () => {
    const robot = await make(
      { grants: [{ repositories: 'developer/*', actions: ['push', 'pull'] }] },
      '/namespaces/developer/robots',
      by('developer'),
    );
    await clientOf(berth.url, loginOf(robot)).pushImage(`developer/app-${count}`, 'v1', makeImage());
    expect((await by('owner').get(`/robots/${robot.id}`)).status).toBe(404);
  });

  test('the names without a slash have theirs, by administrators', async () => {
    const grants = [{ repositories: 'ubuntu', actions: ['pull'] }];
    expect((await by('owner').post('/namespaces/_/robots', { name, grants })).status).toBe(404);
    const robot = await make({ grants }, '/namespaces/_/robots', by('admin'));
    expect(robot.name).toBe(`_+${name}`);
    expect((await tags('ubuntu', loginOf(robot))).status).toBe(200);
  });

  test('of live ones there is one of a name', async () => {
    await make();
    expect((await by('owner').post('/namespaces/acme/robots', { name, grants: pullApi })).status).toBe(409);
  });

  test('a token with organizations:write makes robots, for no more than it may itself', async () => {
    const grants = [{ repositories: 'acme/api', actions: ['pull', 'push'] }];
    const made = await by('owner').post('/tokens', { name, grants, apiScopes: ['organizations:write'] });
    const api = await apiOf(berth.url, { token: (made.body as Robot).secret });
    const wanted = (more: object) => api.post('/namespaces/acme/robots', { name, grants: pullApi, ...more });
    expect((await wanted({ grants: [{ repositories: 'acme/*', actions: ['pull'] }] })).status).toBe(403);
    expect((await wanted({ grants: [{ repositories: 'acme/api', actions: ['delete'] }] })).status).toBe(403);
    expect((await wanted({ apiScopes: ['audit:read'] })).status).toBe(403);
    expect((await wanted({})).status).toBe(201);
  });

  test('a robot makes neither robots nor tokens', async () => {
    const robot = await make({
      grants: [{ repositories: 'acme/*', actions: ['pull', 'push', 'delete', 'admin'] }],
      apiScopes: ['organizations:read', 'organizations:write'],
    });
    const api = await apiOf(berth.url, { token: robot.secret });
    expect((await api.post('/namespaces/acme/robots', { name: 'child', grants: pullApi })).status).toBe(403);
    expect((await api.post('/repositories/acme/api/-/robots', { name: 'child', actions: ['pull'] })).status).toBe(403);
    expect((await api.post('/tokens', { name: 'child', grants: pullApi })).status).toBe(403);
    expect(
      (await by('owner').post('/namespaces/acme/robots', { name: 'x', grants: [], apiScopes: ['account:write'] }))
        .status,
    ).toBe(400);
  });
});

describe('a robot of a repository', () => {
  const path = '/repositories/acme/api/-/robots';

  test('is for that repository, whoever names no pattern', async () => {
    const robot = await make({ actions: ['push', 'pull'] }, path, by('maintainer'));
    expect(robot).toMatchObject({
      name: `acme/api+${name}`,
      repository: 'acme/api',
      grants: [{ repositories: 'acme/api', actions: ['pull', 'push'] }],
    });
    await clientOf(berth.url, loginOf(robot)).pushImage('acme/api', 'v2', makeImage());
    expect((await push('acme/web', loginOf(robot))).status).toBe(403);
    expect((await tags('acme/web', loginOf(robot))).status).toBe(404);
  });

  test('is made by maintainers; one that manages by owners only', async () => {
    for (const [who, pulls, manages] of [
      ['owner', 201, 201],
      ['maintainer', 201, 403],
      ['developer', 403, 403],
      ['stranger', 404, 404],
    ] as const) {
      expect((await by(who).post(path, { name: `${name}-${who}`, actions: ['pull', 'delete'] })).status).toBe(pulls);
      expect((await by(who).post(path, { name: `${name}-${who}-a`, actions: ['admin'] })).status).toBe(manages);
    }
    const there = await by('stranger').post(path, { name, actions: ['pull'] });
    const absent = await by('stranger').post('/repositories/acme/absent/-/robots', { name, actions: ['pull'] });
    const alike = ({ body }: typeof there, word: string) =>
      JSON.stringify({ ...(body as object), requestId: '' }).replaceAll(word, 'NAME');
    expect(alike(there, 'acme/api')).toBe(alike(absent, 'acme/absent'));
  });

  test('a maintainer cannot take over one that manages', async () => {
    const robot = await make({ actions: ['admin', 'pull'] }, path);
    for (const answer of [
      await by('maintainer').get(`/robots/${robot.id}`),
      await by('maintainer').post(`/robots/${robot.id}/rotate`),
      await by('maintainer').delete(`/robots/${robot.id}`),
    ])
      expect(answer.status).toBe(404);
  });

  test('one of a name without a slash is told from a namespace of that name', async () => {
    const robot = await make({ actions: ['pull'] }, '/repositories/ubuntu/-/robots', by('admin'));
    expect(robot.name).toBe(`_/ubuntu+${name}`);
    expect((await tags('ubuntu', loginOf(robot))).status).toBe(200);
  });

  test('keeps pulling by the old name when the repository is renamed, and gets the new one with its next secret', async () => {
    const [old, renamed] = [`acme/old-${count}`, `acme/renamed-${count}`];
    await clientOf(berth.url, berth.admin).pushImage(old, 'v1', makeImage());
    const robot = await make({ actions: ['pull', 'push'] }, `/repositories/${old}/-/robots`);
    expect((await by('owner').post(`/repositories/${old}/-/rename`, { to: renamed })).status).toBe(200);
    expect((await tags(old, loginOf(robot))).status).toBe(200);
    const answer = await by('owner').post(`/robots/${robot.id}/rotate`);
    expect(answer.body).toMatchObject({ name: `${renamed}+${name}`, grants: [{ repositories: renamed }] });
    await clientOf(berth.url, loginOf(answer.body as Robot)).pushImage(renamed, 'v2', makeImage());
  });

  test('ends with its repository', async () => {
    const repository = `acme/short-${count}`;
    await clientOf(berth.url, berth.admin).pushImage(repository, 'v1', makeImage());
    const robot = await make({ actions: ['pull'] }, `/repositories/${repository}/-/robots`);
    expect((await tags('acme/open', loginOf(robot))).status).toBe(200);
    const plan = await by('owner').delete(`/repositories/${repository}/-?dry_run=1`);
    const gone = await by('owner')
      .delete(`/repositories/${repository}/-`)
      .set('If-Match', plan.headers['etag'] as string);
    expect(gone.status).toBe(200);
    expect((await tags('acme/open', loginOf(robot))).status).toBe(401);
    expect((await by('owner').get(`/robots/${robot.id}`)).status).toBe(404);
  });
});

describe('looking, rotating, ending', () => {
  test('an owner sees all robots of the namespace, a maintainer those of a repository', async () => {
    const [whole, part] = [await make(), await make({ actions: ['pull'] }, '/repositories/acme/web/-/robots')];
    const ids = async (who: string, path: string) => (await itemsOf<Robot>(by(who), path)).map(({ id }) => id);
    expect(await ids('owner', '/namespaces/acme/robots?limit=2')).toEqual(expect.arrayContaining([whole.id, part.id]));
    const some = await ids('maintainer', '/repositories/acme/web/-/robots');
    expect(some).toContain(part.id);
    expect(some).not.toContain(whole.id);
    expect((await by('developer').get('/repositories/acme/web/-/robots')).status).toBe(403);
    for (const who of ['maintainer', 'stranger']) expect((await by(who).get(`/robots/${whole.id}`)).status).toBe(404);
  });

  test('it sees and rotates itself', async () => {
    const robot = await make();
    const api = await apiOf(berth.url, { token: robot.secret });
    expect((await api.get('/robots/current')).body).toMatchObject({ id: robot.id, name: robot.name });
    const answer = await api.post('/robots/current/rotate');
    expect(answer.status).toBe(201);
    const fresh = answer.body as Robot;
    for (const each of [robot, fresh]) expect((await tags('acme/api', loginOf(each))).status).toBe(200);
    expect((await by('owner').get(`/robots/${robot.id}`)).body).toMatchObject({ status: 'ending' });
    const others = await make({ name: `${name}-b` });
    expect((await api.get(`/robots/${others.id}`)).status).toBe(404);
    expect((await api.post(`/robots/${others.id}/rotate`)).status).toBe(404);
  });

  test('everything of it ends with the next request, on every server, when it is revoked', async () => {
    const robot = await make();
    const login = loginOf(robot);
    const { body } = await supertest(berth.url)
      .get('/auth/token')
      .query({ offline_token: 'true', scope: 'repository:acme/api:pull' })
      .auth(login.username, login.password);
    const { token, refresh_token: refreshToken } = body as { token: string; refresh_token: string };
    const all = async () => {
      const answers = [berth.url, other.url].flatMap((url) => [
        tags('acme/api', login, url),
        supertest(url).get('/v2/acme/api/tags/list').set('Authorization', `Bearer ${token}`),
        supertest(url).get('/api/v1/robots/current').set('Authorization', `Bearer ${robot.secret}`),
        supertest(url)
          .post('/auth/token')
          .type('form')
          .send({ grant_type: 'refresh_token', refresh_token: refreshToken }),
      ]);
      return (await Promise.all(answers)).map(({ status }) => status);
    };
    expect(await all()).toEqual(Array.from({ length: 8 }, () => 200));
    expect((await by('owner').delete(`/robots/${robot.id}`)).status).toBe(204);
    expect(await all()).toEqual(Array.from({ length: 8 }, () => 401));
    expect((await by('owner').delete(`/robots/${robot.id}`)).status).toBe(204);
  });

  test('a robot stays when its maker leaves', async () => {
    const founder = await berth.addUser(`founder-${count}`);
    await join(founder.username, 4);
    const robot = await make({}, '/namespaces/acme/robots', await apiOf(berth.url, founder));
    await berth.database.query('UPDATE users SET disabled_at = now() WHERE name = $1', [founder.username]);
    expect((await tags('acme/api', loginOf(robot))).status).toBe(200);
  });

  test('the log of the namespace has every change', async () => {
    const robot = await make();
    const { body } = await by('owner').post(`/robots/${robot.id}/rotate`, { overlapSeconds: 60 });
    await by('owner').delete(`/robots/${(body as Robot).id}`);
    const rows = await berth.database.query<{ action: string; namespace: string }>(
      `SELECT a.action, n.name AS namespace FROM audit_log a JOIN namespaces n ON n.id = a.namespace_id
       WHERE a.target = $1 ORDER BY a.id`,
      [`robot acme+${name}`],
    );
    expect(rows).toEqual(
      ['robot.create', 'robot.rotate', 'robot.revoke'].map((action) => ({ action, namespace: 'acme' })),
    );
  });
});
