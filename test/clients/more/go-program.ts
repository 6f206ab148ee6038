/** Clients that come as Go modules: built once, kept in the user's cache. */
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { execFile } from 'node:child_process';

/** How long the first build may take, in milliseconds. */
export const buildMsMax = 10 * 60_000;

/** @param module the package of the command, with its version @returns the path of the program */
export async function goProgram(module: string): Promise<string> {
  const folder = path.join(homedir(), '.cache/berth-test-clients', module.replaceAll(/[^\w.-]+/g, '_'));
  await mkdir(folder, { recursive: true });
  // Go's own cache makes this a matter of a moment when it is there.
  await promisify(execFile)('go', ['install', module], {
    env: { ...process.env, GOBIN: folder, CGO_ENABLED: '0' },
    timeout: buildMsMax,
  });
  return path.join(folder, path.basename(module.split('@')[0]!));
}
