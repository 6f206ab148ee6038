/** containerd, which is what pulls in Kubernetes. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { content } from '../support/images.ts';
import { startDockerd, type Dockerd } from '../support/dockerd.ts';
import { run, runOk, temporaryFolder, titled, whyNot, type Ran } from '../support/tools.ts';
import { writeLayout } from '../support/tools-layout.ts';

const reason = whyNot('ctr', 'dockerd', 'tar');

describe.skipIf(reason !== undefined)(titled('containerd', reason), () => {
  let berth: TestBerth;
  /** Its containerd is the one that is used. */
  let dockerd: Dockerd;
  let alice: Login;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;

  beforeAll(async () => {
    work = await temporaryFolder('containerd');
    [berth, dockerd] = await Promise.all([startTestBerth(), startDockerd()]);
    alice = await berth.addUser('alice');
  });
  afterAll(async () => {
    await dockerd?.stop();
    await berth?.stop();
    await work?.remove();
  });

  const ctr = (...args: string[]): Promise<Ran> => run('ctr', ['--address', dockerd.containerd, 'images', ...args]);
  const as = (login: Login): string[] => ['--plain-http', '--user', `${login.username}:${login.password}`];

  test('an index within an index is pushed and pulled with every platform of it', async () => {
    const [layout, archive] = [path.join(work.folder, 'layout'), path.join(work.folder, 'layout.tar')];
    await writeLayout(layout, 'hello', ['amd64', 'arm64']);
    await runOk('tar', ['--create', '--file', archive, '--directory', layout, '.']);
    const image = `${berth.host}/alice/app:1`;
    // The index of the layout itself, which holds the one of the platforms.
    const { digest } = content(await readFile(path.join(layout, 'index.json')));
    expect(await ctr('import', '--all-platforms', '--index-name', image, archive)).toMatchObject({ code: 0 });
    expect(await ctr('push', ...as(alice), image)).toMatchObject({ code: 0 });
    await ctr('rm', '--sync', image);
    const pulled = await ctr('pull', '--all-platforms', ...as(alice), image);
    expect(pulled.code, pulled.output).toBe(0);
    expect((await ctr('ls', `name==${image}`)).output).toContain(digest);
  });

  test('a pull with a wrong password says so', async () => {
    const ran = await ctr('pull', ...as({ ...alice, password: 'something else' }), `${berth.host}/alice/app:1`);
    expect(ran.code).toBe(1);
    expect(ran.output).toContain('401 Unauthorized');
  });
});
