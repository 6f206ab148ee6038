/** Who may do what with skopeo, in every way to log in, and what skopeo tells them. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Grant } from '../../src/access/grants.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { pauseAfterFirstBlob } from '../support/http-proxy.ts';
import {
  addOrganization,
  addRepositoryRobot,
  addRobot,
  addSecondFactor,
  addToken,
  succeed,
} from '../support/sign-in.ts';
import { mounted, requestsDuring, run, temporaryFolder, titled, uploaded, whyNot, type Ran } from '../support/tools.ts';
import { writeLayout } from '../support/tools-layout.ts';

const reason = whyNot('skopeo', 'tar');

const may = (repositories: string, ...actions: Grant['actions']): Grant[] => [{ repositories, actions }];

describe.skipIf(reason !== undefined)(titled('skopeo and access', reason), () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  /** Owns the organization acme. */
  let alice: Login;
  let api: Api;

  beforeAll(async () => {
    work = await temporaryFolder('skopeo-access');
    berth = await startTestBerth();
    alice = await berth.addUser('alice');
    api = await apiOf(berth.url, alice);
    await writeLayout(path.join(work.folder, 'layout'), 'hello', ['amd64']);
    await addOrganization(api, 'acme');
    for (const name of ['acme/api', 'acme/web']) await expectDone(push(alice, name));
  });
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  /** Nobody's, but for what the flags say. */
  function skopeo(command: string, ...args: string[]): Promise<Ran> {
    const env = { HOME: work.folder, REGISTRY_AUTH_FILE: path.join(work.folder, 'auth.json'), TMPDIR: work.folder };
    return run('skopeo', ['--insecure-policy', command, ...args], { env });
  }

  const from = ({ username, password }: Login): string[] => [
    '--src-tls-verify=false',
    `--src-creds=${username}:${password}`,
  ];
  const to = ({ username, password }: Login): string[] => [
    '--dest-tls-verify=false',
    `--dest-creds=${username}:${password}`,
  ];
  const remote = (name: string, host = berth.host): string => `docker://${host}/${name}`;

  const push = (login: Login, name: string, host?: string): Promise<Ran> =>
    skopeo('copy', '--all', ...to(login), `oci:${path.join(work.folder, 'layout')}:multi`, remote(`${name}:1`, host));
  const look = (command: 'inspect' | 'list-tags' | 'delete', login: Login | undefined, name: string): Promise<Ran> =>
    skopeo(
      command,
      '--tls-verify=false',
      login === undefined ? '--no-creds' : `--creds=${login.username}:${login.password}`,
      remote(command === 'list-tags' ? name : `${name}:1`),
    );

  async function expectDone(ran: Promise<Ran>): Promise<void> {
    const { code, output } = await ran;
    expect(code, output).toBe(0);
  }

  /** What skopeo prints of something that must fail. */
  async function refusal(ran: Promise<Ran>): Promise<string> {
    const { code, output } = await ran;
    expect(code, output).toBe(1);
    return output;
  }

  test.each<[string, () => Promise<Login>]>([
    ['a password', async () => alice],
    ['a token for everything', () => addToken(api, 'alice', 'everything')],
    ['a token for one repository', () => addToken(api, 'alice', 'one', may('acme/api', 'pull', 'push'))],
    ['a robot of an organization', () => addRobot(api, 'acme', 'ci', may('acme/*', 'pull', 'push'))],
    ['a robot of a repository', () => addRepositoryRobot(api, 'acme/api', 'ci', ['pull', 'push'])],
  ])('%s pushes, inspects and lists', async (_, make) => {
    const login = await make();
    await expectDone(push(login, 'acme/api'));
    await expectDone(look('inspect', login, 'acme/api'));
    await expectDone(look('list-tags', login, 'acme/api'));
  });

  test('a token that only pulls neither pushes nor deletes, and skopeo says why', async () => {
    const token = await addToken(api, 'alice', 'ci-api', may('acme/api', 'pull'));
    const tags = await look('list-tags', token, 'acme/api');
    expect(JSON.parse(tags.stdout)).toMatchObject({ Tags: ['1'] });
    expect(await refusal(push(token, 'acme/api'))).toContain('denied: the token ci-api may pull acme/api, not push');
    expect(await refusal(look('delete', token, 'acme/api'))).toContain(
      'the token ci-api may pull acme/api, not delete',
    );
    await expectDone(look('inspect', token, 'acme/api'));
  });

  test('a token for one repository knows no other, whether it is there or not', async () => {
    const token = await addToken(api, 'alice', 'narrow', may('acme/api', 'pull', 'push'));
    // Without the time.
    const told = (output: string): string => /msg=.*/.exec(output)![0];
    for (const command of ['inspect', 'list-tags'] as const) {
      const there = told(await refusal(look(command, token, 'acme/web')));
      const absent = told(await refusal(look(command, token, 'acme/not')));
      expect(absent).toBe(there.replaceAll('acme/web', 'acme/not'));
    }
    expect(await refusal(look('inspect', token, 'acme/web'))).toContain(
      'the token narrow may pull, push acme/api, not pull acme/web',
    );
    expect(await refusal(push(token, 'acme/web'))).toContain(
      'denied: you may not push to acme/web: the token narrow may pull, push acme/api, not push acme/web',
    );
  });

  test('what is public is inspected by everybody, what is internal by whoever has a login', async () => {
    const bob = await berth.addUser('bob');
    for (const visibility of ['public', 'internal', 'private']) {
      await expectDone(push(alice, `acme/${visibility}`));
      await succeed(api.patch(`/repositories/acme/${visibility}/-`, { visibility }));
    }
    await expectDone(look('inspect', undefined, 'acme/public'));
    expect(await refusal(look('inspect', undefined, 'acme/internal'))).toContain(
      'authentication required; log in first',
    );
    await expectDone(look('inspect', bob, 'acme/internal'));
    expect(await refusal(look('inspect', bob, 'acme/private'))).toContain('does not exist, or you may not see it');
  });

  test('a copy within the registry, with one token for each side, mounts only what the second may read', async () => {
    // Layers of its own: what is in a public repository, too, may be mounted from there.
    const made = await writeLayout(path.join(work.folder, 'own'), 'from one to the other', ['amd64']);
    const layout = `oci:${path.join(work.folder, 'own')}:multi`;
    await expectDone(skopeo('copy', '--all', ...to(alice), layout, remote('acme/source:1')));
    const source = await addToken(api, 'alice', 'source', may('acme/source', 'pull'));
    const blind = await addToken(api, 'alice', 'blind', may('acme/blind', 'pull', 'push'));
    const seeing = await addToken(api, 'alice', 'seeing', [
      ...may('acme/seeing', 'pull', 'push'),
      ...may('acme/source', 'pull'),
    ]);
    const copy = (name: string, login: Login): Promise<void> =>
      expectDone(
        skopeo('copy', '--all', ...from(source), ...to(login), remote('acme/source:1'), remote(`acme/${name}:1`)),
      );
    const mounts = await requestsDuring(berth, () => copy('seeing', seeing));
    expect([mounted(mounts), uploaded(mounts)]).toEqual([made.layers, made.configs]);
    const sent = await requestsDuring(berth, () => copy('blind', blind));
    expect(mounted(sent)).toEqual([]);
    expect(uploaded(sent).toSorted()).toEqual([...made.layers, ...made.configs].toSorted());
  });

  test('a token that is revoked between two blobs of a push ends it, and no tag is left', async () => {
    const token = await addToken(api, 'alice', 'between');
    const proxy = await pauseAfterFirstBlob(berth.port, () => token.revoke());
    try {
      expect(await refusal(push(token, 'acme/fresh', proxy.host))).toContain(
        'unauthorized: these credentials were revoked or have expired',
      );
    } finally {
      await proxy.close();
    }
    expect(proxy.stored()).toBe(1);
    const tags = await clientOf(berth.url, alice).request('get', '/v2/acme/fresh/tags/list');
    expect(tags.body).toEqual({ name: 'acme/fresh', tags: [] });
  });

  test('a renamed repository is read by its old name, and a push there is told the new one', async () => {
    await expectDone(push(alice, 'acme/before'));
    await succeed(api.post('/repositories/acme/before/-/rename', { to: 'acme/after' }));
    await expectDone(look('inspect', alice, 'acme/before'));
    expect(await refusal(push(alice, 'acme/before'))).toContain('acme/before is called acme/after now: push there');
  });

  describe('is refused in words:', () => {
    test('a right token with a wrong name', async () => {
      const token = await addToken(api, 'alice', 'right');
      expect(await refusal(look('inspect', { ...token, username: 'bob' }, 'acme/api'))).toContain(
        'unauthorized: the user name or password is not right',
      );
    });

    test('a token that was revoked', async () => {
      const token = await addToken(api, 'alice', 'gone');
      await expectDone(look('inspect', token, 'acme/api'));
      await token.revoke();
      expect(await refusal(look('inspect', token, 'acme/api'))).toContain(
        'unauthorized: these credentials were revoked or have expired',
      );
    });

    test('the password of an account with a second factor; its tokens are not', async () => {
      const carol = await berth.addUser('carol');
      const token = await addToken(await apiOf(berth.url, carol), 'carol', 'laptop');
      await expectDone(push(carol, 'carol/app'));
      await addSecondFactor(berth.url, carol);
      expect(await refusal(look('inspect', carol, 'carol/app'))).toContain(
        'this account has a second factor: use a personal access token in place of the password',
      );
      await expectDone(look('inspect', token, 'carol/app'));
    });
  });
});
