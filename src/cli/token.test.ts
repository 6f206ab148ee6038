/** `berth token` and `berth key`, beside a server that goes on running. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../../test/support/berth.ts';
import { clientOf, tokenFor } from '../../test/support/client.ts';
import { makeImage } from '../../test/support/images.ts';

let server: TestBerth;
beforeAll(async () => {
  server = await startTestBerth();
  await clientOf(server.url, await server.addUser('ada')).pushImage('ada/app', 'v1', makeImage());
});
afterAll(() => server.stop());

async function berth(...args: readonly string[]) {
  const main = resolve(import.meta.dirname, '../main.ts');
  const env = { BERTH_DATABASE_URL: server.databaseUrl, BERTH_DATA_DIR: server.dataDir, BERTH_LOG_LEVEL: 'warn' };
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr, code: code as number };
}

const tags = (password: string) =>
  clientOf(server.url, { username: 'ada', password }).request('get', '/v2/ada/app/tags/list');
const actions = () =>
  server.database.query<{ action: string; actor_name: string }>(
    `SELECT action, actor_name FROM audit_log WHERE actor_name LIKE 'berth %' ORDER BY id`,
  );

test('a token is made, listed and revoked', async () => {
  const args = ['--grant', 'ada/app=pull,push', '--grant', 'ada/*=pull', '--api-scope', 'account:read'];
  const made = await berth('token', 'create', 'ada', '--name', 'ci', '--expires-days', '7', ...args);
  expect(made).toMatchObject({ code: 0, stderr: '' });
  const [, id, secret] =
    /^Made the token (\d+) of ada\. It expires at \S+\.\nToken \(it is not shown again\): (bth_\w{42})\n$/.exec(
      made.stdout,
    )!;
  expect((await tags(secret!)).status).toBe(200);

  const listed = await berth('token', 'list', 'ada');
  expect(listed.stdout).toMatch(
    new RegExp(`^${id}\tci\tactive\t\\d{4}-\\S+\t(never used|\\S+)\tada/app=pull,push ada/\\*=pull\n$`),
  );
  expect(listed.stdout).not.toContain('bth_');

  expect(await berth('token', 'revoke', id!)).toMatchObject({ code: 0, stdout: `The token ${id} is revoked.\n` });
  expect((await tags(secret!)).status).toBe(401);
  expect((await berth('token', 'list', 'ada')).stdout).toBe('');
  expect((await berth('token', 'list', 'ada', '--ended')).stdout).toContain(`${id}\tci\trevoked`);
  expect(await actions()).toEqual([
    { action: 'token.create', actor_name: 'berth token create' },
    { action: 'token.revoke', actor_name: 'berth token revoke' },
  ]);
});

test.each([
  [['token', 'create', 'ada', '--name', 'x', '--grant', 'ada/app'], /the grant "ada\/app" is not valid/],
  [['token', 'create', 'ada', '--name', 'x', '--grant', 'ada/app=fly'], /is not valid/],
  [['token', 'create', 'ada', '--name', 'x', '--api-scope', 'everything'], /there is no API scope everything/],
  [['token', 'create', 'ada', '--name', 'x', '--expires-days', '366'], /within 365 days/],
  [['token', 'create', 'ada', '--name', 'a\nb'], /visible characters/],
  [['token', 'create', 'nobody', '--name', 'x'], /there is no user nobody/],
  [['token', 'revoke', '999999'], /there is no token 999999/],
  [['token', 'revoke', 'ci'], /it is a number/],
  [['key', 'revoke', 'unknown'], /there is no signing key "unknown"/],
])('%j: one sentence, and exit code 1', async (args, sentence) => {
  const { stdout, stderr, code } = await berth(...args);
  expect({ stdout, code }).toEqual({ stdout: '', code: 1 });
  expect(stderr).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('a compromised key is dropped while the server runs', async () => {
  const token = await tokenFor(server.url, [], server.admin);
  const ask = () => clientOf(server.url).request('get', '/v2/').set('Authorization', `Bearer ${token}`);
  expect((await ask()).status).toBe(200);
  const [line] = (await berth('key', 'list')).stdout.split('\n');
  const kid = /^(\S+) {2}current {3}since \S+$/.exec(line!)![1]!;
  expect((await berth('key', 'revoke', kid)).code).toBe(0);
  expect((await ask()).status).toBe(401);
  const states = (await berth('key', 'list')).stdout.split('\n').map((each) => each.split(/ +/)[1]);
  expect(states).toEqual(['current', 'revoked', undefined]);
});
