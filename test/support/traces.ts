/**
 * What a request left behind: rows, files and open files. Two equal answers mean that nothing changed; that something was
 * tried, and not let happen, is no change.
 */
import { readdir, readlink, stat } from 'node:fs/promises';
import path from 'node:path';
import type { TestBerth } from './berth.ts';

export interface Traces {
  /** A fingerprint of every row of each table. */
  readonly rows: Readonly<Record<string, string | null>>;
  /** Sizes by path below the storage folder. */
  readonly files: Readonly<Record<string, number>>;
}

export async function tracesOf(berth: TestBerth): Promise<Traces> {
  const tables = await berth.database.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1`,
  );
  const rows = tables.map(async ({ name }) => {
    const [row] = await berth.database.query<{ print: string | null }>(
      `SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) AS print FROM ${name} t${name === 'audit_log' ? ` WHERE outcome = 'done'` : ''}`,
    );
    return [name, row!.print] as const;
  });
  return { rows: Object.fromEntries(await Promise.all(rows)), files: await storedFiles(berth) };
}

export async function storedFiles(berth: TestBerth): Promise<Record<string, number>> {
  const root = path.join(berth.dataDir, 'storage');
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  // A file may go between the two looks.
  const sizes = files.map(async (file) => [
    path.relative(root, file),
    await stat(file).then(
      ({ size }) => size,
      () => -1,
    ),
  ]);
  return Object.fromEntries(await Promise.all(sizes)) as Record<string, number>;
}

/** Files below the data folder that this process, and so the Berth in it, has open. Empty where there is no /proc. */
export async function openFiles(berth: TestBerth): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd').catch(() => []);
  const targets = descriptors.map((descriptor) => readlink(`/proc/self/fd/${descriptor}`).catch(() => ''));
  return (await Promise.all(targets)).filter((target) => target.startsWith(`${berth.dataDir}/`));
}
