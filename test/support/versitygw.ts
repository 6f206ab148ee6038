/** A real S3 server for tests: versitygw on a folder of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { homedir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseConfig } from '../../src/config/load.ts';
import type { S3Options } from '../../src/storage/s3/options.ts';
import { inPath, temporaryFolder } from './tools.ts';

const accessKeyId = 'berth';
const secretAccessKey = 'a secret of the tests';

export interface S3Server {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Where the server keeps its buckets: one folder each. */
  readonly folder: string;
  readonly pid: number;
  /** Makes an empty bucket. */
  makeBucket(name: string): Promise<void>;
  /** `BERTH_*` variables for a Berth on this bucket. */
  settings(bucket: string): Record<string, string>;
  stop(): Promise<void>;
}

const program = inPath('versitygw')[0] ?? installedByGo();

/** Why S3 cannot be tested here; undefined when it can. */
export const noVersitygw =
  program === undefined
    ? 'versitygw not installed: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0'
    : undefined;

function installedByGo(): string | undefined {
  const file = path.join(process.env['GOPATH'] || path.join(homedir(), 'go'), 'bin', 'versitygw');
  try {
    accessSync(file, constants.X_OK);
    return file;
  } catch {
    return undefined;
  }
}

/** Another program may take the port before the server does; then it ends at once, and another port is tried. */
const startsMax = 5;

export async function startVersitygw(port?: number): Promise<S3Server> {
  const { folder, remove } = await temporaryFolder('s3');
  for (let start = 1; ; start += 1) {
    try {
      return await startIn(folder, remove, port ?? (await freePort()));
    } catch (error) {
      if (start < startsMax && port === undefined) continue;
      await remove();
      throw error;
    }
  }
}

async function startIn(folder: string, remove: () => Promise<void>, port: number): Promise<S3Server> {
  if (program === undefined) throw new Error(noVersitygw);
  const args = ['--port', `127.0.0.1:${port}`, '--access', accessKeyId, '--secret', secretAccessKey, '--quiet'];
  const child = spawn(program, [...args, 'posix', folder], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaints = '';
  child.stderr.on('data', (text: Buffer) => (complaints += text.toString()));
  const exited = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}:\n${complaints}`);
    await delay(20);
  }
  return {
    url,
    accessKeyId,
    secretAccessKey,
    folder,
    pid: child.pid!,
    // A bucket is a folder to this server.
    makeBucket: (name) => mkdir(path.join(folder, name)),
    settings: (bucket) => ({
      BERTH_STORAGE: 's3',
      BERTH_S3_BUCKET: bucket,
      BERTH_S3_ENDPOINT: url,
      BERTH_S3_FORCE_PATH_STYLE: 'true',
      BERTH_S3_ACCESS_KEY_ID: accessKeyId,
      BERTH_S3_SECRET_ACCESS_KEY: secretAccessKey,
    }),
    async stop() {
      child.kill('SIGKILL');
      await exited;
      await remove();
    },
  };
}

/** A store's options for a bucket of this server, as the settings' defaults make them. */
export function s3OptionsOf(server: S3Server, bucket: string): S3Options {
  return parseConfig(server.settings(bucket)).storage.s3!;
}

async function answers(url: string): Promise<boolean> {
  try {
    await (await fetch(url)).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
