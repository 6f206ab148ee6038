/** Accounts as administrators see and change them. For everybody else there is nothing there. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { searchAudit } from '../../src/events/audit-search.ts';
import { startBerth } from '../../src/app.ts';
import { parseConfig } from '../../src/config/load.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { createTestDatabase } from '../support/database.ts';
import { dockerLogin, enableSecondFactor, signIn, trySignIn } from '../support/people.ts';

let berth: TestBerth;
let admin: Api;
let people = 0;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = await apiOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const newName = (): string => `user${(people += 1)}`;
const newUser = (): Promise<Login> => berth.addUser(newName());

/** A password by the link that an administrator was given. */
async function choose(link: string, newPassword: string): Promise<number> {
  const token = decodeURIComponent(link.slice(link.indexOf('#token=') + '#token='.length));
  return (await (await apiOf(berth.url)).post('/password-resets/confirm', { token, newPassword })).status;
}

describe('making an account', () => {
  test('with a password', async () => {
    const username = newName();
    const email = `${username}@Mail.example`;
    const made = await admin.post('/users', { username, email, password: 'a fine password' });
    expect(made.status).toBe(201);
    expect(made.headers['location']).toBe(`/api/v1/users/${username}`);
    expect(made.body).toMatchObject({
      name: username,
      email: email.toLowerCase(),
      emailVerified: false,
      admin: false,
      disabled: false,
      link: null,
      mailed: false,
    });
    expect(await dockerLogin(berth.url, { username, password: 'a fine password' })).toBe(true);
    await clientOf(berth.url, { username, password: 'a fine password' }).pushBlob(
      `${username}/app`,
      (await import('../support/images.ts')).randomContent(),
    );
  });

  test('without one gives a link that works once; the same request again gives the same link', async () => {
    const username = newName();
    const key = randomUUID();
    const ask = () => admin.post('/users', { username }).set('Idempotency-Key', key);
    const made = await ask();
    const { link } = made.body as { link: string };
    expect(new URL(link).pathname).toBe('/sign-in/reset-password');
    expect(((await ask()).body as { link: string }).link).toBe(link);
    expect((await trySignIn(berth.url, { username, password: 'a fine password' })).status).toBe(401);
    expect(await choose(link, 'a fine password')).toBe(204);
    expect(await choose(link, 'another password')).toBe(404);
    expect((await trySignIn(berth.url, { username, password: 'a fine password' })).status).toBe(201);
    const [row] = await berth.database.query<{ token_hash: string }>(
      'SELECT token_hash FROM one_time_links l JOIN users u ON u.id = l.user_id WHERE u.name = $1',
      [username],
    );
    expect(link).not.toContain(row!.token_hash);
  });

  test('refuses a name that cannot be taken in the same words, whatever it is', async () => {
    await admin.post('/namespaces', { name: 'acme' });
    const ada = await newUser();
    const answers = [];
    for (const username of ['settings', 'acme', ada.username]) {
      const answer = await admin.post('/users', { username, password: 'a fine password' });
      answers.push([answer.status, (answer.body as { detail: string }).detail.replaceAll(username, 'NAME')]);
    }
    expect(new Set(answers.map(String)).size).toBe(1);
    expect(answers[0]![0]).toBe(409);
    expect((await admin.post('/users', { username: 'Not A Name' })).status).toBe(400);
  });

  test('refuses an address that another account has', async () => {
    const email = `${newName()}@mail.example`;
    expect((await admin.post('/users', { username: newName(), email })).status).toBe(201);
    const username = newName();
    expect((await admin.post('/users', { username, email })).status).toBe(409);
    expect((await admin.get(`/users/${username}`)).status).toBe(404);
  });
});

test('accounts are listed by name, and found by how name or address begins', async () => {
  for (const username of ['zed-2', 'zed-1', 'zed_x', 'zebra'])
    await admin.post('/users', { username, email: `${username}@z.example`, password: 'a fine password' });
  const names = async (query: string) =>
    (await itemsOf<{ name: string }>(admin, `/users?limit=2&${query}`)).map(({ name }) => name);
  expect(await names('search=zed-')).toEqual(['zed-1', 'zed-2']);
  expect(await names('search=zed_')).toEqual(['zed_x']);
  expect(await names('search=ZEBRA@')).toEqual(['zebra']);
  expect(await names('search=%25')).toEqual([]);
  const all = await names('search=');
  expect(all).toEqual(all.toSorted());
  expect(all).toContain('admin');
});

describe('disabling an account', () => {
  test('stops everything of it with the next request, on every process; enabling it brings no session back', async () => {
    const facts = await createTestDatabase();
    const folder = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
    const config = parseConfig({
      BERTH_DATABASE_URL: facts.url,
      BERTH_DATA_DIR: folder,
      BERTH_LISTEN: '127.0.0.1:0',
      BERTH_ADMIN_PASSWORD: berth.admin.password,
      BERTH_LOG_LEVEL: 'silent',
    });
    const [one, two] = [
      await startBerth(config, createLogger(config.log)),
      await startBerth(config, createLogger(config.log)),
    ];
    try {
      const [here, there] = [`http://127.0.0.1:${one.port}`, `http://127.0.0.1:${two.port}`];
      const boss = await apiOf(here, berth.admin);
      const ada = { username: 'ada', password: 'a fine password' };
      await boss.post('/users', ada);
      const { session } = await signIn(there, ada);
      const browser = await apiOf(there, { session });
      const token = await tokenFor(there, ['repository:ada/app:pull,push'], ada);
      const made = await browser.post('/tokens', {
        name: 'ci',
        grants: [{ repositories: '*', actions: ['pull'] }],
        apiScopes: ['account:read'],
      });
      const { secret } = made.body as { secret: string };
      const working = async () => [
        (await browser.get('/account')).status,
        (await (await apiOf(there, { token: secret })).get('/account')).status,
        (await clientOf(there).request('get', '/v2/').auth(token, { type: 'bearer' })).status,
        (await clientOf(there).request('post', '/v2/ada/app/blobs/uploads/').auth(token, { type: 'bearer' })).status,
        (await clientOf(there, ada).request('get', '/v2/')).status,
        (await clientOf(there, { ...ada, password: secret }).request('get', '/v2/')).status,
        (await trySignIn(there, ada)).status,
      ];
      expect(await working()).toEqual([200, 200, 200, 202, 200, 200, 201]);
      expect((await boss.patch('/users/ada', { disabled: true })).body).toMatchObject({
        disabled: true,
        can: expect.arrayContaining(['enable']) as unknown,
      });
      expect(await working()).toEqual([401, 401, 401, 401, 401, 401, 401]);
      await boss.patch('/users/ada', { disabled: false });
      expect(await working()).toEqual([401, 200, 401, 401, 200, 200, 201]);
    } finally {
      await Promise.all([one.stop(), two.stop()]);
      await facts.drop();
      await rm(folder, { recursive: true });
    }
  });

  test('honours If-Match, and is in the audit log with who did it', async () => {
    const ada = await newUser();
    const at = `/users/${ada.username}`;
    const etag = (await admin.get(at)).headers['etag']!;
    expect((await admin.patch(at, { disabled: true }).set('If-Match', '"other"')).status).toBe(412);
    const changed = await admin.patch(at, { disabled: true }).set('If-Match', etag);
    expect(changed.status).toBe(200);
    expect((await admin.get(at)).headers['etag']).toBe(changed.headers['etag']);
    const { records } = await searchAudit(berth.database, { all: true }, { actions: ['user.disable'] }, { limit: 50 });
    expect(records.find(({ target }) => target === ada.username)).toMatchObject({ actor: 'admin', outcome: 'done' });
  });
});

describe('the last administrator', () => {
  test('cannot be disabled or demoted', async () => {
    for (const change of [{ disabled: true }, { admin: false }])
      expect((await admin.patch('/users/admin', change)).status).toBe(422);
    // One that nobody can sign in as, for it has no password, does not count.
    await admin.post('/users', { username: newName(), admin: true });
    expect((await admin.patch('/users/admin', { admin: false })).status).toBe(422);
  });

  test('stays when two demote or disable each other at once', async () => {
    const own = await startTestBerth();
    try {
      const boss = await apiOf(own.url, own.admin);
      const pair = await Promise.all(['ada', 'bob'].map(async (name) => apiOf(own.url, await own.addUser(name, true))));
      for (let round = 0; round < 5; round += 1) {
        await own.database.query(`UPDATE users SET is_admin = name <> 'admin', disabled_at = NULL`);
        const change = round % 2 === 0 ? { admin: false } : { disabled: true };
        const answers = await Promise.all([pair[0]!.patch('/users/bob', change), pair[1]!.patch('/users/ada', change)]);
        expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
        const left = await own.database.query('SELECT 1 FROM users WHERE is_admin AND disabled_at IS NULL');
        expect(left).toHaveLength(1);
      }
      await own.database.query(`UPDATE users SET is_admin = true WHERE name = 'admin'`);
      expect((await boss.get('/users/admin')).body).toMatchObject({ admin: true });
    } finally {
      await own.stop();
    }
  });
});

test('who is demoted administers nothing with the next request', async () => {
  const ada = await berth.addUser(newName(), true);
  const api = await apiOf(berth.url, ada);
  expect((await api.get('/users')).status).toBe(200);
  expect((await admin.patch(`/users/${ada.username}`, { admin: false })).status).toBe(200);
  expect((await api.get('/users')).status).toBe(404);
});

describe('helping somebody', () => {
  test('with a link for a new password, which ends what came from the old one; a second factor stays', async () => {
    const ada = await newUser();
    const { api } = await signIn(berth.url, ada);
    const { recoveryCodes } = await enableSecondFactor(api, ada.password);
    const [code, other] = recoveryCodes as [string, string];
    const browser = await signIn(berth.url, { ...ada, code });
    const given = await admin.post(`/users/${ada.username}/password-reset`);
    expect(given.body).toMatchObject({ mailed: false });
    expect((await browser.api.get('/account')).status).toBe(200);
    const { link } = given.body as { link: string };
    const newer = (await admin.post(`/users/${ada.username}/password-reset`)).body as { link: string };
    expect(await choose(link, 'a newer password')).toBe(404);
    expect(await choose(newer.link, 'a newer password')).toBe(204);
    expect((await browser.api.get('/account')).status).toBe(401);
    expect((await trySignIn(berth.url, { ...ada, password: 'a newer password' })).status).toBe(401);
    expect((await trySignIn(berth.url, { ...ada, password: 'a newer password', code: other })).status).toBe(201);
  });

  test('by signing them out everywhere', async () => {
    const { api } = await signIn(berth.url, await berth.addUser('lost-laptop'));
    expect((await admin.delete('/users/lost-laptop/sessions')).status).toBe(204);
    expect((await api.get('/account')).status).toBe(401);
  });
});

describe('for everybody but administrators', () => {
  const requests = (name: string): readonly (readonly ['get' | 'post' | 'patch' | 'delete', string, unknown?])[] => [
    ['get', '/users'],
    ['post', '/users', { username: 'somebody', password: 'a fine password' }],
    ['post', '/users/invitations', { email: 'somebody@mail.example' }],
    ['get', `/users/${name}`],
    ['patch', `/users/${name}`, { admin: true }],
    ['patch', `/users/${name}`, { disabled: true }],
    ['post', `/users/${name}/password-reset`],
    ['delete', `/users/${name}/sessions`],
    ['delete', `/users/${name}/totp`],
  ];

  test('there is nothing there, and no account that could be told from none', async () => {
    const ada = await newUser();
    const bob = await newUser();
    const { api } = await signIn(berth.url, ada);
    const told = async (name: string) => {
      const answers = [];
      for (const [method, at, body] of requests(name)) {
        const { status, body: problem } = await api[method](at, body);
        expect(status).toBe(404);
        answers.push(JSON.stringify({ ...(problem as object), requestId: '' }));
      }
      return answers;
    };
    expect(await told(bob.username)).toEqual(await told('nobody-of-that-name'));
    expect(await told(ada.username)).toEqual(await told('nobody-of-that-name'));
  });

  test('an administrator’s token sees what it was made for, and makes nobody more powerful', async () => {
    const ada = await newUser();
    const tokenWith = async (...apiScopes: string[]) => {
      const made = await admin.post('/tokens', { name: `t${(people += 1)}`, grants: [], apiScopes });
      return apiOf(berth.url, { token: (made.body as { secret: string }).secret });
    };
    const [none, reads, writes] = [
      await tokenWith('account:read'),
      await tokenWith('admin:read'),
      await tokenWith('admin:read', 'admin:write'),
    ];
    expect((await none.get('/users')).status).toBe(403);
    expect((await reads.get(`/users/${ada.username}`)).body).toMatchObject({ name: ada.username, can: [] });
    for (const [method, at, body] of requests(ada.username).filter(([verb]) => verb !== 'get')) {
      expect((await reads[method](at, body)).status).toBe(403);
      if (!Object.hasOwn((body ?? {}) as object, 'disabled')) expect((await writes[method](at, body)).status).toBe(403);
    }
    expect((await writes.patch(`/users/${ada.username}`, { email: 'eve@mail.example' })).status).toBe(403);
    expect((await writes.patch(`/users/${ada.username}`, { disabled: true })).status).toBe(200);
  });
});
