/** The folder of the server's socket. Whoever can enter it is the database's superuser, so it is its owner's alone. */
import { createHash } from 'node:crypto';
import { chmod, chown, lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Account } from './account.ts';
import { SocketFolderError, hasCode } from './errors.ts';

/** The port only names the socket's file: nothing listens on TCP. */
export const port = 5432;
/** `sun_path` has 108 bytes on Linux and 104 on macOS, the last one for the NUL. */
const socketPathBytesMax = process.platform === 'darwin' ? 103 : 107;

/**
 * The folder for the socket of a cluster: the cluster's own, which PostgreSQL keeps at 0700, or, where that path is too
 * long for a socket, one below the system's folder for temporary files that is always the same for this cluster.
 * @throws SocketFolderError
 */
export async function prepareSocketFolder(cluster: string, account: Account): Promise<string> {
  if (fits(cluster)) return cluster;
  const name = `berth-${createHash('sha256').update(cluster).digest('hex').slice(0, 16)}`;
  const folder = [tmpdir(), '/tmp'].map((parent) => path.join(parent, name)).find(fits);
  if (folder === undefined)
    throw new SocketFolderError(
      `the path ${cluster} is too long for a socket (${socketPathBytesMax} bytes) and so is that of the temporary folder`,
    );
  try {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (!hasCode(error, 'EEXIST')) throw error;
    });
    // Also when it was there: a crash may have come between these steps. Only what is ours is touched.
    const found = await lstat(folder);
    if (found.isDirectory() && found.uid === process.getuid?.()) {
      await chmod(folder, 0o700);
      if (account.change) await chown(folder, account.uid, account.gid);
    }
  } catch (error) {
    throw new SocketFolderError(`the folder ${folder} for the database's socket cannot be made`, { cause: error });
  }
  await checkSocketFolder(folder, account.uid);
  return folder;
}

/**
 * Makes sure that nobody else can have put a socket of theirs here, or reach ours.
 * @throws SocketFolderError
 */
export async function checkSocketFolder(folder: string, uid: number): Promise<void> {
  const found = await lstat(folder).catch((error: unknown) => {
    throw new SocketFolderError(`the folder ${folder} for the database's socket cannot be read`, { cause: error });
  });
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new SocketFolderError(
      `the folder ${folder} for the database's socket must be a folder of user ${uid} with mode 0700: remove what is there`,
    );
  }
}

function fits(folder: string): boolean {
  return Buffer.byteLength(path.join(folder, `.s.PGSQL.${port}`)) <= socketPathBytesMax;
}
