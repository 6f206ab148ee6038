/** BuildKit, which has a registry client of its own: base images and cache from a private repository. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { buildImage, startDockerd, writeContext, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { inPath, requestsDuring, run, titled, whyNot } from '../support/tools.ts';

/** A docker that can build with BuildKit: the first one in PATH may lack the plugin that it needs for it. */
async function findBuilder(): Promise<string | undefined> {
  for (const docker of inPath('docker')) {
    const { output } = await run(docker, ['build', '--help'], { env: { DOCKER_BUILDKIT: '1' } });
    if (output.includes('--progress')) return docker;
  }
  return undefined;
}

const builder = await findBuilder();
const reason = whyNot('dockerd') ?? (builder === undefined ? 'no docker here has it' : undefined);

describe.skipIf(reason !== undefined)(titled('BuildKit', reason), () => {
  let berth: TestBerth;
  let dockerd: Dockerd;
  let alice: DockerUser;

  beforeAll(async () => {
    [berth, dockerd] = await Promise.all([startTestBerth(), startDockerd()]);
    alice = await dockerd.newUser();
    await alice.login(berth.host, await berth.addUser('alice'));
  });
  afterAll(async () => {
    await dockerd?.stop();
    await berth?.stop();
  });

  /** @returns what was printed */
  async function build(context: string, ...args: string[]): Promise<string> {
    const env = { ...alice.env, DOCKER_BUILDKIT: '1' };
    const ran = await run(builder!, ['build', '--progress', 'plain', ...args, context], { env });
    expect(ran.code, ran.output).toBe(0);
    return ran.output;
  }

  async function forgetEverything(): Promise<void> {
    await alice.do('system', 'prune', '--all', '--force');
    await alice.do('builder', 'prune', '--all', '--force');
  }

  test('builds on a private base image', async () => {
    const base = `${berth.host}/alice/base:1`;
    await buildImage(dockerd, alice, base, 'from the base');
    await alice.do('push', base);
    await forgetEverything();

    const context = await mkdtemp(path.join(dockerd.folder, 'build-'));
    await writeFile(path.join(context, 'Dockerfile'), `FROM ${base}\nCOPY Dockerfile /\n`);
    const requests = await requestsDuring(berth, () => build(context, '--tag', 'above'));
    expect(requests).toContainEqual(
      expect.objectContaining({ method: 'HEAD', path: '/v2/alice/base/manifests/1', status: 200 }),
    );
    expect(await alice.do('run', '--rm', '--network', 'none', 'above')).toBe('from the base');
  });

  test('takes the steps that did not change from a pushed image', async () => {
    const cached = `${berth.host}/alice/cached:1`;
    const context = await mkdtemp(path.join(dockerd.folder, 'build-'));
    await writeContext(context, 'first');
    await build(context, '--build-arg', 'BUILDKIT_INLINE_CACHE=1', '--tag', cached);
    await alice.do('push', cached);
    await forgetEverything();

    await rm(path.join(context, 'message'));
    await writeFile(path.join(context, 'message'), 'second\n');
    const output = await build(context, '--cache-from', cached, '--tag', 'again');
    expect(output).toMatch(/COPY root \/\n(.*\n)*?#\d+ CACHED/);
    expect(output).not.toMatch(/COPY message \/message\n(.*\n)?#\d+ CACHED/);
    expect(await alice.do('run', '--rm', '--network', 'none', 'again')).toBe('second');
  });
});
