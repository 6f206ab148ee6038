/**
 * Stands in for the official Node image, which cannot be pulled in a test: the same Node in the same place, npm, the user
 * `node`, and of Debian only what is named here, all of it from this machine.
 */
import { chmod, cp, mkdir, realpath, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Dockerd, DockerUser } from '../support/dockerd.ts';
import { inPath, runOk } from '../support/tools.ts';

/** What `deploy/Dockerfile` builds on when it is not told otherwise. */
export const nodeImage = 'node:26-bookworm-slim';

/** Programs of packages that are in every Debian: coreutils, findutils, util-linux. */
const programs = 'env cat chmod chown cp id ln ls mkdir rm test true find setpriv unshare'.split(' ');

/** Of libc6 itself, which no program needs by name that was linked in the last years. */
const restOfLibc = ['libdl.so.2', 'libpthread.so.0', 'libresolv.so.2', 'librt.so.1', 'libutil.so.1'];

/**
 * Makes the image in the daemon.
 * @param npmrc settings of npm's for the whole image
 */
export async function makeNodeImage(dockerd: Dockerd, user: DockerUser, npmrc: string): Promise<void> {
  const folder = path.join(dockerd.folder, 'stand-in');
  const within = (name: string): string => path.join(folder, name);
  for (const name of ['bin', 'etc', 'home/node', 'usr/bin', 'usr/local/bin', 'usr/local/etc', 'usr/local/lib']) {
    await mkdir(within(name), { recursive: true });
  }
  await mkdir(within('tmp'));
  await chmod(within('tmp'), 0o1777);

  const files = programs.map((name) => [inPath(name)[0]!, `usr/bin/${name}`] as const);
  for (const [from, to] of [...files, ['/bin/dash', 'bin/sh'], [process.execPath, 'usr/local/bin/node']] as const) {
    await cp(from, within(to), { dereference: true });
  }
  const needed = await runOk('ldd', [...files.map(([from]) => from), '/bin/dash', process.execPath]);
  const libraries = new Set(needed.match(/(?<==> |^\t)\/\S+/gm));
  const libc = [...libraries].find((file) => path.basename(file) === 'libc.so.6')!;
  for (const name of restOfLibc) libraries.add(path.join(path.dirname(libc), name));
  await runOk('cp', ['--dereference', '--parents', `--target-directory=${folder}`, ...libraries]);

  const npm = path.resolve(await realpath(inPath('npm')[0]!), '../..');
  await cp(npm, within('usr/local/lib/node_modules/npm'), { recursive: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', within('usr/local/bin/npm'));
  await writeFile(within('usr/local/etc/npmrc'), npmrc);

  const accounts = [
    ['root', 0],
    ['node', 1000],
    ['nobody', 65_534],
  ] as const;
  await writeFile(within('etc/passwd'), accounts.map(([name, id]) => `${name}:x:${id}:${id}::/:/bin/sh\n`).join(''));
  await writeFile(within('etc/group'), accounts.map(([name, id]) => `${name}:x:${id}:\n`).join(''));

  const archive = path.join(dockerd.folder, 'stand-in.tar');
  await runOk('tar', ['--create', '--owner=0', '--group=0', '--numeric-owner', `--file=${archive}`, '-C', folder, '.']);
  await user.do('import', '--change', 'ENV PATH=/usr/local/bin:/usr/bin:/bin', archive, nodeImage);
}
