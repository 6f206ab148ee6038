/** `berth user`, beside a server that goes on running. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiOf } from '../../test/support/api.ts';
import { startTestBerth, type TestBerth } from '../../test/support/berth.ts';
import { dockerLogin, enableSecondFactor, signIn, trySignIn } from '../../test/support/people.ts';

let server: TestBerth;
beforeAll(async () => {
  server = await startTestBerth();
});
afterAll(() => server.stop());

async function berth(args: readonly string[], input = '') {
  const main = resolve(import.meta.dirname, '../main.ts');
  const env = {
    BERTH_DATABASE_URL: server.databaseUrl,
    BERTH_DATA_DIR: server.dataDir,
    BERTH_LOG_LEVEL: 'warn',
    BERTH_PUBLIC_URL: 'https://hub.example',
  };
  const child = spawn(process.execPath, [main, 'user', ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr, code: code as number };
}

/** The token of the one link that a command printed. */
function tokenIn(stdout: string, path: string): string {
  const line = stdout.split('\n').find((each) => each.startsWith('https://'))!;
  const url = new URL(line);
  expect([url.origin, url.pathname]).toEqual(['https://hub.example', path]);
  return url.hash.slice('#token='.length);
}

const password = 'a fine password';

test('somebody is invited by a link, and makes an account', async () => {
  const { stdout, code } = await berth(['invite', 'Ada@mail.example']);
  expect(code).toBe(0);
  const token = tokenIn(stdout, '/sign-up');
  const made = await (await apiOf(server.url)).post('/registrations/confirm', { token, username: 'ada', password });
  expect(made.body).toEqual({ name: 'ada', email: 'ada@mail.example' });
  expect((await berth(['invite', 'nobody'])).code).toBe(1);
});

test('accounts are listed, disabled and enabled', async () => {
  const bob = await server.addUser('bob');
  const { api } = await signIn(server.url, bob);
  expect(await berth(['disable', 'bob'])).toMatchObject({ code: 0, stdout: 'bob is disabled now.\n' });
  expect((await api.get('/account')).status).toBe(401);
  expect((await berth(['list'])).stdout.split('\n')).toEqual(
    expect.arrayContaining(['admin\t\tadministrator', 'bob\t\tdisabled']),
  );
  await berth(['enable', 'bob']);
  expect(await dockerLogin(server.url, bob)).toBe(true);
});

test('the last administrator stays, and the command says why', async () => {
  const answer = await berth(['demote', 'admin']);
  expect(answer).toMatchObject({ code: 1, stdout: '' });
  expect(answer.stderr).toMatch(/^berth: admin is the last administrator .*\n$/);
  await server.addUser('carl');
  await berth(['promote', 'carl']);
  expect((await berth(['demote', 'admin'])).code).toBe(0);
  await berth(['promote', 'admin']);
});

test('a forgotten password is set by a link, or at once', async () => {
  const dora = await server.addUser('dora');
  const token = tokenIn((await berth(['reset-password', 'dora'])).stdout, '/sign-in/reset-password');
  const anyone = await apiOf(server.url);
  expect((await anyone.post('/password-resets/confirm', { token, newPassword: password })).status).toBe(204);
  expect(await dockerLogin(server.url, { ...dora, password })).toBe(true);
  const { api } = await signIn(server.url, { ...dora, password });
  expect((await berth(['reset-password', 'dora', '--password-stdin'], 'another password\n')).code).toBe(0);
  expect((await api.get('/account')).status).toBe(401);
  expect(await dockerLogin(server.url, { ...dora, password: 'another password' })).toBe(true);
  expect((await berth(['reset-password', 'dora', '--password-stdin'], 'short\n')).stderr).toContain(
    'between 8 and 256',
  );
});

test('an address is given and confirmed by a link', async () => {
  const emil = await server.addUser('emil');
  expect((await berth(['verify-email', 'emil'])).stderr).toContain('has no address');
  const { stdout } = await berth(['verify-email', 'emil', '--address', 'emil@mail.example']);
  const token = tokenIn(stdout, '/settings/verify-email');
  expect((await (await apiOf(server.url)).post('/email-verifications/confirm', { token })).status).toBe(204);
  const { api } = await signIn(server.url, emil);
  expect((await api.get('/account')).body).toMatchObject({ email: 'emil@mail.example', emailVerified: true });
});

test('whoever lost a second factor or a laptop is helped', async () => {
  const fay = await server.addUser('fay');
  await enableSecondFactor((await signIn(server.url, fay)).api, fay.password);
  expect((await trySignIn(server.url, fay)).status).toBe(401);
  expect((await berth(['totp-off', 'fay'])).code).toBe(0);
  const { api } = await signIn(server.url, fay);
  expect((await berth(['sign-out', 'fay'])).code).toBe(0);
  expect((await api.get('/account')).status).toBe(401);
});

test('every change is in the audit log, and an unknown name is said in one sentence', async () => {
  const rows = await server.database.query<{ action: string }>(
    `SELECT DISTINCT action FROM audit_log WHERE actor_name LIKE 'berth user %' ORDER BY action`,
  );
  expect(rows.map(({ action }) => action)).toEqual([
    'email.verify.request',
    'invitation.create',
    'password.reset.request',
    'session.revoke_all',
    'user.admin',
    'user.disable',
    'user.enable',
    'user.password',
    'user.totp.disable',
  ]);
  expect(await berth(['disable', 'nobody'])).toMatchObject({ code: 1, stderr: 'berth: there is no user "nobody"\n' });
});
