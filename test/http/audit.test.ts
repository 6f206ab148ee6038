/** The audit log, as the API shows it. */
import { once } from 'node:events';
import { get } from 'node:http';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createSecret } from '../../src/access/secrets.ts';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

interface AuditItem {
  readonly id: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly outcome: string;
  readonly target: string;
  readonly requestId: string | null;
}

let berth: TestBerth;
let admin: Api, ada: Api, ben: Api;
let adaLogin: Login;
beforeAll(async () => {
  berth = await startTestBerth();
  adaLogin = await berth.addUser('ada');
  const benLogin = await berth.addUser('ben');
  for (const [login, name] of [
    [adaLogin, 'ada/app'],
    [benLogin, 'ben/app'],
  ] as const)
    await clientOf(berth.url, login).pushImage(name, 'v1', makeImage());
  admin = await apiOf(berth.url, berth.admin);
  ada = await apiOf(berth.url, adaLogin);
  ben = await apiOf(berth.url, benLogin);
  // By another in a namespace of ada's, and by ben where something hidden is, and is not.
  await insert({ actor: 'ben', in: 'ada', target: 'ada/app:v1', action: 'tag.delete', outcome: 'denied' });
  await insert({ actor: 'ben', in: 'ada', target: 'ada/hidden', action: 'repository.create', outcome: 'denied' });
  await insert({ actor: 'ben', in: undefined, target: 'none/hidden', action: 'repository.create', outcome: 'denied' });
});
afterAll(() => berth.stop());

async function insert(row: Record<'actor' | 'target' | 'action' | 'outcome', string> & { in: string | undefined }) {
  await berth.database.query(
    `INSERT INTO audit_log (actor_name, user_id, namespace_id, target, action, outcome)
     SELECT $1, (SELECT id FROM users WHERE name = $1), (SELECT id FROM namespaces WHERE name = $2), $3, $4, $5`,
    [row.actor, row.in, row.target, row.action, row.outcome],
  );
}

/** A token of an account, or a robot's. */
async function makeSecret(of: {
  readonly user?: string;
  readonly robotOf?: string;
  readonly repository?: string | null;
  readonly scopes: readonly string[];
}): Promise<string> {
  const { text, hash } = createSecret();
  await berth.database.query(
    `INSERT INTO credentials (kind, name, user_id, namespace_id, repository_id, secret_hash, grants, api_scopes)
     SELECT $1, $2, (SELECT id FROM users WHERE name = $3), (SELECT id FROM namespaces WHERE name = $4),
       (SELECT id FROM repositories WHERE name = $5), $2, '[]', $6`,
    [of.user === undefined ? 'robot' : 'token', hash, of.user, of.robotOf, of.repository, of.scopes],
  );
  return text;
}

const search = (api: Api, query = ''): Promise<AuditItem[]> => itemsOf(api, `/audit?limit=2&${query}`);
const said = (items: readonly AuditItem[]) =>
  items.map(({ actor, action, target }) => [actor, action, target].join(' '));

describe('a search', () => {
  test('finds what somebody did, page by page, newest first', async () => {
    const items = await search(admin, 'who=ada&repository=ada/app');
    expect(new Set(items.map(({ action }) => action))).toEqual(
      new Set(['repository.create', 'blob.push', 'manifest.push']),
    );
    expect(items).toEqual(items.toSorted((a, b) => (a.at === b.at ? b.id - a.id : a.at < b.at ? 1 : -1)));
    expect(new Set(items.map(({ id }) => id)).size).toBe(items.length);
  });

  test('knows the request of a change', async () => {
    const changed = await ada.patch('/repositories/ada/app/-', { visibility: 'internal' });
    expect(changed.status).toBe(200);
    const items = await search(ada, `request_id=${changed.headers['x-request-id']}`);
    expect(items).toMatchObject([
      {
        actor: 'ada',
        action: 'repository.visibility',
        outcome: 'done',
        target: 'ada/app',
        before: { visibility: 'private' },
        after: { visibility: 'internal' },
        address: '127.0.0.1',
      },
    ]);
  });

  test('takes an action, or the beginning of several', async () => {
    const actions = async (action: string) =>
      new Set((await search(admin, `action=${action}`)).map((item) => item.action));
    expect(await actions('tag.delete')).toEqual(new Set(['tag.delete']));
    expect(await actions('repository.')).toEqual(new Set(['repository.create', 'repository.visibility']));
    const wrong = await admin.get('/audit?action=repo');
    expect([wrong.status, wrong.body]).toMatchObject([400, { errors: [{ path: 'query.action' }] }]);
  });

  test('takes a target, or its beginning', async () => {
    expect(said(await search(admin, 'target=ada/hidden'))).toEqual(['ben repository.create ada/hidden']);
    expect(said(await search(admin, 'target=*&who=ben&outcome=denied'))).toHaveLength(3);
    expect(said(await search(admin, 'target=none*'))).toEqual(['ben repository.create none/hidden']);
  });

  test('takes a time, with its zone', async () => {
    expect(await search(admin, 'since=2100-01-01T00:00:00%2B02:00')).toEqual([]);
    expect(await search(admin, 'until=2000-01-01T00:00:00Z')).toEqual([]);
    expect((await search(admin, 'who=ada&since=2000-01-01T00:00:00.000Z')).length).toBeGreaterThan(0);
  });

  test.each([
    'since=yesterday',
    'limit=0',
    'cursor=WzFd',
    'outcome=maybe',
    'who=',
    'target=%00',
    'unknown=1',
    'who=a&who=b',
    'namespace=ada&repository=ada/app',
    `who=${'x'.repeat(513)}`,
  ])('refuses %s', async (query) => {
    expect((await admin.get(`/audit?${query}`)).status).toBe(400);
  });

  test('takes any text for what it is', async () => {
    for (const name of ['who', 'namespace', 'repository', 'target', 'address', 'request_id'])
      expect(await search(admin, `${name}=${encodeURIComponent(`x' OR 1=1; DROP TABLE audit_log; --%_\\`)}`)).toEqual(
        [],
      );
  });
});

describe('who sees what', () => {
  test('nobody sees nothing', async () => {
    const nobody = await apiOf(berth.url);
    expect((await nobody.get('/audit')).status).toBe(401);
    expect((await nobody.get('/audit/export?format=csv')).status).toBe(401);
  });

  test('an administrator sees all', async () => {
    const actors = (await search(admin)).map(({ actor }) => actor);
    expect(actors).toEqual(expect.arrayContaining(['ada', 'ben', 'test']));
  });

  test('an account sees its own, and what others did in a namespace that it owns', async () => {
    expect(said(await search(ada, 'outcome=denied'))).toEqual([
      'ben repository.create ada/hidden',
      'ben tag.delete ada/app:v1',
    ]);
    expect((await search(ada, 'who=ada')).length).toBeGreaterThan(2);
    expect(await search(ben, 'who=ada')).toEqual([]);
    expect((await search(ben, 'namespace=ben')).length).toBeGreaterThan(2);
    expect(await search(ada, 'namespace=ben')).toEqual([]);
  });

  test('a token sees what it was made for, of what its account may', async () => {
    const scoped = async (who: string, scopes: readonly string[]) =>
      apiOf(berth.url, { token: await makeSecret({ user: who, scopes }) });
    const refused = await (await scoped('ada', ['account:read'])).get('/audit');
    expect([refused.status, refused.body]).toMatchObject([403, { detail: expect.stringContaining('audit:read') }]);
    const filter = 'outcome=denied';
    const seen = async (who: string, scopes: readonly string[]) =>
      said(await search(await scoped(who, scopes), filter));
    expect(await seen('ada', ['audit:read'])).toEqual(said(await search(ada, filter)));
    expect(await seen('ada', ['audit:read', 'admin:read'])).toEqual(said(await search(ada, filter)));
    expect(await seen('admin', ['audit:read'])).toEqual([]);
    expect(await seen('admin', ['audit:read', 'admin:read'])).toEqual(said(await search(admin, filter)));
  });

  test('a robot sees its namespace, unless it is for one repository', async () => {
    const seen = async (repository: string | null) => {
      const token = await makeSecret({ robotOf: 'ada', repository, scopes: ['audit:read'] });
      return said(await search(await apiOf(berth.url, { token })));
    };
    expect(await seen(null)).toEqual(said(await search(admin, 'namespace=ada')));
    expect(await seen('ada/app')).toEqual([]);
  });

  test('a row about what is hidden does not tell whether it is there', async () => {
    const [hidden, absent] = [await search(ben, 'target=ada/hidden'), await search(ben, 'target=none/hidden')];
    const plain = (items: readonly AuditItem[]) =>
      JSON.stringify(items.map((item) => ({ ...item, id: 0, at: '', target: '' })));
    expect(plain(hidden)).toBe(plain(absent));
    for (const query of ['namespace', 'repository'])
      expect(
        said(await search(ben, `${query}=${query === 'namespace' ? 'ada' : 'ada/hidden'}&action=repository.`)),
      ).toEqual(['ben repository.create ada/hidden']);
    expect(said(await search(ben, 'namespace=none'))).toEqual(['ben repository.create none/hidden']);
  });
});

describe('an export', () => {
  const download = (api: Api, query: string) => api.get(`/audit/export?${query}`).buffer(true);

  test('as NDJSON has a row per line, and is itself in the log', async () => {
    const answer = await download(ada, 'format=ndjson&action=manifest.');
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/x-ndjson',
      'content-disposition': 'attachment; filename="audit.ndjson"',
      'cache-control': 'no-store',
    });
    const lines = answer.text.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(await search(ada, 'action=manifest.'));
    expect(await search(ada, 'action=audit.export')).toMatchObject([{ actor: 'ada', target: 'ndjson' }]);
  });

  test('as CSV has a header', async () => {
    const answer = await download(ben, 'format=csv&outcome=denied');
    expect(answer.headers['content-type']).toBe('text/csv; charset=utf-8');
    const [header, ...rows] = answer.text.trimEnd().split('\r\n');
    expect(header).toMatch(/^at,id,actor,/);
    expect(rows).toHaveLength(3);
  });

  test('only asked about is not made, and not in the log', async () => {
    const before = await search(admin, 'action=audit.export');
    const answer = await admin.head('/audit/export?format=csv');
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'text/csv; charset=utf-8']);
    expect(await search(admin, 'action=audit.export')).toEqual(before);
    for (const query of ['', 'format=xml', 'format=csv&limit=1'])
      expect((await admin.get(`/audit/export?${query}`)).status).toBe(400);
  });

  test('ends when its reader leaves, and is nobody’s failure', async () => {
    await berth.database.query(
      `INSERT INTO audit_log (actor_name, user_id, action, outcome, target, after)
       SELECT 'many', NULL, 'tag.delete', 'done', 'x', to_json(repeat('x', 10000)) FROM generate_series(1, 5000)`,
    );
    const { username, password } = berth.admin;
    const request = get(`${berth.url}/api/v1/audit/export?format=ndjson&who=many`, { auth: `${username}:${password}` });
    const [answer] = (await once(request, 'response')) as [NodeJS.ReadableStream & { statusCode: number }];
    expect(answer.statusCode).toBe(200);
    await once(answer, 'data');
    request.destroy();
    await vi.waitFor(async () => {
      const rows = await berth.database.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`,
      );
      expect(rows).toEqual([]);
    });
    expect((await admin.get('/audit?limit=1')).status).toBe(200);
    expect(berth.logs.filter((line) => line['level'] === 'error')).toEqual([]);
  });
});
