/** Berth as a process with its own PostgreSQL, stopped and started again between a push and a pull. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { buildImage, startDockerd, type Dockerd } from '../support/dockerd.ts';
import { temporaryFolder, titled, whyNot } from '../support/tools.ts';

const reason = whyNot('docker', 'dockerd');

describe.skipIf(reason !== undefined)(titled('docker and a registry that was started again', reason), () => {
  let dockerd: Dockerd;
  let berth: BerthProcess;
  let data: Awaited<ReturnType<typeof temporaryFolder>>;

  beforeAll(async () => {
    data = await temporaryFolder('restart');
    [berth, dockerd] = await Promise.all([start(), startDockerd()]);
  });
  afterAll(async () => {
    await berth?.end('SIGTERM');
    await dockerd?.stop();
    await data?.remove();
  });

  // At a free port each time: to have the same again nobody can promise.
  const start = (): Promise<BerthProcess> => spawnBerth({ BERTH_DATA_DIR: path.join(data.folder, 'data') });

  test('what was pushed before is pulled after, with the same login', async () => {
    const admin = await dockerd.newUser();
    await admin.login(berth.host, berth.admin);
    const pushed = `${berth.host}/admin/app:1`;
    await buildImage(dockerd, admin, pushed, 'still here');
    await admin.do('push', pushed);
    await admin.do('image', 'rm', '--force', pushed);
    expect(await berth.end('SIGTERM')).toBe(0);

    berth = await start();
    expect((await admin.login(berth.host, berth.admin)).output).toContain('Login Succeeded');
    const pulled = `${berth.host}/admin/app:1`;
    await admin.do('pull', pulled);
    expect(await admin.do('run', '--rm', '--network', 'none', pulled)).toBe('still here');
  });
});
