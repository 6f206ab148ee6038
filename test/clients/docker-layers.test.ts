/** What docker sends and what it leaves out: layers that are there already, under this name or another. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { buildImage, startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { mounted, requestsDuring, titled, uploaded, whyNot } from '../support/tools.ts';

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

const reason = whyNot('docker', 'dockerd');

describe.skipIf(reason !== undefined)(titled('docker and layers', reason), () => {
  let berth: TestBerth;
  let dockerd: Dockerd;
  let login: Login;
  let alice: DockerUser;

  beforeAll(async () => {
    [berth, dockerd] = await Promise.all([startTestBerth(), startDockerd()]);
    login = await berth.addUser('alice');
    alice = await dockerd.newUser();
    await alice.login(berth.host, login);
  });
  afterAll(async () => {
    await dockerd?.stop();
    await berth?.stop();
  });

  async function build(name: string, message = name): Promise<string> {
    const image = `${berth.host}/${name}`;
    await buildImage(dockerd, alice, image, message);
    return image;
  }

  async function manifestOf(name: string, tag: string): Promise<Manifest> {
    const answer = await clientOf(berth.url, login).request('get', `/v2/${name}/manifests/${tag}`).buffer(true);
    return JSON.parse(answer.text) as Manifest;
  }

  test('after a change the next push sends the changed layer and the config, nothing else', async () => {
    await alice.do('push', await build('alice/app:1', 'first'));
    const changed = await build('alice/app:2', 'second');
    const requests = await requestsDuring(berth, () => alice.do('push', changed));

    const [first, second] = [await manifestOf('alice/app', '1'), await manifestOf('alice/app', '2')];
    expect(second.layers[0]).toEqual(first.layers[0]);
    expect(second.layers[1]).not.toEqual(first.layers[1]);
    expect(uploaded(requests).toSorted()).toEqual([second.layers[1]!.digest, second.config.digest].toSorted());
    expect(requests).toContainEqual(
      expect.objectContaining({
        method: 'HEAD',
        path: `/v2/alice/app/blobs/${first.layers[0]!.digest}`,
        status: 200,
      }),
    );
  });

  test('the same push again sends no bytes', async () => {
    const image = await build('alice/again:1');
    await alice.do('push', image);
    const requests = await requestsDuring(berth, () => alice.do('push', image));
    expect(uploaded(requests)).toEqual([]);
    expect(requests.some(({ method, status }) => method === 'PUT' && status === 201)).toBe(true);
  });

  test('a push under another name mounts the layers and sends no bytes of them', async () => {
    const image = await build('alice/original:1');
    await alice.do('push', image);
    const copy = `${berth.host}/alice/copy:1`;
    await alice.do('tag', image, copy);
    const requests = await requestsDuring(berth, () => alice.do('push', copy));

    const { layers, config } = await manifestOf('alice/copy', '1');
    expect(mounted(requests).toSorted()).toEqual(layers.map(({ digest }) => digest).toSorted());
    expect(uploaded(requests)).toEqual([config.digest]);
    await alice.do('image', 'rm', '--force', image, copy);
    await alice.do('pull', copy);
    expect(await alice.do('run', '--rm', '--network', 'none', copy)).toBe('alice/original:1');
  });

  test("layers of another's private repository are sent, not mounted", async () => {
    const image = await build('alice/private:1');
    await alice.do('push', image);
    const bob = await dockerd.newUser();
    await bob.login(berth.host, await berth.addUser('bob'));
    const theft = `${berth.host}/bob/copy:1`;
    await bob.do('tag', image, theft);
    const requests = await requestsDuring(berth, () => bob.do('push', theft));
    // Docker tries to mount from wherever it knows the layers from.
    const mounts = requests.filter(({ query }) => query.has('mount'));
    expect(new Set(mounts.map(({ status }) => status))).toEqual(new Set([202]));
    expect(uploaded(requests)).toHaveLength(3);
  });

  test('five images that share a layer are pushed at once', async () => {
    const images: string[] = [];
    for (const number of [1, 2, 3, 4, 5]) images.push(await build(`alice/crowd-${number}:1`));
    const ids = (): Promise<string> => alice.do('image', 'inspect', '--format', '{{.Id}}', ...images);
    const built = await ids();
    const requests = await requestsDuring(berth, () => Promise.all(images.map((image) => alice.do('push', image))));
    expect(requests.filter(({ status }) => status >= 500)).toEqual([]);

    await alice.do('image', 'rm', '--force', ...images);
    await Promise.all(images.map((image) => alice.do('pull', image)));
    expect(await ids()).toBe(built);
  });

  test('of a manifest list made by docker the image of this machine is pulled', async () => {
    const [here, elsewhere] = [await build('alice/list:here'), await build('alice/list:elsewhere')];
    await alice.do('push', '--all-tags', `${berth.host}/alice/list`);
    const list = `${berth.host}/alice/list:all`;
    await alice.do('manifest', 'create', '--insecure', list, here, elsewhere);
    await alice.do('manifest', 'annotate', '--arch', 's390x', list, elsewhere);
    const digest = (await alice.do('manifest', 'push', '--insecure', list)).split('\n').at(-1);
    await alice.do('image', 'rm', '--force', here, elsewhere);

    await alice.do('pull', list);
    expect(await alice.do('run', '--rm', '--network', 'none', list)).toBe('alice/list:here');
    expect(await alice.do('image', 'inspect', '--format', '{{.RepoDigests}}', list)).toContain(digest);
  });
});
