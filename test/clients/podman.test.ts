/** What a person does with podman, and what podman tells them. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { writeContext } from '../support/dockerd.ts';
import { mounted, requestsDuring, run, temporaryFolder, titled, uploaded, whyNot, type Ran } from '../support/tools.ts';

const reason = whyNot('podman');

describe.skipIf(reason !== undefined)(titled('podman', reason), () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let logins: { alice: Login; bob: Login };

  beforeAll(async () => {
    work = await temporaryFolder('podman');
    berth = await startTestBerth();
    logins = { alice: await berth.addUser('alice'), bob: await berth.addUser('bob') };
    for (const name of ['alice', 'bob'] as const) expect(await login(name, logins[name])).toMatchObject({ code: 0 });
    await build('app', 'hello from far away');
  });
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  /**
   * Runs podman as somebody with logins of their own.
   * @param machine whose images are used; those of one are not on another
   */
  function podman(user: string, args: readonly string[], { machine = 'home', input = '' } = {}): Promise<Ran> {
    const within = (name: string): string => path.join(work.folder, machine, name);
    const storage = ['--root', within('root'), '--runroot', within('run'), '--tmpdir', within('tmp')];
    const simple = ['--storage-driver', 'vfs', '--cgroup-manager', 'cgroupfs', '--events-backend', 'none'];
    const env = { HOME: work.folder, REGISTRY_AUTH_FILE: path.join(work.folder, `${user}.json`) };
    return run('podman', [...storage, ...simple, ...args], { env, input });
  }

  const login = (user: string, { username, password }: Login): Promise<Ran> =>
    podman(user, ['login', '--tls-verify=false', '--username', username, '--password-stdin', berth.host], {
      input: password,
    });

  async function succeed(user: string, ...args: string[]): Promise<string> {
    const ran = await podman(user, args);
    expect(ran.code, `podman ${args.join(' ')}:\n${ran.output}`).toBe(0);
    return ran.stdout.trim();
  }

  async function build(name: string, message: string): Promise<void> {
    const context = path.join(work.folder, `context-${name}`);
    await writeContext(context, message);
    await succeed('alice', 'build', '--tag', name, context);
  }

  /** Pushes an image under this name; `app` is there for everybody. @returns the full name */
  async function push(name: string, { local = 'app', flags = [] as readonly string[] } = {}): Promise<string> {
    const image = `${berth.host}/${name}`;
    await succeed('alice', 'push', '--tls-verify=false', ...flags, local, image);
    return image;
  }

  /** Pulls an image to a machine that has none, and runs it with limits as low as any machine lets a container have. */
  async function pullAndRun(machine: string, image: string): Promise<string> {
    const pulled = await podman('alice', ['pull', '--tls-verify=false', image], { machine });
    expect(pulled.code, pulled.output).toBe(0);
    const limits = ['--network=none', '--ulimit=nofile=256:256', '--ulimit=nproc=64:64'];
    const ran = await podman('alice', ['run', '--rm', ...limits, image], { machine });
    return ran.output.trim();
  }

  test('a login with a wrong password says that it is wrong', async () => {
    const ran = await login('somebody', { ...logins.alice, password: 'something else' });
    expect(ran.code).toBe(125);
    expect(ran.output).toContain('invalid username/password');
  });

  test('what was pushed can be pulled by tag and by digest, and runs', async () => {
    const digestFile = path.join(work.folder, 'digest');
    const image = await push('alice/app:1', { flags: ['--digestfile', digestFile] });
    expect(await pullAndRun('by-tag', image)).toBe('hello from far away');
    const pinned = `${berth.host}/alice/app@${await readFile(digestFile, 'utf8')}`;
    expect(await pullAndRun('by-digest', pinned)).toBe('hello from far away');
  });

  test('layers compressed with zstd are pushed and pulled', async () => {
    // Of its own: podman would rather reuse a layer that it has pushed in another compression.
    await build('zstd', 'small from far away');
    const flags = ['--compression-format=zstd', '--format=oci'];
    const image = await push('alice/zstd:1', { local: 'zstd', flags });
    const answer = await clientOf(berth.url, logins.alice).request('get', '/v2/alice/zstd/manifests/1').buffer(true);
    const { layers } = JSON.parse(answer.text) as { layers: { mediaType: string }[] };
    expect(layers.at(-1)?.mediaType).toBe('application/vnd.oci.image.layer.v1.tar+zstd');
    expect(await pullAndRun('zstd', image)).toBe('small from far away');
  });

  test('a push under another name mounts the layers', async () => {
    await push('alice/original:1');
    const requests = await requestsDuring(berth, () => push('alice/copy:1'));
    const answer = await clientOf(berth.url, logins.alice).request('get', '/v2/alice/copy/manifests/1').buffer(true);
    const manifest = JSON.parse(answer.text) as { config: { digest: string }; layers: { digest: string }[] };
    expect(mounted(requests).toSorted()).toEqual(manifest.layers.map(({ digest }) => digest).toSorted());
    expect(uploaded(requests)).toEqual([manifest.config.digest]);
  });

  test('a search lists the repositories that one may see', async () => {
    await push('alice/listed:1');
    const search = ['search', '--tls-verify=false'];
    expect(await succeed('alice', ...search, `${berth.host}/listed`)).toContain('alice/listed');
    expect(await succeed('bob', ...search, `${berth.host}/listed`)).not.toContain('alice/listed');
    const tags = await succeed('alice', ...search, '--list-tags', `${berth.host}/alice/listed`);
    expect(tags).toMatch(/alice\/listed +1/);
  });

  test("a push into somebody else's namespace is refused, and podman says why", async () => {
    const ran = await podman('bob', ['push', '--tls-verify=false', 'app', `${berth.host}/alice/foreign:1`]);
    expect(ran.code).toBe(125);
    expect(ran.output).toContain('denied: you may not push to alice/foreign: the namespace alice is not yours');
  });

  test('after a logout a private image cannot be pulled, and podman says why', async () => {
    const image = await push('alice/secret:1');
    await login('leaver', logins.alice);
    await succeed('leaver', 'logout', berth.host);
    const ran = await podman('leaver', ['pull', '--tls-verify=false', image], { machine: 'leaver' });
    expect(ran.code).toBe(125);
    expect(ran.output).toContain('unauthorized: authentication required; log in first');
  });
});
