/** skopeo, which copies between registries, archives and layouts without running anything. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { createSigningKeys } from '../../src/access/keys.ts';
import { createAccessTokens } from '../../src/access/tokens.ts';
import { clientOf, tokenFor } from '../support/client.ts';
import { mounted, requestsDuring, run, temporaryFolder, titled, uploaded, whyNot, type Ran } from '../support/tools.ts';
import { writeLayout, type Layout } from '../support/tools-layout.ts';

interface Inspected {
  readonly Digest: string;
  readonly Architecture: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly RepoTags: readonly string[];
}

const reason = whyNot('skopeo', 'tar');

describe.skipIf(reason !== undefined)(titled('skopeo', reason), () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let alice: Login;
  /** An index of two platforms, on disk. */
  let made: Layout;
  const within = (name: string): string => path.join(work.folder, name);
  const layout = (): string => `oci:${within('layout')}:multi`;

  beforeAll(async () => {
    work = await temporaryFolder('skopeo');
    berth = await startTestBerth();
    alice = await berth.addUser('alice');
    made = await writeLayout(within('layout'), 'hello', ['amd64', 'arm64']);
    expect(await login('alice', alice)).toMatchObject({ code: 0 });
  });
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  /** Runs skopeo as somebody with logins of their own. */
  function skopeo(user: string, args: readonly string[], input = ''): Promise<Ran> {
    const env = { HOME: work.folder, REGISTRY_AUTH_FILE: within(`${user}.json`), TMPDIR: work.folder };
    return run('skopeo', ['--insecure-policy', ...args], { env, input });
  }

  const login = (user: string, { username, password }: Login): Promise<Ran> =>
    skopeo(user, ['login', '--tls-verify=false', '--username', username, '--password-stdin', berth.host], password);

  async function succeed(...args: string[]): Promise<string> {
    const ran = await skopeo('alice', args);
    expect(ran.code, `skopeo ${args.join(' ')}:\n${ran.output}`).toBe(0);
    return ran.stdout;
  }

  const copy = (from: string, to: string, ...flags: string[]): Promise<string> =>
    succeed('copy', '--src-tls-verify=false', '--dest-tls-verify=false', ...flags, from, to);
  const inspect = async (image: string, ...flags: string[]): Promise<Inspected> =>
    JSON.parse(await succeed(...flags, 'inspect', '--tls-verify=false', image)) as Inspected;
  const remote = (name: string): string => `docker://${berth.host}/${name}`;

  test('an index goes from a layout to the registry and back, with all platforms and the same digests', async () => {
    await copy(layout(), remote('alice/multi:1'), '--all', '--preserve-digests');
    const answer = await clientOf(berth.url, alice).request('head', '/v2/alice/multi/manifests/1');
    expect(answer.headers['docker-content-digest']).toBe(made.index.digest);

    await copy(remote('alice/multi:1'), `oci:${within('back')}:multi`, '--all', '--preserve-digests');
    const blobs = async (name: string): Promise<string[]> => (await readdir(within(`${name}/blobs/sha256`))).toSorted();
    expect(await blobs('back')).toEqual(await blobs('layout'));
    expect(await readFile(within(`back/blobs/sha256/${made.index.digest.slice(7)}`))).toEqual(made.index.bytes);
  });

  test('a token that does not do is refused in words', async () => {
    await copy(layout(), remote('alice/tokens:1'), '--all');
    const pull = await tokenFor(berth.url, ['repository:alice/tokens:pull'], alice);
    const other = await tokenFor(berth.url, ['repository:alice/other:pull,push'], alice);
    const inspectWith = (token: string): Promise<Ran> =>
      skopeo('nobody', ['inspect', '--raw', '--tls-verify=false', '--registry-token', token, remote('alice/tokens:1')]);
    expect((await inspectWith(pull)).code).toBe(0);

    expect((await inspectWith(other)).output).toContain('the token was not made to pull alice/tokens');
    expect((await inspectWith(await expiredToken())).output).toContain('the token has expired; ask for a new one');
    const flags = ['--dest-tls-verify=false', '--dest-registry-token', pull];
    const push = await skopeo('nobody', ['copy', ...flags, layout(), remote('alice/tokens:2')]);
    expect(push.output).toContain('the token was not made to push alice/tokens');
  });

  /** Signed with the registry's own key, and over for longer than clocks may differ. */
  async function expiredToken(): Promise<string> {
    const settings = { service: 'berth', ttlSeconds: -3600, clockSkewSeconds: 0 };
    const tokens = createAccessTokens(createSigningKeys(berth.database), settings);
    const { token } = await tokens.issue(1, 'alice', [{ type: 'repository', name: 'alice/tokens', actions: ['pull'] }]);
    return token;
  }

  test('each client is shown the image of its platform', async () => {
    await copy(layout(), remote('alice/platforms:1'), '--all');
    for (const architecture of ['amd64', 'arm64'])
      expect(await inspect(remote('alice/platforms:1'), '--override-arch', architecture)).toMatchObject({
        Architecture: architecture,
        Labels: { message: `hello ${architecture}` },
        RepoTags: ['1'],
      });
  });

  test('an image goes through a docker archive and keeps its content', async () => {
    await copy(layout(), remote('alice/source:1'), '--override-arch=amd64');
    const archive = `docker-archive:${within('image.tar')}:archived:1`;
    await copy(remote('alice/source:1'), archive);
    await copy(archive, remote('alice/archived:1'));
    const answer = await clientOf(berth.url, alice).request('head', '/v2/alice/archived/manifests/1');
    expect(answer.headers['content-type']).toBe('application/vnd.docker.distribution.manifest.v2+json');
    expect((await inspect(remote('alice/archived:1'))).Labels).toEqual({ message: 'hello amd64' });
  });

  test('a copy within the registry mounts what is there', async () => {
    await copy(layout(), remote('alice/here:1'), '--all');
    const requests = await requestsDuring(berth, () => copy(remote('alice/here:1'), remote('alice/there:1'), '--all'));
    expect(mounted(requests).toSorted()).toEqual(made.layers.toSorted());
    expect(uploaded(requests).toSorted()).toEqual(made.configs.toSorted());
  });

  test('tags are listed', async () => {
    for (const tag of ['b', 'a', 'c']) await copy(layout(), remote(`alice/tags:${tag}`), '--all');
    expect(JSON.parse(await succeed('list-tags', '--tls-verify=false', remote('alice/tags')))).toMatchObject({
      Tags: ['a', 'b', 'c'],
    });
  });

  test('a deleted image is gone, by its tag and by its digest', async () => {
    await copy(layout(), remote('alice/deleted:1'), '--all');
    await succeed('delete', '--tls-verify=false', remote('alice/deleted:1'));
    for (const image of [remote('alice/deleted:1'), remote(`alice/deleted@${made.index.digest}`)]) {
      const ran = await skopeo('alice', ['inspect', '--tls-verify=false', image]);
      expect(ran.code).toBe(1);
      expect(ran.output).toContain('manifest unknown: no such tag or manifest in the repository');
    }
  });

  test('a repository is synchronized to a folder and from there to another', async () => {
    for (const tag of ['1', '2']) await copy(layout(), remote(`alice/synced:${tag}`), '--all');
    const flags = ['sync', '--all', '--src-tls-verify=false', '--dest-tls-verify=false'];
    await succeed(...flags, '--src', 'docker', '--dest', 'dir', `${berth.host}/alice/synced`, within('synced'));
    await succeed(...flags, '--src', 'dir', '--dest', 'docker', within('synced'), `${berth.host}/alice/again`);
    expect(await inspect(remote('alice/again/synced:1'))).toMatchObject({
      Digest: made.index.digest,
      RepoTags: ['1', '2'],
    });
  });

  test('a login with a wrong password says that it is wrong', async () => {
    const ran = await login('somebody', { ...alice, password: 'something else' });
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('invalid username/password');
  });

  test('without a login a private image is not shown, and skopeo says why', async () => {
    await copy(layout(), remote('alice/private:1'), '--all');
    const ran = await skopeo('stranger', ['inspect', '--tls-verify=false', remote('alice/private:1')]);
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('unauthorized: authentication required; log in first');
  });
});
