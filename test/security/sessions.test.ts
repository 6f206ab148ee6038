/**
 * Sessions as an attacker would want them: planted, kept alive, used where they do not belong. What a session does for its
 * owner is in test/http/sessions.test.ts.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSecret } from '../../src/access/secrets.ts';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import { apiOf } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { cookieOf, dockerLogin, signIn, trySignIn } from '../support/people.ts';
import { basicOf, createSender, type Sender, type Sent } from '../support/sender.ts';

let berth: TestBerth;
let sender: Sender;
let people = 0;
beforeAll(async () => {
  berth = await startTestBerth();
  sender = createSender(berth.url);
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

const newUser = (): Promise<Login> => berth.addUser(`user${(people += 1)}`);
const cookie = (secret: string): { Cookie: string } => ({ Cookie: `berth_session=${secret}` });
const whoIs = async (headers: object): Promise<string | null> => {
  const answer = await sender.send('/api/v1/session', { headers: { ...headers } });
  if (answer.status !== 200) return null;
  return (answer.json as { user: { name: string } | null }).user?.name ?? null;
};
const secretIn = (answer: Sent): string => /berth_session=([^;]*)/.exec(answer.headers['set-cookie']?.[0] ?? '')![1]!;
const post = (body: object, headers: object = {}): Promise<Sent> =>
  sender.send('/api/v1/session', { method: 'POST', headers: { ...headers }, body });

describe('a session that was planted', () => {
  test('is never adopted: signing in makes a secret that nobody knew before', async () => {
    const ada = await newUser();
    const made = createSecret().text;
    for (const planted of [
      made,
      'chosen',
      'bth_',
      `bth_${'a'.repeat(42)}`,
      '',
      '../../x',
      `"${made}"`,
      `${made}; Path=/`,
    ]) {
      const answer = await post(ada, cookie(planted));
      expect(answer.status).toBe(201);
      const secret = secretIn(answer);
      expect(secret).not.toBe(planted);
      expect(secret).not.toContain(made);
      expect(await whoIs(cookie(planted))).toBeNull();
      expect(await whoIs(cookie(secret))).toBe(ada.username);
    }
  });

  test('of the attacker’s own account ends as soon as its victim signs in with it', async () => {
    const [ada, eve] = [await newUser(), await newUser()];
    const planted = (await signIn(berth.url, eve)).session;
    const answer = await post(ada, { ...cookie(planted), 'X-CSRF-Token': csrfTokenOf(planted) });
    expect(answer.status).toBe(201);
    expect(secretIn(answer)).not.toBe(planted);
    expect(await whoIs(cookie(planted))).toBeNull();
  });

  test('beside the real one is refused, whichever comes first', async () => {
    const [ada, eve] = [await newUser(), await newUser()];
    const [real, planted] = [(await signIn(berth.url, ada)).session, (await signIn(berth.url, eve)).session];
    for (const pair of [
      [real, planted],
      [planted, real],
      [real, real],
      ['', real],
      [real, ''],
    ]) {
      // prettier-ignore
      const Cookie = pair.map((secret) => `berth_session=${secret}`).join('; ');
      const answer = await sender.send('/api/v1/session', { headers: { Cookie } });
      expect(answer.status).toBe(400);
      expect(answer.text).not.toContain(real);
    }
    // In two headers it is the same.
    const two = await sender.send('/api/v1/session', {
      headers: { Cookie: [`berth_session=${real}`, `berth_session=${planted}`] },
    });
    expect(two.status).toBe(400);
  });

  test('by a name that is nearly right is none', async () => {
    const { session } = await signIn(berth.url, await newUser());
    for (const name of [
      'BERTH_SESSION',
      'berth_session2',
      '__Host-berth_session',
      'xberth_session',
      'berth-session',
      '$berth_session',
    ])
      expect(await whoIs({ Cookie: `${name}=${session}` })).toBeNull();
    for (const value of [
      `"${session}"`,
      `${session}x`,
      session.slice(0, -1),
      session.toLowerCase(),
      `${session},${session}`,
    ])
      expect(await whoIs(cookie(value))).toBeNull();
  });
});

describe('a session that has ended', () => {
  const alive = async (secret: string): Promise<boolean> => (await whoIs(cookie(secret))) !== null;

  test('by signing out', async () => {
    const { api, session } = await signIn(berth.url, await newUser());
    expect(await alive(session)).toBe(true);
    const out = await api.delete('/session');
    expect(out.status).toBe(204);
    expect(cookieOf(out)).toBe('');
    expect(await alive(session)).toBe(false);
    // Nor does it come back by being used, or as Bearer.
    expect((await sender.send('/api/v1/account', { headers: { Authorization: `Bearer ${session}` } })).status).toBe(
      401,
    );
    expect(await alive(session)).toBe(false);
  });

  test('by signing out everywhere: every session, cookie or not, of this account and no other', async () => {
    const [ada, bob] = [await newUser(), await newUser()];
    const mine = await Promise.all([signIn(berth.url, ada), signIn(berth.url, ada)]);
    const program = (await post({ ...ada, cookie: false })).json as { secret: string };
    const theirs = await signIn(berth.url, bob);
    expect((await mine[0]!.api.delete('/sessions')).status).toBe(204);
    for (const { session } of mine) expect(await alive(session)).toBe(false);
    expect(await whoIs({ Authorization: `Bearer ${program.secret}` })).toBeNull();
    expect(await alive(theirs.session)).toBe(true);
  });

  test('by another password: all but the one that changed it, and that one has a new secret', async () => {
    const ada = await newUser();
    const [here, there] = [await signIn(berth.url, ada), await signIn(berth.url, ada)];
    const changed = await here.api.put('/account/password', {
      password: ada.password,
      newPassword: 'another password',
    });
    expect(changed.status).toBeLessThan(300);
    const secret = cookieOf(changed);
    expect(secret).toMatch(/^bth_/);
    expect(secret).not.toBe(here.session);
    expect(await alive(secret!)).toBe(true);
    for (const { session } of [here, there]) expect(await alive(session)).toBe(false);
    expect(await dockerLogin(berth.url, ada)).toBe(false);
    expect(await dockerLogin(berth.url, { ...ada, password: 'another password' })).toBe(true);
  });

  test('because the account was disabled', async () => {
    const ada = await newUser();
    const { session } = await signIn(berth.url, ada);
    const admin = await apiOf(berth.url, berth.admin);
    const disable = async (disabled: boolean) => {
      const answer = await admin.patch(`/users/${ada.username}`, { disabled });
      expect(answer.status).toBe(200);
    };
    await disable(true);
    expect(await alive(session)).toBe(false);
    expect((await trySignIn(berth.url, ada)).status).toBe(401);
    const change = await sender.send('/api/v1/tokens', {
      method: 'POST',
      headers: { ...cookie(session), 'X-CSRF-Token': csrfTokenOf(session) },
      body: { name: 'late', grants: [] },
    });
    expect(change.status).toBe(401);
    await disable(false);
    expect((await trySignIn(berth.url, ada)).status).toBe(201);
  });

  test('because its row says so, at this process and at the next request', async () => {
    const ada = await newUser();
    const sessions = await Promise.all([signIn(berth.url, ada), signIn(berth.url, ada)]);
    const [first, second] = await berth.database.query<{ id: number }>(
      `SELECT c.id FROM credentials c JOIN users u ON u.id = c.user_id WHERE u.name = $1 AND c.kind = 'session'`,
      [ada.username],
    );
    await berth.database.query('UPDATE credentials SET revoked_at = now() WHERE id = $1', [first!.id]);
    await berth.database.query('UPDATE credentials SET expires_at = now() WHERE id = $1', [second!.id]);
    for (const { session } of sessions) expect(await alive(session)).toBe(false);
  });
});

test('a session is no login at the data plane, by no road', async () => {
  const ada = await newUser();
  const browser = (await signIn(berth.url, ada)).session;
  const program = ((await post({ ...ada, cookie: false })).json as { secret: string }).secret;
  for (const secret of [browser, program]) {
    expect(await dockerLogin(berth.url, { username: ada.username, password: secret })).toBe(false);
    const form = (fields: Record<string, string>) =>
      sender.send('/auth/token', {
        method: 'POST',
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams(fields).toString(),
      });
    expect((await form({ grant_type: 'password', username: ada.username, password: secret })).status).toBe(401);
    expect((await form({ grant_type: 'refresh_token', refresh_token: secret })).status).toBe(401);
    for (const headers of [
      basicOf({ username: ada.username, password: secret }),
      { Authorization: `Bearer ${secret}` },
      { ...cookie(secret), 'X-CSRF-Token': csrfTokenOf(secret) },
    ])
      for (const at of ['/v2/', `/v2/${ada.username}/app/tags/list`, '/v2/_catalog'])
        expect((await sender.send(at, { headers })).status).toBe(401);
    // Nor a password at the API.
    expect((await sender.send('/api/v1/account', { headers: basicOf({ ...ada, password: secret }) })).status).toBe(401);
    expect((await post({ ...ada, password: secret })).status).toBe(401);
  }
  // A cookie of a session gives no token for docker, either: the token end-point knows only nobody.
  const issued = await sender.send(`/auth/token?scope=repository:${ada.username}/app:pull,push`, {
    headers: cookie(browser),
  });
  expect((issued.json as { scope: string }).scope).toBe('');
});

test('secrets of sessions have nothing in common, and nothing of them is in an answer that a script may read', async () => {
  const ada = await newUser();
  const answers = await Promise.all(Array.from({ length: 5 }, () => post(ada)));
  const secrets = answers.map(secretIn);
  expect(new Set(secrets).size).toBe(5);
  expect(new Set(secrets.map((secret) => secret.slice(0, 12))).size).toBe(5);
  for (const [i, answer] of answers.entries()) {
    for (const secret of secrets) expect(answer.text).not.toContain(secret.slice(4, 20));
    const list = await sender.send('/api/v1/sessions', { headers: cookie(secrets[i]!) });
    for (const secret of secrets) expect(list.text).not.toContain(secret.slice(4, 20));
  }
});

test('over TLS of our own the cookie is bound to https and to this host', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-tls-'));
  const [cert, key] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
  const selfSigned = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
  const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  await promisify(execFile)('openssl', [...selfSigned.split(' '), ...names, '-keyout', key, '-out', cert]);
  const secure = await startTestBerth({ BERTH_TLS_CERT: cert, BERTH_TLS_KEY: key });
  try {
    const login = await secure.addUser('ada');
    const headers = { 'Content-Type': 'application/json' };
    const asked = httpsRequest({
      host: '127.0.0.1', port: secure.port, path: '/api/v1/session', method: 'POST', ca: await readFile(cert, 'utf8'),
      headers, agent: false,
    }); // prettier-ignore
    asked.end(JSON.stringify(login));
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    expect(answer.statusCode).toBe(201);
    expect(answer.headers['set-cookie']).toEqual([
      expect.stringMatching(/^__Host-berth_session=bth_\w{42}; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax; Secure$/),
    ]);
  } finally {
    await secure.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
