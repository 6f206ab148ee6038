/** Commits of this repository, checked out beside this tree so that their code can run. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, symlink } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { output } from './machine.ts';
import type { Run } from './run.ts';

export interface Tree {
  readonly root: string;
  /** The commit, with `-dirty` where files differ from it. */
  readonly name: string;
}

const here = path.resolve(import.meta.dirname, '..');

// Not of the programs that are killed at the end: git undoes itself what it has half done, and is used to clean up.
async function git(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('git', ['-C', here, ...args]);
  return stdout.trim();
}

export const thisTree = async (): Promise<Tree> => ({
  root: here,
  name: await git('describe', '--always', '--dirty', '--exclude=*'),
});

/** Checks a commit out into the folder of the run, with what it needs installed; removed at the end of the run. */
export async function checkOut(run: Run, commit: string): Promise<Tree> {
  const name = await git('rev-parse', '--verify', '--short', `${commit}^{commit}`);
  const root = await run.keep(
    async () => {
      const folder = await mkdtemp(path.join(run.folder, `tree-${name}-`));
      await git('worktree', 'add', '--quiet', '--detach', folder, name);
      return folder;
    },
    (folder) => git('worktree', 'remove', '--force', folder),
  );
  if (await hasEverything(root)) await symlink(path.join(here, 'node_modules'), path.join(root, 'node_modules'));
  else await output('npm', ['ci', '--prefix', root, '--loglevel=error', '--omit=dev']);
  return { root, name };
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly dev?: boolean }>>;
}

/** Whether the server of that tree finds in this tree's node_modules each package at the version that its own lock file names. */
async function hasEverything(root: string): Promise<boolean> {
  const [wanted, present] = await Promise.all([root, here].map(readLock));
  return Object.entries(wanted!.packages).every(
    ([place, { version, dev }]) => place === '' || dev === true || present!.packages[place]?.version === version,
  );
}

async function readLock(root: string): Promise<Lock> {
  return JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as Lock;
}
