/** Who may do what with podman, in every way to log in, and what podman tells them. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Grant } from '../../src/access/grants.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { writeContext } from '../support/dockerd.ts';
import { pauseAfterFirstBlob } from '../support/http-proxy.ts';
import {
  addMember,
  addOrganization,
  addRepositoryRobot,
  addRobot,
  addSecondFactor,
  addToken,
  succeed,
} from '../support/sign-in.ts';
import { run, temporaryFolder, titled, whyNot, type Ran } from '../support/tools.ts';

const reason = whyNot('podman');

const may = (repositories: string, ...actions: Grant['actions']): Grant[] => [{ repositories, actions }];

describe.skipIf(reason !== undefined)(titled('podman and access', reason), () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  /** Owns the organization acme. */
  let alice: Login;
  let api: Api;
  const within = (name: string): string => path.join(work.folder, name);

  beforeAll(async () => {
    work = await temporaryFolder('podman-access');
    berth = await startTestBerth();
    alice = await berth.addUser('alice');
    api = await apiOf(berth.url, alice);
    await addOrganization(api, 'acme');
    await writeContext(within('context'), 'hello');
    await expectDone(podman('nobody', ['build', '--tag', 'app', within('context')]));
    await login('alice', alice);
    for (const name of ['acme/api', 'acme/web']) await expectDone(push('alice', name));
  });
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  /** Runs podman as somebody with logins of their own. */
  function podman(user: string, args: readonly string[], input = ''): Promise<Ran> {
    const storage = ['--root', within('root'), '--runroot', within('run'), '--tmpdir', within('tmp')];
    const simple = ['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none'];
    return run('podman', [...storage, ...simple, ...args], {
      env: { HOME: work.folder, REGISTRY_AUTH_FILE: authFile(user) },
      input,
    });
  }

  const authFile = (user: string): string => within(`${user}.json`);

  const tryLogin = (user: string, { username, password }: Login, host = berth.host): Promise<Ran> =>
    podman(user, ['login', '--tls-verify=false', '--username', username, '--password-stdin', host], password);
  async function login(user: string, as: Login, host?: string): Promise<void> {
    expect(await tryLogin(user, as, host)).toMatchObject({ code: 0, stdout: 'Login Succeeded!\n' });
  }

  const push = (user: string, name: string, host = berth.host): Promise<Ran> =>
    podman(user, ['push', '--tls-verify=false', 'app', `${host}/${name}:1`]);
  const pull = (user: string, name: string): Promise<Ran> =>
    podman(user, ['pull', '--tls-verify=false', `${berth.host}/${name}:1`]);
  const search = (user: string, text: string): Promise<Ran> =>
    podman(user, ['search', '--tls-verify=false', '--format', '{{.Name}}', `${berth.host}/${text}`]);

  async function expectDone(ran: Promise<Ran>): Promise<string> {
    const { code, output, stdout } = await ran;
    expect(code, output).toBe(0);
    return stdout;
  }

  /** What podman prints of something that must fail. */
  async function refusal(ran: Promise<Ran>): Promise<string> {
    const { code, output } = await ran;
    expect(code, output).toBe(125);
    return output;
  }

  test.each<[string, () => Promise<Login>]>([
    ['a token for everything', () => addToken(api, 'alice', 'everything')],
    ['a token for one repository', () => addToken(api, 'alice', 'one', may('acme/api', 'pull', 'push'))],
    ['a robot of an organization', () => addRobot(api, 'acme', 'ci', may('acme/*', 'pull', 'push'))],
    ['a robot of a repository', () => addRepositoryRobot(api, 'acme/api', 'ci', ['pull', 'push'])],
  ])('%s logs in, pushes and pulls', async (kind, make) => {
    await login(kind, await make());
    await expectDone(push(kind, 'acme/api'));
    await expectDone(pull(kind, 'acme/api'));
  });

  test('a right token with a wrong name does not log in', async () => {
    const token = await addToken(api, 'alice', 'right');
    expect(await refusal(tryLogin('liar', { ...token, username: 'bob' }))).toContain('invalid username/password');
  });

  test('a password stops working when there is a second factor, and the next push says what to use', async () => {
    const carol = await berth.addUser('carol');
    const token = await addToken(await apiOf(berth.url, carol), 'carol', 'laptop');
    await login('carol', carol);
    await expectDone(push('carol', 'carol/app'));
    await addSecondFactor(berth.url, carol);
    expect(await refusal(push('carol', 'carol/app'))).toContain(
      'unauthorized: this account has a second factor: use a personal access token in place of the password',
    );
    // What podman makes of every 401 at a login.
    expect(await refusal(tryLogin('carol', carol))).toContain('invalid username/password');
    await login('carol', token);
    await expectDone(push('carol', 'carol/app'));
  });

  test('a token that only pulls does not push, and podman says so; it finds nothing else', async () => {
    await login('ci', await addToken(api, 'alice', 'ci-api', may('acme/api', 'pull')));
    await expectDone(pull('ci', 'acme/api'));
    expect(await refusal(push('ci', 'acme/api'))).toContain('denied: the token ci-api may pull acme/api, not push');
    expect(await refusal(pull('ci', 'acme/web'))).toContain(
      'the repository acme/web does not exist, or you may not see it: the token ci-api may pull acme/api, not pull acme/web',
    );
    const found = await expectDone(search('ci', 'acme'));
    expect(found).toContain(`${berth.host}/acme/api\n`);
    expect(found).not.toContain('acme/web');
    expect(await expectDone(search('alice', 'acme'))).toContain(`${berth.host}/acme/web\n`);
  });

  test('a token that is revoked ends its login', async () => {
    const token = await addToken(api, 'alice', 'brief');
    await login('brief', token);
    await token.revoke();
    expect(await refusal(pull('brief', 'acme/api'))).toContain(
      'unauthorized: these credentials were revoked or have expired',
    );
  });

  test('an identity token, as docker keeps it, works until what it came from is revoked', async () => {
    const token = await addToken(api, 'alice', 'identity');
    const issued = await supertest(berth.url)
      .get('/auth/token')
      .query({ service: 'berth', account: 'alice', client_id: 'docker', offline_token: 'true' })
      .auth(token.username, token.password);
    const identitytoken = (issued.body as { refresh_token: string }).refresh_token;
    const auths = { [berth.host]: { auth: Buffer.from('alice:').toString('base64'), identitytoken } };
    await writeFile(authFile('identity'), JSON.stringify({ auths }));
    await expectDone(pull('identity', 'acme/api'));
    await expectDone(push('identity', 'acme/api'));
    await token.revoke();
    expect(await refusal(pull('identity', 'acme/api'))).toContain(
      'unauthorized: this login has ended (the refresh token is unknown, expired or revoked); log in again',
    );
    // It is still there: podman was not told to forget it.
    expect(await readFile(authFile('identity'), 'utf8')).toContain(identitytoken);
  });

  test('a token that is revoked between two layers of a push ends it, and no tag is left', async () => {
    const token = await addToken(api, 'alice', 'between');
    const proxy = await pauseAfterFirstBlob(berth.port, () => token.revoke());
    try {
      await login('between', token, proxy.host);
      expect(await refusal(push('between', 'acme/fresh', proxy.host))).toContain(
        'unauthorized: these credentials were revoked or have expired',
      );
    } finally {
      await proxy.close();
    }
    expect(proxy.stored()).toBe(1);
    const tags = await clientOf(berth.url, alice).request('get', '/v2/acme/fresh/tags/list');
    expect(tags.body).toEqual({ name: 'acme/fresh', tags: [] });
  });

  test('what is public is for everybody, what is internal for everybody with a login', async () => {
    await login('leaver', alice);
    await expectDone(podman('leaver', ['logout', berth.host]));
    await login('bob', await berth.addUser('bob'));
    for (const visibility of ['public', 'internal'] as const) {
      await expectDone(push('alice', `acme/${visibility}`));
      await succeed(api.patch(`/repositories/acme/${visibility}/-`, { visibility }));
    }
    await expectDone(pull('leaver', 'acme/public'));
    expect(await refusal(pull('leaver', 'acme/internal'))).toContain('authentication required; log in first');
    await expectDone(pull('bob', 'acme/internal'));
    expect(await refusal(pull('bob', 'acme/api'))).toContain('does not exist, or you may not see it');
    expect(await expectDone(search('bob', 'acme'))).toBe(
      [`${berth.host}/acme/internal`, `${berth.host}/acme/public`, ''].join('\n'),
    );
    expect(await expectDone(search('leaver', 'acme'))).toBe(`${berth.host}/acme/public\n`);
  });

  test('who is taken out of an organization pulls no more with the same login', async () => {
    await login('dave', await berth.addUser('dave'));
    await addMember(await apiOf(berth.url, berth.admin), 'acme', 'dave', 'developer');
    await expectDone(push('dave', 'acme/ship'));
    await succeed(api.delete('/namespaces/acme/members/dave'));
    expect(await refusal(pull('dave', 'acme/ship'))).toContain('does not exist, or you may not see it');
  });

  test('a renamed repository is pulled by its old name, and a push there is told the new one', async () => {
    await expectDone(push('alice', 'acme/before'));
    await succeed(api.post('/repositories/acme/before/-/rename', { to: 'acme/after' }));
    await expectDone(pull('alice', 'acme/before'));
    expect(await refusal(push('alice', 'acme/before'))).toContain('acme/before is called acme/after now: push there');
  });
});
