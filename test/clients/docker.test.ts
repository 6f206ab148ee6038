/** What a person does with docker, and what docker tells them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { buildImage, startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { requestsDuring, titled, uploaded, whyNot } from '../support/tools.ts';

const reason = whyNot('docker', 'dockerd');

describe.skipIf(reason !== undefined)(titled('docker', reason), () => {
  let berth: TestBerth;
  let dockerd: Dockerd;
  let logins: { alice: Login; bob: Login };
  /** Logged in as alice. */
  let alice: DockerUser;
  let bob: DockerUser;
  let stranger: DockerUser;

  beforeAll(async () => {
    [berth, dockerd] = await Promise.all([startTestBerth(), startDockerd()]);
    logins = { alice: await berth.addUser('alice'), bob: await berth.addUser('bob') };
    [alice, bob, stranger] = await Promise.all([dockerd.newUser(), dockerd.newUser(), dockerd.newUser()]);
    await alice.login(berth.host, logins.alice);
    await bob.login(berth.host, logins.bob);
  });
  afterAll(async () => {
    await dockerd?.stop();
    await berth?.stop();
  });

  /** An image in the daemon. @returns its full name */
  async function build(name: string, message = name): Promise<string> {
    const image = `${berth.host}/${name}`;
    await buildImage(dockerd, alice, image, message);
    return image;
  }

  /** Nothing of it is left in the daemon, so that a pull has to fetch it. */
  const forget = (image: string): Promise<string> => alice.do('image', 'rm', '--force', image);

  const runImage = (image: string): Promise<string> => alice.do('run', '--rm', '--network', 'none', image);

  test('a login with the right password succeeds', async () => {
    const user = await dockerd.newUser();
    const ran = await user.login(berth.host, logins.alice);
    expect(ran).toMatchObject({ code: 0, output: expect.stringContaining('Login Succeeded') as string });
  });

  test('a login with a wrong password says that it is wrong', async () => {
    const user = await dockerd.newUser();
    const ran = await user.login(berth.host, { ...logins.alice, password: 'something else' });
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('unauthorized: the user name or password is not right');
  });

  test('what was pushed can be pulled by its tag, and runs', async () => {
    const image = await build('alice/app:1', 'hello from far away');
    await alice.do('push', image);
    await forget(image);
    await alice.do('pull', image);
    expect(await runImage(image)).toBe('hello from far away');
  });

  test('what was pushed can be pulled by its digest, and runs', async () => {
    const image = await build('alice/by-digest:1');
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(await alice.do('push', image))?.[1];
    await forget(image);
    const pinned = `${berth.host}/alice/by-digest@${digest}`;
    await alice.do('pull', pinned);
    expect(await runImage(pinned)).toBe('alice/by-digest:1');
  });

  test('all tags of a repository are pushed with one command', async () => {
    const first = await build('alice/tags:1');
    await alice.do('tag', first, `${berth.host}/alice/tags:latest`);
    await build('alice/tags:2');
    await alice.do('push', '--all-tags', `${berth.host}/alice/tags`);
    const listed = await clientOf(berth.url, logins.alice).request('get', '/v2/alice/tags/tags/list');
    expect(listed.body).toEqual({ name: 'alice/tags', tags: ['1', '2', 'latest'] });
  });

  test('after a logout a private image cannot be pulled, and docker says why', async () => {
    const image = await build('alice/secret:1');
    await alice.do('push', image);
    await forget(image);
    const user = await dockerd.newUser();
    await user.login(berth.host, logins.alice);
    await user.do('logout', berth.host);
    const ran = await user.try('pull', image);
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('unauthorized: authentication required; log in first');
  });

  test("somebody else's private image sounds like one that is not there", async () => {
    const image = await build('alice/hidden:1');
    await alice.do('push', image);
    const hidden = await bob.try('pull', image);
    const absent = await bob.try('pull', image.replace('hidden', 'absent'));
    expect(hidden.code).toBe(1);
    expect(hidden.output).toContain('the repository alice/hidden does not exist, or you may not see it');
    expect(absent.output).toBe(hidden.output.replaceAll('hidden', 'absent'));
  });

  test('a push without a login is refused, and docker says why', async () => {
    const image = await build('alice/unsigned:1');
    const requests = await requestsDuring(berth, async () => {
      const ran = await stranger.try('push', image);
      expect(ran.code).toBe(1);
      expect(ran.output).toContain('unauthorized: authentication required; log in first');
    });
    expect(uploaded(requests)).toEqual([]);
  });

  test("a push into somebody else's namespace is refused, and docker says why", async () => {
    const image = await build('alice/foreign:1');
    const ran = await bob.try('push', image);
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('denied: you may not push to alice/foreign: the namespace alice is not yours');
  });

  test('an image made public can be pulled by anybody, and pushed by its owner only', async () => {
    const image = await build('alice/public:1');
    await alice.do('push', image);
    await forget(image);
    const changed = await clientOf(berth.url, logins.alice)
      .request('patch', '/api/v1/repositories/alice/public/-')
      .send({ visibility: 'public' });
    expect(changed.status).toBe(200);
    await stranger.do('pull', image);
    expect(await runImage(image)).toBe('alice/public:1');
    const ran = await bob.try('push', image);
    expect(ran.code).toBe(1);
    expect(ran.output).toContain(
      'denied: your account may pull alice/public, but not push: that takes the role developer; ask an owner of the namespace',
    );
  });

  test('a deleted image cannot be pulled, and docker says that it is not there', async () => {
    const image = await build('alice/deleted:1');
    const digest = /digest: (sha256:[0-9a-f]{64})/.exec(await alice.do('push', image))?.[1];
    await forget(image);
    const owner = clientOf(berth.url, logins.alice);
    expect((await owner.request('delete', `/v2/alice/deleted/manifests/${digest}`)).status).toBe(202);
    for (const name of [image, `${berth.host}/alice/deleted@${digest}`]) {
      const ran = await alice.try('pull', name);
      expect(ran.code).toBe(1);
      expect(ran.output).toContain('manifest unknown: no such tag or manifest in the repository');
    }
  });
});
