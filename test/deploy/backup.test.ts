/**
 * The drill of docs/operate.md: hold, dump, copy, release; and elsewhere objects first, then the database. By the programs that an
 * operator uses, on the PostgreSQL of Debian, while people push and delete.
 */
import { cp, readdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBerth, type RunningBerth } from '../../src/app.ts';
import { parseConfig } from '../../src/config/load.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { createSweep } from '../../src/registry/sweep.ts';
import { DiskBlobStore } from '../../src/storage/disk/store.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { getBytes } from '../support/answers.ts';
import { clientOf, type Client } from '../support/client.ts';
import { noDebianPostgres, startDebianPostgres, type DebianPostgres } from '../support/debian-postgres.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';
import { runOk, temporaryFolder, titled } from '../support/tools.ts';

const main = path.resolve(import.meta.dirname, '../../src/main.ts');
const login = { username: 'admin', password: 'correct horse battery' };
const name = 'acme/kept';

/** One of an operator's machines: a Berth on a database and a disk of its own. */
class Machine {
  readonly env: Record<string, string>;
  readonly blobs: string;
  readonly #databaseUrl: string;
  readonly #dataDir: string;
  #berth!: RunningBerth;
  #database!: Database;
  client!: Client;

  constructor(databaseUrl: string, dataDir: string) {
    this.#databaseUrl = databaseUrl;
    this.#dataDir = dataDir;
    this.blobs = path.join(dataDir, 'storage/blobs');
    this.env = {
      BERTH_LISTEN: '127.0.0.1:0',
      BERTH_DATABASE_URL: databaseUrl,
      BERTH_DATA_DIR: dataDir,
      BERTH_ADMIN_PASSWORD: login.password,
    };
  }

  async start(): Promise<void> {
    const config = parseConfig(this.env);
    this.#berth = await startBerth(config, createLogger({ level: 'silent', format: 'json' }));
    this.env['BERTH_LISTEN'] = `127.0.0.1:${this.#berth.port}`;
    this.client = clientOf(`http://${this.env['BERTH_LISTEN']}`, login);
    this.#database = createDatabase({ connection: { connectionString: this.#databaseUrl }, poolSize: 2, hotLanes: 1 });
  }

  async stop(): Promise<void> {
    await this.#database?.close();
    await this.#berth?.stop();
  }

  /** `berth ...`, as typed on this machine. */
  berth(...args: readonly string[]): Promise<string> {
    return runOk(process.execPath, [main, ...args], { env: this.env });
  }

  async files(): Promise<number> {
    const entries = await readdir(this.blobs, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).length;
  }

  /** As the garbage collector takes away what no repository links to any more. */
  async collect(): Promise<void> {
    await this.#database.query(
      `WITH gone AS (
         DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs) RETURNING storage_key
       ) INSERT INTO storage_deletions (storage_key, cause) SELECT storage_key, 'test' FROM gone`,
    );
  }

  /** All that Berth does every few minutes to be rid of bytes, as if every upload were long over. */
  async sweep(): Promise<void> {
    const store = new DiskBlobStore(path.join(this.#dataDir, 'storage'));
    const sweep = createSweep({ database: this.#database, store, uploadExpiryHours: -2 });
    for (const part of ['expiredUploads', 'abandonedUploads', 'queuedDeletions'] as const)
      expect(await sweep[part](new AbortController().signal)).toMatchObject({ failed: 0 });
    await store.close();
  }

  async push(tag: string): Promise<TestImage> {
    const image = makeImage({ layers: [randomContent(300_000), randomContent(100)] });
    await this.client.pushImage(name, tag, image);
    return image;
  }

  async delete(image: TestImage): Promise<void> {
    const paths = [
      `manifests/${image.digest}`,
      ...[image.config, ...image.layers].map(({ digest }) => `blobs/${digest}`),
    ];
    for (const each of paths) expect((await this.client.request('delete', `/v2/${name}/${each}`)).status).toBe(202);
  }

  async expectWhole(tag: string, image: TestImage): Promise<void> {
    expect((await this.client.request('get', `/v2/${name}/manifests/${tag}`)).text).toBe(image.bytes.toString());
    for (const { digest, bytes } of [image.config, ...image.layers])
      expect((await getBytes(this.client, `/v2/${name}/blobs/${digest}`)).body.equals(bytes)).toBe(true);
  }
}

describe.skipIf(noDebianPostgres !== undefined)(titled('a backup', noDebianPostgres), () => {
  let postgres: DebianPostgres;
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let here: Machine, there: Machine;
  const within = (file: string): string => path.join(work.folder, file);

  beforeAll(async () => {
    [postgres, work] = await Promise.all([startDebianPostgres(), temporaryFolder('backup')]);
    await postgres.createDatabase('berth');
    here = new Machine(postgres.url('berth'), within('here'));
    there = new Machine(postgres.url('restored'), within('there'));
    await here.start();
  });
  afterAll(async () => {
    await there?.stop();
    await here?.stop();
    await postgres?.stop();
    await work?.remove();
  });

  test('made while people push, delete and sweep has all that its dump names, on another machine too', async () => {
    const [kept, deleted] = [await here.push('kept'), await here.push('deleted')];

    expect(await here.berth('backup', 'hold', '--hours', '6')).toContain('Nothing is deleted from storage until');
    await runOk(postgres.program('pg_dump'), ['--format=custom', `--file=${within('dump')}`, postgres.url('berth')]);
    const later = await here.push('later');
    await here.delete(deleted);
    await here.collect();
    await here.sweep();
    await cp(here.blobs, within('copy'), { recursive: true });
    const before = await here.files();
    await here.berth('backup', 'release');
    await here.sweep();
    expect(await here.files()).toBe(before - 3);

    await cp(within('copy'), there.blobs, { recursive: true });
    await postgres.createDatabase('restored');
    const into = ['--exit-on-error', '--no-owner', `--dbname=${postgres.url('restored')}`];
    await runOk(postgres.program('pg_restore'), [...into, within('dump')]);
    await there.start();
    expect((await there.client.request('get', '/api/v1/storage/hold')).body).toMatchObject({ held: true });
    await there.berth('backup', 'release');
    await there.sweep();
    await there.expectWhole('kept', kept);
    await there.expectWhole('deleted', deleted);
    expect((await there.client.request('get', `/v2/${name}/manifests/later`)).status).toBe(404);
    await there.expectWhole('new', await there.push('new'));

    await here.expectWhole('kept', kept);
    await here.expectWhole('later', later);
  }, 120_000);
});
