/** The two servers that are compared, each with a folder of its own on the same disk. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../test/support/ports.ts';
import { accept, startServer, stopServer, tokenHeaders } from './berth.ts';
import type { Server } from './client.ts';
import { output } from './machine.ts';
import type { S3 } from './s3.ts';

export interface Registry extends Server {
  readonly name: 'Berth' | 'docker-registry';
  readonly version: string;
  /** Of the server itself; Berth's PostgreSQL is a child of it. */
  readonly pid: number;
  stop(): Promise<void>;
}

/** @param s3 where its bytes go, in place of the disk */
export async function startBerth(folder: string, s3?: S3): Promise<Registry> {
  const place = { folder, dataDir: path.join(folder, s3 === undefined ? 'berth' : 'berth-s3') };
  const berth = await startServer({ ...place, ...(s3 !== undefined && { settings: s3.berthSettings }) });
  const known = new Map<string, ReturnType<typeof tokenHeaders>>();
  const { version } = JSON.parse(await readFile(path.join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string;
  };
  return {
    name: 'Berth',
    version,
    url: berth.url,
    host: berth.host,
    pid: berth.child.pid!,
    headers(repository) {
      const headers = known.get(repository) ?? tokenHeaders(berth.url, berth.admin, repository);
      known.set(repository, headers);
      return headers;
    },
    stop: () => stopServer(berth),
  };
}

const program = 'docker-registry';

/** Debian's `docker-registry` with the settings of its package, but no authentication, and no log but of errors. */
export async function startDockerRegistry(folder: string, s3?: S3): Promise<Registry> {
  const home = path.join(folder, s3 === undefined ? 'docker-registry' : 'docker-registry-s3');
  await mkdir(home);
  const host = `127.0.0.1:${await freePort()}`;
  const config = {
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: {
      cache: { blobdescriptor: 'inmemory' },
      delete: { enabled: true },
      ...(s3?.dockerRegistryStorage ?? { filesystem: { rootdirectory: home } }),
    },
    http: { addr: host, headers: { 'X-Content-Type-Options': ['nosniff'] } },
    health: { storagedriver: { enabled: true, interval: '10s', threshold: 3 } },
  };
  const file = path.join(home, 'config.yml');
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config));
  // Of the person's settings for S3 it heeds all, and some it cannot use.
  const child = spawn(program, ['serve', file], { stdio: 'ignore', env: { PATH: process.env['PATH'] } });
  const exited = once(child, 'exit');
  exited.catch(() => undefined);
  await once(child, 'spawn');
  const registry: Registry = {
    name: program,
    version: (await output(program, ['--version'])).split(' ').at(-1)!,
    url: `http://${host}`,
    host,
    pid: child.pid!,
    headers: async () => ({ Accept: accept }),
    async stop() {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) await exited;
    },
  };
  await answering(registry).catch(async (error: unknown) => {
    await registry.stop();
    throw error;
  });
  return registry;
}

async function answering(registry: Registry): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (
      await fetch(`${registry.url}/v2/`).then(
        () => true,
        () => false,
      )
    )
      return;
    await delay(50);
  }
  throw new Error(`${registry.name} does not answer at ${registry.url}`);
}

/** Begins a new peak of the memory in use. https://docs.kernel.org/filesystems/proc.html, `clear_refs` */
export async function resetPeakMemory({ pid }: Registry): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5');
}

/** The most memory (RSS) that the server had in use since the last reset, in MB. */
export async function peakMemory({ pid }: Registry): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return (Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024) / 1e6;
}
