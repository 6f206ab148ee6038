/** buildah: images and multi-platform indexes without a daemon. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { run, temporaryFolder, titled, whyNot } from '../support/tools.ts';

interface Index {
  readonly mediaType: string;
  readonly manifests: readonly { readonly digest: string; readonly platform: { readonly architecture: string } }[];
}

const reason = whyNot('buildah');

describe.skipIf(reason !== undefined)(titled('buildah', reason), () => {
  let berth: TestBerth;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let alice: Login;

  beforeAll(async () => {
    work = await temporaryFolder('buildah');
    berth = await startTestBerth();
    alice = await berth.addUser('alice');
    await writeFile(path.join(work.folder, 'message'), 'hello\n');
    await writeFile(path.join(work.folder, 'Containerfile'), 'FROM scratch\nCOPY message /\nLABEL greeting=hello\n');
    const login = ['login', '--tls-verify=false', '--username', alice.username, '--password', alice.password];
    await buildah(...login, berth.host);
  });
  afterAll(async () => {
    await berth?.stop();
    await work?.remove();
  });

  async function buildah(...args: string[]): Promise<string> {
    const within = (name: string): string => path.join(work.folder, name);
    const storage = ['--root', within('root'), '--runroot', within('run'), '--storage-driver', 'vfs'];
    const env = { HOME: work.folder, REGISTRY_AUTH_FILE: within('auth.json'), BUILDAH_ISOLATION: 'chroot' };
    const ran = await run('buildah', [...storage, ...args], { env, cwd: work.folder });
    expect(ran.code, `buildah ${args.join(' ')}:\n${ran.output}`).toBe(0);
    return ran.stdout.trim();
  }

  /** @returns the id of the image */
  const build = (...flags: string[]): Promise<string> => buildah('bud', '--quiet', ...flags, '.');

  test('an image built from scratch is pushed, pulled and looked into', async () => {
    const image = `${berth.host}/alice/scratch:1`;
    const id = await build('--tag', image);
    await buildah('push', '--tls-verify=false', image);
    await buildah('rmi', '--all', '--force');
    expect(await buildah('pull', '--quiet', '--tls-verify=false', image)).toBe(id);
    const container = await buildah('from', '--pull-never', image);
    const label = '{{index .OCIv1.Config.Labels "greeting"}}';
    expect(await buildah('inspect', '--format', label, container)).toBe('hello');
    await buildah('rm', container);
  });

  test.each([
    ['oci', 'application/vnd.oci.image.index.v1+json'],
    ['v2s2', 'application/vnd.docker.distribution.manifest.list.v2+json'],
  ])('a multi-platform index is pushed with all of its images (%s)', async (format, mediaType) => {
    const architectures = ['amd64', 'arm64', 's390x'];
    const list = `list-${format}`;
    await buildah('manifest', 'create', list);
    for (const architecture of architectures)
      await buildah(
        'manifest',
        'add',
        list,
        await build('--format', format === 'oci' ? 'oci' : 'docker', '--arch', architecture),
      );
    const flags = ['manifest', 'push', '--quiet', '--all', '--tls-verify=false', '--format', format];
    await buildah(...flags, list, `docker://${berth.host}/alice/multi-${format}:1`);

    const owner = clientOf(berth.url, alice);
    const answer = await owner.request('get', `/v2/alice/multi-${format}/manifests/1`).buffer(true);
    expect(answer.headers['content-type']).toBe(mediaType);
    const { manifests } = JSON.parse(answer.text) as Index;
    expect(manifests.map(({ platform }) => platform.architecture).toSorted()).toEqual(architectures);
    for (const { digest } of manifests)
      expect((await owner.request('head', `/v2/alice/multi-${format}/manifests/${digest}`)).status).toBe(200);

    await buildah('rmi', '--all', '--force');
    const pull = ['pull', '--quiet', '--tls-verify=false', '--arch', 's390x'];
    const id = await buildah(...pull, `${berth.host}/alice/multi-${format}:1`);
    expect(await buildah('inspect', '--type', 'image', '--format', '{{.OCIv1.Architecture}}', id)).toBe('s390x');
  });
});
