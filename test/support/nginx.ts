/** The nginx of Debian with the configuration that Berth ships, deploy/nginx.conf, in front of Berths of a test. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './ports.ts';
import { temporaryFolder } from './tools.ts';

export interface Nginx {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly url: string;
  stop(): Promise<void>;
}

const shipped = path.resolve(import.meta.dirname, '../../deploy/nginx.conf');
const temporaryPaths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** @param servers `host:port` of each Berth */
export async function startNginx(servers: readonly string[]): Promise<Nginx> {
  const { folder, remove } = await temporaryFolder('nginx');
  // Its workers are somebody else, where it is started by root.
  await chmod(folder, 0o755);
  const port = await freePort();
  const config = path.join(folder, 'nginx.conf');
  await writeFile(config, adapt(await readFile(shipped, 'utf8'), { servers, port, folder }));
  const options = ['-p', folder, '-c', config, '-e', 'stderr', '-g', `daemon off; pid ${folder}/pid;`];
  // Ends with the test, however that ends.
  const words = ['setpriv', '--pdeathsig', 'TERM', 'nginx', ...options];
  const child = spawn(words[0]!, words.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  const said = text(child.stderr);
  const exited = once(child, 'exit');
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`nginx ended:\n${await said}`);
    await delay(20);
  }
  return {
    host: `127.0.0.1:${port}`,
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill('SIGTERM');
      await exited;
      await remove();
    },
  };
}

/** Only addresses and folders differ from what is shipped. @throws Error when what they stand in is not there */
function adapt(config: string, to: { servers: readonly string[]; port: number; folder: string }): string {
  const folders = temporaryPaths.map((name) => `  ${name}_temp_path ${to.folder}/${name};`).join('\n');
  const servers = new Set([...config.matchAll(/^ +server (\S+:\d+)\b/gm)].map((match) => match[1]!));
  if (servers.size !== to.servers.length) throw new Error(`deploy/nginx.conf has ${servers.size} servers`);
  const changes: [string, string][] = [
    ['http {\n', `http {\n${folders}\n`],
    ['listen 80;', `listen 127.0.0.1:${to.port};`],
    ['worker_rlimit_nofile 65536;', ''],
    ['/var/cache/nginx-berth', `${to.folder}/cache`],
    ...[...servers].map((server, i): [string, string] => [`server ${server}`, `server ${to.servers[i]!}`]),
  ];
  for (const [from, into] of changes) {
    if (!config.includes(from)) throw new Error(`deploy/nginx.conf has no ${from}`);
    config = config.replaceAll(from, into);
  }
  return config;
}

const answers = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  );
