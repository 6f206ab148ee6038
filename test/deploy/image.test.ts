/** The container image as an operator builds and runs it: deploy/Dockerfile itself, on a stand-in for the Node image. */
import { access, readFile, statfs } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildImage, startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { freePort } from '../support/ports.ts';
import { run, runOk, titled, whyNot } from '../support/tools.ts';
import { startNpmRegistry } from './npm-registry.ts';
import { makeNodeImage, nodeImage } from './stand-in.ts';

const reason = whyNot('docker', 'dockerd', 'npm', 'ldd', 'setpriv', 'unshare');
const root = path.resolve(import.meta.dirname, '../..');
const image = 'berth:under-test';
const addedBytesMax = 150 * 1024 * 1024;
const container = 'berth';
const password = 'correct horse battery';

describe.skipIf(reason !== undefined)(titled('the container image', reason), () => {
  let dockerd: Dockerd;
  let user: DockerUser;
  let host: string;
  /** Where the daemon keeps the volume. */
  let data: string;

  const inspect = (format: string, what: string): Promise<string> => user.do('inspect', '--format', format, what);
  const sizeOf = async (name: string): Promise<number> => Number(await inspect('{{.Size}}', name));
  const isThere = (file: string): Promise<boolean> =>
    access(path.join(data, file)).then(
      () => true,
      () => false,
    );

  beforeAll(async () => {
    dockerd = await startDockerd(await memory());
    user = await dockerd.newUser();
    const registry = await startNpmRegistry();
    try {
      await makeNodeImage(dockerd, user, `registry=${registry.url}\n`);
      // The daemon of the tests has no network of its own to give to a container.
      const labels = ['VERSION=1.2.3', 'REVISION=abc'].flatMap((text) => ['--build-arg', text]);
      const file = path.join(root, 'deploy/Dockerfile');
      const args = ['build', '--quiet', '--network', 'host', ...labels, '--file', file, '--tag', image, root];
      await runOk('docker', args, { env: user.env, msMax: 300_000 });
    } finally {
      await registry.close();
    }
  }, 360_000);
  afterAll(async () => {
    if (dockerd === undefined) return;
    await user.try('rm', '--force', container);
    // Docker leaves it mounted once a container has had the host's network.
    await run('umount', [path.join(dockerd.folder, 'exec/netns/default')]);
    await dockerd.stop();
  });

  test('adds at most 150 MB to the Node image', async () => {
    const added = (await sizeOf(image)) - (await sizeOf(nodeImage));
    expect(added).toBeLessThan(addedBytesMax);
  });

  test('has what a registry of images shows: title, version, revision, license', async () => {
    expect(JSON.parse(await inspect('{{json .Config.Labels}}', image))).toMatchObject({
      'org.opencontainers.image.title': 'Berth',
      'org.opencontainers.image.version': '1.2.3',
      'org.opencontainers.image.revision': 'abc',
      'org.opencontainers.image.licenses': 'Apache-2.0',
    });
  });

  test('carries no tests, no second Node, no compiler', async () => {
    const script =
      'find /opt/berth -name "*.test.ts" -o -path "*/node_modules/node-linux-*" -o -path "*/node_modules/typescript"';
    expect(await user.do('run', '--rm', '--network', 'none', '--entrypoint', 'sh', image, '-c', script)).toBe('');
  });

  describe('as a container: an ordinary user, a read-only root, no capabilities', () => {
    beforeAll(async () => {
      host = `127.0.0.1:${await freePort()}`;
      const flags = ['--network=host', '--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'];
      const times = ['--stop-timeout=60', '--health-interval=1s'];
      const settings = [`--env=BERTH_LISTEN=${host}`, `--env=BERTH_ADMIN_PASSWORD=${password}`];
      const volume = '--volume=berth-data:/var/lib/berth';
      await user.do('run', '--detach', '--name', container, ...flags, ...times, ...settings, volume, image);
      data = await inspect('{{range .Mounts}}{{.Source}}{{end}}', container);
      await untilHealthy();
    }, 90_000);

    async function untilHealthy(): Promise<void> {
      for (;;) {
        const [status, health] = (await inspect('{{.State.Status}} {{.State.Health.Status}}', container)).split(' ');
        if (health === 'healthy') return;
        if (status !== 'running') throw new Error((await user.try('logs', container)).output);
        await delay(100);
      }
    }

    test('is pushed to and pulled from', async () => {
      const name = `${host}/admin/hello:1`;
      await buildImage(dockerd, user, name, 'hello');
      expect((await user.login(host, { username: 'admin', password })).output).toContain('Login Succeeded');
      await user.do('push', name);
      await user.do('image', 'rm', '--force', name);
      await user.do('pull', name);
      expect(await user.do('run', '--rm', '--network', 'none', name)).toBe('hello');
    });

    test('has the command of the registry', async () => {
      expect(await user.do('exec', container, 'berth', 'user', 'add', 'alice')).toContain('Added the user alice');
      expect(await user.do('exec', container, 'berth', 'backup', 'hold')).toContain('Nothing is deleted from storage');
    });

    test('runs as user 1000 and leaves no process unreaped', async () => {
      const rows = (await user.do('top', container, '-eo', 'pid,uid,stat,comm')).split('\n').slice(1);
      const processes = rows.map((row) => row.trim().split(/\s+/));
      expect(processes.map(([, uid]) => uid)).toEqual(processes.map(() => '1000'));
      expect(processes.filter(([, , state]) => state!.startsWith('Z'))).toEqual([]);
      expect(processes.map(([, , , name]) => name)).toContain('postgres');
    });

    test('comes back after it was killed, with what it had', async () => {
      await user.do('kill', '--signal', 'KILL', container);
      await user.do('wait', container);
      expect(await isThere('postgres/postmaster.pid')).toBe(true);
      await user.do('start', container);
      await untilHealthy();
      await user.do('pull', `${host}/admin/hello:1`);
    });

    test('ends with PostgreSQL stopped and exit code 0 at SIGTERM', async () => {
      await user.do('stop', container);
      expect(await inspect('{{.State.ExitCode}}', container)).toBe('0');
      expect(await isThere('postgres/postmaster.pid')).toBe(false);
      expect(await readFile(path.join(data, 'postgres/PG_VERSION'), 'utf8')).toBe('18\n');
    });
  });
});

/** A folder in memory with room for some images, which are made in a third of the time there. */
async function memory(): Promise<string | undefined> {
  const folder = '/dev/shm';
  const room = await statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => 0,
  );
  return room > 2 * 1024 ** 3 ? folder : undefined;
}
