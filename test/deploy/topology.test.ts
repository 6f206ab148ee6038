/**
 * What docker-compose.yml starts, as processes of this machine: its two Berths with their settings, its S3 server by its
 * command, nginx with its file, and the PostgreSQL of Debian. Only addresses and folders differ.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { digestOf } from '../../src/oci/digest.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { noDebianPostgres, startDebianPostgres, type DebianPostgres } from '../support/debian-postgres.ts';
import { callerOf, until } from '../support/faults.ts';
import { startNginx, type Nginx } from '../support/nginx.ts';
import { freePort } from '../support/ports.ts';
import { run, runOk, temporaryFolder, titled, whyNot } from '../support/tools.ts';
import { writeLayout } from '../support/tools-layout.ts';
import { noVersitygw } from '../support/s3-server.ts';

const root = path.resolve(import.meta.dirname, '../..');
const reason = whyNot('nginx', 'setpriv', 'skopeo', 'tar') ?? noVersitygw ?? noDebianPostgres;

interface Service {
  readonly environment: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
}

describe.skipIf(reason !== undefined)(titled('the topology of docker-compose.yml', reason), () => {
  let services: Readonly<Record<string, Service>>;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let postgres: DebianPostgres;
  let s3: ChildProcess;
  let s3Port: number;
  let berths: readonly BerthProcess[] = [];
  let nginx: Nginx;
  let password: string;
  const within = (name: string): string => path.join(work.folder, name);

  /** A text of the file, with the addresses and folders of this test. */
  const here = (text: string): string =>
    text
      .replaceAll('/run/secrets', within('secrets'))
      .replaceAll(/\/data\b/g, within('objects'))
      .replaceAll('http://s3:7070', `http://127.0.0.1:${s3Port}`)
      .replaceAll(':7070', `:${s3Port}`)
      .replaceAll('172.31.250.2', '127.0.0.1')
      .replaceAll('$$', '$');

  beforeAll(async () => {
    [work, postgres, s3Port] = await Promise.all([temporaryFolder('topology'), startDebianPostgres(), freePort()]);
    await postgres.createDatabase('berth');
    const file = await readFile(path.join(root, 'docker-compose.yml'), 'utf8');
    ({ services } = parse(file, { merge: true }) as { services: Readonly<Record<string, Service>> });
    await runOk('sh', [path.join(root, 'deploy/make-secrets.sh'), within('secrets')]);
    await writeFile(within('secrets/database_url'), postgres.url('berth'));
    password = (await readFile(within('secrets/admin_password'), 'utf8')).trim();
    s3 = await startS3(services['s3']!);
    // Both at once, and nothing has been there before: the first start of a person.
    berths = await Promise.all(['berth-1', 'berth-2'].map((name) => startBerth(name, services[name]!)));
    nginx = await startNginx(berths.map(({ host }) => host));
  });
  afterAll(async () => {
    await nginx?.stop();
    await Promise.all(berths.map((berth) => berth.end('SIGKILL')));
    if (s3 !== undefined) {
      const ended = once(s3, 'exit');
      s3.kill('SIGTERM');
      await ended;
    }
    await postgres?.stop();
    await work?.remove();
  });

  async function startS3({ entrypoint, environment }: Service): Promise<ChildProcess> {
    const folders = [path.join(process.env['GOPATH'] || path.join(homedir(), 'go'), 'bin'), process.env['PATH']];
    const env = { ...environment, PATH: folders.join(path.delimiter) };
    await mkdir(within('objects'));
    const [program, ...args] = entrypoint.map(here);
    // Ends with the test, however that ends.
    const words = ['setpriv', '--pdeathsig', 'KILL', '--', program!, ...args];
    const child = spawn(words[0]!, words.slice(1), { env, stdio: ['ignore', 'ignore', 'ignore'] });
    await until(async () => child.exitCode !== null || (await isHealthy()));
    return child;
  }

  /** As the health check of the service asks. */
  async function isHealthy(): Promise<boolean> {
    const url = here(services['s3']!.healthcheck.test.at(-1)!);
    return fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async function startBerth(name: string, { environment }: Service): Promise<BerthProcess> {
    const settings = Object.entries(environment).map(([setting, text]) => [setting, here(text)]);
    // What compose would take from the operator's own environment.
    const unset = { BERTH_PUBLIC_URL: '', BERTH_ADMIN_PASSWORD: '' };
    return spawnBerth({ ...(Object.fromEntries(settings) as object), ...unset, BERTH_DATA_DIR: within(name) });
  }

  const answeredBy = (berth: BerthProcess, target: string): number =>
    berth.stderr.filter((line) => line.includes('"answered"') && line.includes(target)).length;

  test('an image is pushed and pulled by skopeo through nginx, as the administrator of the secrets', async () => {
    const env = { HOME: work.folder, REGISTRY_AUTH_FILE: within('auth.json'), TMPDIR: work.folder };
    const skopeo = async (args: readonly string[], input = ''): Promise<void> => {
      expect(await run('skopeo', ['--insecure-policy', ...args], { env, input })).toMatchObject({ code: 0 });
    };
    await skopeo(['login', '--tls-verify=false', '--username', 'admin', '--password-stdin', nginx.host], password);
    const layout = within('layout');
    const { index } = await writeLayout(layout, 'hello', ['amd64', 'arm64']);
    const image = `docker://${nginx.host}/acme/hello:1`;
    const insecure = ['--all', '--src-tls-verify=false', '--dest-tls-verify=false'];
    await skopeo(['copy', ...insecure, `oci:${layout}:multi`, image]);
    await skopeo(['copy', ...insecure, image, `oci:${within('pulled')}:multi`]);
    expect(await readdir(within('pulled/blobs/sha256'))).toContain(index.digest.slice('sha256:'.length));
    for (const berth of berths) expect(answeredBy(berth, '/v2/')).toBeGreaterThan(0);
  });

  test('a layer of many parts is in the bucket, and every replica has it', async () => {
    const login = { username: 'admin', password };
    const call = callerOf(nginx.url, login);
    const bytes = randomBytes(20 * 1024 * 1024);
    const digest = digestOf(bytes);
    const opened = await call('POST', '/v2/acme/hello/blobs/uploads/');
    const { pathname, search } = new URL(opened.headers.get('location')!);
    const closing = `${pathname}${search}${search === '' ? '?' : '&'}digest=${digest}`;
    expect((await call('PUT', closing, { body: bytes })).status).toBe(201);
    expect((await readdir(within('objects/berth'))).length).toBeGreaterThan(0);
    for (const { url } of berths) {
      const pulled = await callerOf(url, login)('GET', `/v2/acme/hello/blobs/${digest}`);
      expect(pulled.body.equals(bytes)).toBe(true);
    }
  });

  test('a replica that is stopped ends well, and the other one goes on', async () => {
    const [first] = berths;
    expect(await first!.end('SIGTERM')).toBe(0);
    const call = callerOf(nginx.url, { username: 'admin', password });
    for (let asked = 0; asked < 5; asked += 1) {
      expect((await call('GET', '/v2/acme/hello/tags/list')).status).toBe(200);
    }
  });
});
