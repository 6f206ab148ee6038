/** The files that an operator takes, held against what reads them: compose, systemd, Kubernetes, and Berth's settings. */
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { BlockList } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { isSettingName, settingOf } from '../../src/config/settings.ts';
import { inPath, run, runOk, temporaryFolder, titled } from '../support/tools.ts';

const root = path.resolve(import.meta.dirname, '../..');
const inRoot = (name: string): string => path.join(root, name);
const composeFiles = ['docker-compose.yml', 'deploy/compose.single.yml'];
const unit = 'deploy/systemd/berth.service';
const manifests = ['deployment', 'ingress', 'poddisruptionbudget', 'secret.example', 'service'].map(
  (name) => `deploy/kubernetes/${name}.yaml`,
);
/** Beside drain and grace, in seconds: requests that were cut off tidy up; an embedded PostgreSQL is stopped, however unwilling. */
const tidyUp = 5;
const postgresStop = 36;

type Environment = Record<string, string>;
let folder: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  ({ folder, remove } = await temporaryFolder('deploy'));
});
afterAll(() => remove());

/** @throws ConfigError when Berth would not start with these variables; secrets are read from the given folder */
function start(environment: Environment, mounted: string, secrets: string): ReturnType<typeof parseConfig> {
  const entries = Object.entries(environment).map(([name, text]) => [name, text.replace(mounted, `${secrets}/`)]);
  return parseConfig(Object.fromEntries(entries) as Environment);
}

/** The longest that Berth takes to stop with these settings, in seconds. */
function stopSeconds({ limits, database }: ReturnType<typeof parseConfig>): number {
  const embedded = database.urls === undefined ? postgresStop : 0;
  return limits.shutdownDrainSeconds + limits.shutdownGraceSeconds + tidyUp + embedded;
}

function whyWithout(program: string): string | undefined {
  return inPath(program).length === 0 ? `${program} not installed` : undefined;
}

test('every BERTH_ variable that an operator reads of is a setting', async () => {
  const files = ['docker-compose.yml', 'README.md'];
  for (const name of ['deploy', 'docs']) {
    const within = await readdir(inRoot(name), { recursive: true });
    files.push(...within.map((file) => path.join(name, file)));
  }
  const unknown: string[] = [];
  for (const file of files) {
    if (!(await stat(inRoot(file))).isFile()) continue;
    for (const name of new Set((await readFile(inRoot(file), 'utf8')).match(/\bBERTH_[A-Z0-9_]*[A-Z0-9]\b/g))) {
      const ofFile = name.replace(/_FILE$/, '');
      const isKnown = isSettingName(name) || (isSettingName(ofFile) && settingOf(ofFile).secret === true);
      if (!isKnown) unknown.push(`${file}: ${name}`);
    }
  }
  expect(unknown).toEqual([]);
});

describe('the secrets', () => {
  const make = (): Promise<string> => runOk('sh', [inRoot('deploy/make-secrets.sh'), path.join(folder, 'made')]);

  test('are random, for their owner only, and stay when they are made again', async () => {
    await make();
    const read = (name: string): Promise<string> => readFile(path.join(folder, 'made', name), 'utf8');
    const names = ['admin_password', 'database_url', 'postgres_password', 's3_secret_access_key'];
    const first = await Promise.all(names.map(read));
    expect(new Set(first).size).toBe(names.length);
    expect(first[1]).toContain(`:${first[2]!.trim()}@`);
    expect((await stat(path.join(folder, 'made'))).mode & 0o777).toBe(0o700);
    await make();
    expect(await Promise.all(names.map(read))).toEqual(first);
  });
});

const noCompose = whyWithout('docker-compose');

describe.skipIf(noCompose !== undefined)(titled('compose', noCompose), () => {
  interface Service {
    readonly environment?: Environment;
    readonly stop_grace_period?: string;
  }

  test.each(composeFiles)('%s is understood, and Berth by it', async (file) => {
    const secrets = path.join(folder, 'secrets');
    await runOk('sh', [inRoot('deploy/make-secrets.sh'), secrets]);
    const written = await runOk('docker-compose', ['--file', inRoot(file), 'config']);
    const { services } = parse(written) as { services: Readonly<Record<string, Service>> };
    const berths = Object.values(services).filter(({ environment = {} }) => 'BERTH_ADMIN_PASSWORD_FILE' in environment);
    expect(berths.length).toBeGreaterThan(0);
    for (const { environment = {}, stop_grace_period: grace = '' } of berths) {
      const config = start(environment, '/run/secrets/', secrets);
      expect(config.admin.password).toBeDefined();
      expect(Number(/^(\d+)s$/.exec(grace)?.[1])).toBeGreaterThan(stopSeconds(config));
    }
  });
});

test('no address that docker-compose.yml gives to a service is one that Docker may give to another', async () => {
  const { services, networks } = parse(await readFile(inRoot('docker-compose.yml'), 'utf8'), {
    merge: true,
  }) as Compose;
  const fixed = Object.values(services).flatMap((service) => service.networks?.default.ipv4_address ?? []);
  expect(new Set(fixed).size).toBe(3);
  const given = new BlockList();
  const [address, bits] = networks.default.ipam.config[0]!.ip_range.split('/');
  given.addSubnet(address!, Number(bits));
  expect(fixed.filter((each) => given.check(each))).toEqual([]);
});

const noAnalyze = whyWithout('systemd-analyze');

describe.skipIf(noAnalyze !== undefined)(titled('the systemd unit', noAnalyze), () => {
  test('is understood, where Berth is', async () => {
    const file = path.join(folder, 'berth.service');
    await writeFile(file, (await readFile(inRoot(unit), 'utf8')).replaceAll('/opt/berth/', `${root}/`));
    expect(await run('systemd-analyze', ['verify', '--man=no', file])).toMatchObject({ code: 0, output: '' });
  });

  test('gives Berth its settings and the time to stop', async () => {
    const lines = (await readFile(inRoot(unit), 'utf8')).split('\n');
    const values = (name: string): string[] =>
      lines.filter((line) => line.startsWith(`${name}=`)).map((line) => line.slice(name.length + 1));
    const environment = Object.fromEntries(values('Environment').map((pair) => pair.split('=', 2)));
    expect(Number(values('TimeoutStopSec'))).toBeGreaterThan(stopSeconds(parseConfig(environment)));
  });

  test('lets it do little', async () => {
    const args = ['security', '--offline=true', '--no-pager', '--threshold=20', inRoot(unit)];
    expect((await run('systemd-analyze', args)).output).toMatch(/exposure level for berth\.service: [01]\.\d OK/);
  });
});

const noCaddy = whyWithout('caddy');

describe.skipIf(noCaddy !== undefined)(titled('the Caddyfile', noCaddy), () => {
  test('is understood', async () => {
    const env = { HOME: folder };
    const args = ['validate', '--adapter', 'caddyfile', '--config', inRoot('deploy/caddy/Caddyfile')];
    expect((await run('caddy', args, { env })).output).toContain('Valid configuration');
  });
});

const noValidate = whyWithout('kubernetes-validate');

describe.skipIf(noValidate !== undefined)(titled('the Kubernetes manifests', noValidate), () => {
  test('are what the published schemas say', async () => {
    const ran = await run('kubernetes-validate', ['--strict', ...manifests.map(inRoot)]);
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.output.match(/ passed for resource /g)).toHaveLength(manifests.length);
  });

  test('give Berth its settings, its secrets and the time to stop', async () => {
    const secrets = path.join(folder, 'kubernetes');
    const read = async (name: string): Promise<unknown> => parse(await readFile(inRoot(name), 'utf8'));
    const { stringData } = (await read('deploy/kubernetes/secret.example.yaml')) as { stringData: Environment };
    await mkdir(secrets);
    for (const [name, text] of Object.entries(stringData)) await writeFile(path.join(secrets, name), text);
    const { spec } = (await read('deploy/kubernetes/deployment.yaml')) as Deployment;
    const { containers, terminationGracePeriodSeconds } = spec.template.spec;
    const environment = Object.fromEntries(containers[0]!.env.map(({ name, value }) => [name, value]));
    const config = start(environment, '/run/secrets/berth/', secrets);
    expect(config.database.urls).toBeDefined();
    expect(terminationGracePeriodSeconds).toBeGreaterThan(stopSeconds(config));
  });

  test('are all that kustomization.yaml names', async () => {
    const text = await readFile(inRoot('deploy/kubernetes/kustomization.yaml'), 'utf8');
    const { resources } = parse(text) as { resources: string[] };
    const named = resources.map((name) => `deploy/kubernetes/${name}`);
    expect(named.toSorted()).toEqual(manifests.filter((name) => !name.includes('example')).toSorted());
  });
});

interface Compose {
  readonly services: Readonly<Record<string, { networks?: { default: { ipv4_address: string } } }>>;
  readonly networks: { readonly default: { readonly ipam: { readonly config: readonly { ip_range: string }[] } } };
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly { readonly env: readonly { readonly name: string; readonly value: string }[] }[];
      };
    };
  };
}
