/** Folders for a disk store under test. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestFolder {
  readonly folder: string;
  readonly remove: () => Promise<void>;
}

const prefix = join(tmpdir(), 'berth-storage-');

/** A new folder; its removal fails when this process still holds a file in it open. */
export async function makeFolder(): Promise<TestFolder> {
  const folder = await mkdtemp(prefix);
  const remove = async () => {
    const open = await openFilesUnder(folder);
    await rm(folder, { recursive: true, force: true });
    if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`);
  };
  return { folder, remove };
}

/** A small file system of its own; `options` as `mount -o` takes them. Needs `canMount`. */
export async function mountTmpfs(options: string): Promise<TestFolder> {
  const { folder, remove } = await makeFolder();
  mount(folder, options);
  return {
    folder,
    remove: async () => {
      const open = await openFilesUnder(folder);
      spawnSync('umount', ['--lazy', folder]);
      await remove();
      if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`);
    },
  };
}

function mount(folder: string, options: string): void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
}

/** Whether this user may mount here (root outside of most containers). */
export const canMount: boolean = tryToMount();

function tryToMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(prefix);
  try {
    mount(folder, 'size=1m');
    spawnSync('umount', [folder]);
    return true;
  } catch {
    return false;
  } finally {
    spawnSync('rmdir', [folder]);
  }
}

/** What this process holds open below `folder`, where the system can tell (Linux). */
export async function openFilesUnder(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const fd of await readdir('/proc/self/fd').catch(() => [])) {
    const path = await readlink(join('/proc/self/fd', fd)).catch(() => '');
    if (path.startsWith(folder)) found.push(path);
  }
  return found;
}

/** Runs with the rights of a user who owns nothing: for root, who may do everything, another effective user. */
export async function asOrdinaryUser<T>(run: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return run();
  process.seteuid!(65534);
  try {
    return await run();
  } finally {
    process.seteuid!(0);
  }
}
