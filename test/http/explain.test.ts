/** Why somebody may or may not: `/api/v1/access/explain`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refreshGrantedRoles } from '../../src/access/sql/roles.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
let apis: Record<'admin' | 'olga' | 'rita' | 'stan', Api>;

beforeAll(async () => {
  berth = await startTestBerth();
  const admin = clientOf(berth.url, berth.admin);
  await admin.pushImage('acme/api', '1', makeImage());
  const [olga, rita, stan] = [await berth.addUser('olga'), await berth.addUser('rita'), await berth.addUser('stan')];
  await berth.database.transaction(async (queryer) => {
    const [{ id: namespaceId }] = (await queryer.query<{ id: number }>(
      "SELECT id FROM namespaces WHERE name = 'acme'",
    )) as [{ id: number }];
    await queryer.query(
      `INSERT INTO namespace_members (namespace_id, user_id, role)
       SELECT $1, id, CASE name WHEN 'olga' THEN 4 ELSE 1 END FROM users WHERE name IN ('olga', 'rita')`,
      [namespaceId],
    );
    await queryer.query("INSERT INTO teams (namespace_id, name) VALUES ($1, 'ops')", [namespaceId]);
    await queryer.query(
      "INSERT INTO team_members (team_id, user_id) SELECT t.id, u.id FROM teams t, users u WHERE t.name = 'ops' AND u.name = 'rita'",
    );
    await queryer.query(
      "INSERT INTO collaborators (repository_id, team_id, role) SELECT r.id, t.id, 2 FROM repositories r, teams t WHERE r.name = 'acme/api' AND t.name = 'ops'",
    );
    await refreshGrantedRoles(queryer, namespaceId);
  });
  apis = {
    admin: await apiOf(berth.url, berth.admin),
    olga: await apiOf(berth.url, olga),
    rita: await apiOf(berth.url, rita),
    stan: await apiOf(berth.url, stan),
  };
});
afterAll(() => berth.stop());

const ask = (api: Api, repository: string, action: string, user?: string) =>
  api.get(`/access/explain?repository=${repository}&action=${action}${user === undefined ? '' : `&user=${user}`}`);

describe('oneself', () => {
  test('by which roles, and which of them decided', async () => {
    const { body } = await ask(apis.rita, 'acme/api', 'push');
    expect(body).toEqual({
      user: 'rita',
      repository: 'acme/api',
      action: 'push',
      allowed: true,
      reasons: [{ rule: 'role', text: 'the role developer may push' }],
      roles: [
        { source: 'team ops, which is a collaborator on acme/api', role: 'developer' },
        { source: 'member of acme', role: 'reader' },
      ],
      changes: [],
    });
  });

  test('what a role does not allow, and what would', async () => {
    const { body } = await ask(apis.rita, 'acme/api', 'delete');
    expect(body.allowed).toBe(false);
    expect(body.reasons).toEqual([
      { rule: 'weak-role', text: 'the role developer may not delete: that takes maintainer' },
    ]);
    expect(body.changes[0]).toBe('an owner gives rita the role maintainer (or a stronger one) in acme');
  });

  test('agrees with what the registry then does', async () => {
    for (const [api, name] of [
      [apis.rita, 'rita'],
      [apis.olga, 'olga'],
      [apis.stan, 'stan'],
    ] as const) {
      const client = clientOf(berth.url, { username: name, password: `password of ${name}` });
      const pull = await client.request('get', '/v2/acme/api/manifests/1');
      const push = await client.request('post', '/v2/acme/api/blobs/uploads/');
      expect((await ask(api, 'acme/api', 'pull')).body.allowed).toBe(pull.status === 200);
      expect((await ask(api, 'acme/api', 'push')).body.allowed).toBe(push.status === 202);
    }
  });

  test.each(['pull', 'push', 'delete', 'settings', 'members'])(
    'a stranger hears of %s the same for what is hidden, absent, or in no namespace at all',
    async (action) => {
      const [hidden, absent, nowhere] = await Promise.all(
        ['acme/api', 'acme/none', 'nobody/none'].map(async (name) => {
          const { status, text } = await ask(apis.stan, name, action);
          return { status, text: text.replaceAll(name, 'NAME').replaceAll(/\b(acme|nobody)\b/g, 'NAMESPACE') };
        }),
      );
      expect(hidden!.status).toBe(200);
      expect(hidden).toEqual(absent);
      expect(hidden).toEqual(nowhere);
    },
  );
});

describe('others', () => {
  test('an owner may ask about everybody, and learns nothing of who exists', async () => {
    const rita = await ask(apis.olga, 'acme/api', 'push', 'rita');
    expect(rita.body).toMatchObject({ user: 'rita', allowed: true });
    const [stan, nobody] = await Promise.all(
      ['stan', 'nobody-at-all'].map((user) => ask(apis.olga, 'acme/api', 'push', user)),
    );
    expect(stan!.status).toBe(200);
    expect(stan!.text.replaceAll('stan', 'X')).toBe(nobody!.text.replaceAll('nobody-at-all', 'X'));
    expect(stan!.body.reasons[0].rule).toBe('no-role');
  });

  test('who is no owner may not; who does not see the repository does not learn that it is there', async () => {
    expect((await ask(apis.rita, 'acme/api', 'push', 'olga')).status).toBe(403);
    const [hidden, absent] = await Promise.all(
      ['acme/api', 'acme/none'].map((name) => ask(apis.stan, name, 'push', 'olga')),
    );
    expect([hidden!.status, absent!.status]).toEqual([404, 404]);
  });

  test('an administrator is told that an account is disabled', async () => {
    await berth.addUser('dora');
    await berth.database.query("UPDATE users SET disabled_at = now() WHERE name = 'dora'");
    const { body } = await ask(apis.admin, 'acme/api', 'pull', 'dora');
    expect(body.reasons).toEqual([{ rule: 'dead-credential', text: 'the account dora is disabled' }]);
    expect(body.changes).toEqual(['an administrator enables the account again']);
  });
});
