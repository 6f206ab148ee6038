/**
 * Stands in for the official Node image, which cannot be pulled in a test: the same Node in the same place, npm, the user
 * `node`, and of Debian only what is named here, all of it from this machine.
 */
import { chmod, mkdir, realpath, symlink, writeFile } from 'node:fs/promises';
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
  /** Files and folders of the machine, each where it is to be. Links suffice, since tar follows them. */
  const put = async (from: string, to: string): Promise<void> => {
    await mkdir(path.join(folder, path.dirname(to)), { recursive: true });
    await symlink(from, path.join(folder, to));
  };
  const write = async (to: string, text: string, mode = 0o644): Promise<void> => {
    await mkdir(path.join(folder, path.dirname(to)), { recursive: true });
    await writeFile(path.join(folder, to), text, { mode });
  };

  const files = programs.map((name) => inPath(name)[0]!);
  for (const file of files) await put(file, `usr/bin/${path.basename(file)}`);
  await put('/bin/dash', 'bin/sh');
  await put(process.execPath, 'usr/local/bin/node');
  for (const library of await librariesOf([...files, '/bin/dash', process.execPath])) await put(library, library);

  await put(path.resolve(await realpath(inPath('npm')[0]!), '../..'), 'usr/local/lib/node_modules/npm');
  const npm = '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n';
  await write('usr/local/bin/npm', npm, 0o755);
  await write('usr/local/etc/npmrc', npmrc);
  const accounts = [
    ['root', 0],
    ['node', 1000],
    ['nobody', 65_534],
  ] as const;
  await write('etc/passwd', accounts.map(([name, id]) => `${name}:x:${id}:${id}::/:/bin/sh\n`).join(''));
  await write('etc/group', accounts.map(([name, id]) => `${name}:x:${id}:\n`).join(''));
  await mkdir(path.join(folder, 'tmp'));
  await chmod(path.join(folder, 'tmp'), 0o1777);

  const archive = 'tar --create --dereference --owner=0 --group=0 --numeric-owner --directory="$1" .';
  const into = 'docker import --change "ENV PATH=/usr/local/bin:/usr/bin:/bin" - "$2"';
  await runOk('sh', ['-c', `${archive} | ${into}`, 'sh', folder, nodeImage], { env: user.env });
}

/** The libraries that these programs are linked with, and the rest of libc. */
async function librariesOf(files: readonly string[]): Promise<Set<string>> {
  const libraries = new Set((await runOk('ldd', files)).match(/(?<==> |^\t)\/\S+/gm));
  const libc = [...libraries].find((file) => path.basename(file) === 'libc.so.6')!;
  return libraries.union(new Set(restOfLibc.map((name) => path.join(path.dirname(libc), name))));
}
