/** A real S3 server for tests, on a folder of its own: versitygw, or with S3_SERVER=minio MinIO, as a cross-check. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { parseConfig } from '../../src/config/load.ts';
import type { S3Options } from '../../src/storage/s3/options.ts';
import { freePort } from './ports.ts';
import { inPath, temporaryFolder } from './tools.ts';

const accessKeyId = 'berth';
const secretAccessKey = 'a secret of the tests';

export interface S3Server {
  readonly make: 'versitygw' | 'minio';
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Makes an empty bucket. */
  makeBucket(name: string): Promise<void>;
  /**
   * What the server's disk has of a bucket, sorted, whatever its listings say: the keys of the objects, and below `parts/` the
   * files of multipart uploads that nobody has ended (of any bucket, where the disk does not tell), with one named `upload` for
   * each that has no bytes of it.
   */
  stored(bucket: string): Promise<string[]>;
  /** `BERTH_*` variables for a Berth on this bucket. */
  settings(bucket: string): Record<string, string>;
  stop(): Promise<void>;
}

/** What differs from one make of server to another. */
interface Make {
  readonly name: S3Server['make'];
  readonly module: string;
  args(address: string, folder: string): readonly string[];
  makeBucket(name: string, folder: string, url: string): Promise<unknown>;
  /** A file, or a folder, of the server's in the words of `S3Server.stored`; undefined when it is neither of the bucket nor a part. */
  storedAs(file: string, bucket: string, isFile: boolean): string | undefined;
}

const versitygw: Make = {
  name: 'versitygw',
  module: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0',
  args: (address, folder) => ['--port', address, '--quiet', 'posix', folder],
  // To this one a bucket is a folder, and an object a file.
  makeBucket: (name, folder) => mkdir(path.join(folder, name)),
  storedAs(file, bucket, isFile) {
    if (!file.startsWith(`${bucket}/`)) return undefined;
    const key = file.slice(bucket.length + 1);
    const parts = key.replace(/^\.sgwtmp\/multipart\//, 'parts/');
    // A multipart upload is a folder, with its parts in it.
    if (!isFile) return /^parts\/[^/]+\/[^/]+$/.test(parts) ? `${parts}/upload` : undefined;
    return parts;
  },
};

const minio: Make = {
  name: 'minio',
  module: 'github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c',
  args: (address, folder) => ['server', '--address', address, '--quiet', folder],
  async makeBucket(Bucket, _folder, endpoint) {
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
    await client.send(new CreateBucketCommand({ Bucket }));
    client.destroy();
  },
  storedAs(file, bucket, isFile) {
    if (!isFile) return undefined;
    const parts = file.replace('.minio.sys/multipart/', 'parts/');
    const [, folder] = /^(.*)\/xl\.meta$/.exec(parts) ?? [];
    if (parts !== file) return folder === undefined ? parts : `${folder}/upload`;
    // An object is a folder with this file in it.
    return folder?.startsWith(`${bucket}/`) ? folder.slice(bucket.length + 1) : undefined;
  },
};

const make = [versitygw, minio].find(({ name }) => name === (process.env['S3_SERVER'] ?? 'versitygw'));
if (make === undefined) throw new Error('S3_SERVER can be versitygw or minio');

/** Why S3 cannot be tested here; undefined when it can. */
export const noS3Server = whyNot(make);

/** The same for tests that are about this make. */
export const noVersitygw = whyNot(versitygw);

function whyNot(wanted: Make): string | undefined {
  return programOf(wanted) === undefined ? `${wanted.name} not installed: go install ${wanted.module}` : undefined;
}

function programOf({ name }: Make): string | undefined {
  return inPath(name)[0] ?? installedByGo(name);
}

function installedByGo(name: string): string | undefined {
  const file = path.join(process.env['GOPATH'] || path.join(homedir(), 'go'), 'bin', name);
  try {
    accessSync(file, constants.X_OK);
    return file;
  } catch {
    return undefined;
  }
}

/** Another program may take the port before the server does; then it ends at once, and another port is tried. */
const startsMax = 5;

export async function startS3Server(): Promise<S3Server> {
  const { folder, remove } = await temporaryFolder('s3');
  for (let start = 1; ; start += 1) {
    try {
      return await startIn(folder, remove, make!);
    } catch (error) {
      if (start < startsMax) continue;
      await remove();
      throw error;
    }
  }
}

async function startIn(folder: string, remove: () => Promise<void>, of: Make): Promise<S3Server> {
  const address = `127.0.0.1:${await freePort()}`;
  const url = `http://${address}`;
  const child = spawnProgram(of, of.args(address, folder));
  const complaints = text(child.stderr!);
  const exited = once(child, 'exit');
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`${of.name} ended with ${child.exitCode}:\n${await complaints}`);
    await delay(20);
  }
  return {
    make: of.name,
    url,
    accessKeyId,
    secretAccessKey,
    makeBucket: async (name) => void (await of.makeBucket(name, folder, url)),
    async stored(bucket) {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      return entries
        .map((entry) => {
          const file = path.relative(folder, path.join(entry.parentPath, entry.name));
          return of.storedAs(file, bucket, entry.isFile());
        })
        .filter((stored) => stored !== undefined)
        .toSorted();
    },
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

/** Ends with the test, however that ends, where the system can do that. */
function spawnProgram(of: Make, args: readonly string[]): ChildProcess {
  const program = programOf(of);
  if (program === undefined) throw new Error(whyNot(of));
  const tied = inPath('setpriv').length > 0 ? ['setpriv', '--pdeathsig', 'KILL', '--'] : [];
  const words = [...tied, program, ...args];
  const env = {
    PATH: process.env['PATH'],
    ROOT_ACCESS_KEY_ID: accessKeyId,
    ROOT_SECRET_ACCESS_KEY: secretAccessKey,
    MINIO_ROOT_USER: accessKeyId,
    MINIO_ROOT_PASSWORD: secretAccessKey,
    MINIO_BROWSER: 'off',
    MINIO_UPDATE: 'off',
  };
  return spawn(words[0]!, words.slice(1), { env, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** A store's options for a bucket of this server, as the settings' defaults make them. */
export function s3OptionsOf(server: S3Server, bucket: string): S3Options {
  return parseConfig(server.settings(bucket)).storage.s3!;
}

/** Whoever asks without a name is refused, unless the server is not ready yet. */
async function answers(url: string): Promise<boolean> {
  try {
    const { status } = await fetch(url);
    return status < 500;
  } catch {
    return false;
  }
}
