/** Two versions of Berth on one database, as processes: how an operator replaces one by the next. */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callerOf, closing, until, type Caller } from '../support/faults.ts';
import { makeImage } from '../support/images.ts';
import { startNginx, type Nginx } from '../support/nginx.ts';
import { freePort } from '../support/ports.ts';
import { run, temporaryFolder, titled, whyNot } from '../support/tools.ts';

const reason = whyNot('nginx');
const thisTree = path.resolve(import.meta.dirname, '../..');
/** What a next version might bring: the first lets this one go on, the second takes that back. */
const next = {
  '9001_more': `CREATE TABLE more (id int); ALTER TABLE tags ADD COLUMN remark text; ALTER TABLE uploads ADD COLUMN remark text NOT NULL DEFAULT '';`,
  '9002_less': `UPDATE schema_minimum SET migration = '9001_more';`,
};

describe.skipIf(reason !== undefined)(titled('an older and a newer Berth', reason), () => {
  let work: Awaited<ReturnType<typeof temporaryFolder>>;
  let facts: TestDatabase;
  let nginx: Nginx;
  let port: number;
  const berths: { old?: BerthProcess; new?: BerthProcess } = {};

  const start = (host: string, root: string): Promise<BerthProcess> =>
    spawnBerth(
      {
        BERTH_DATABASE_URL: facts.url,
        BERTH_DATA_DIR: path.join(work.folder, 'data'),
        BERTH_LISTEN: `${host}:${port}`,
        BERTH_TRUSTED_PROXIES: '127.0.0.1',
      },
      root,
    );
  const startOld = async (): Promise<BerthProcess> => (berths.old = await start('127.0.0.2', thisTree));

  /** A tree like this one, with some migrations of the future. */
  async function makeTree(...migrations: readonly (keyof typeof next)[]): Promise<string> {
    const tree = path.join(work.folder, `tree-${migrations.length}`);
    await mkdir(tree);
    for (const name of ['src', 'migrations', 'package.json'])
      await cp(path.join(thisTree, name), path.join(tree, name), { recursive: true });
    await symlink(path.join(thisTree, 'node_modules'), path.join(tree, 'node_modules'));
    for (const name of migrations) await writeFile(path.join(tree, 'migrations', `${name}.sql`), next[name]);
    return tree;
  }

  beforeAll(async () => {
    [work, facts, port] = await Promise.all([temporaryFolder('versions'), createTestDatabase(), freePort('127.0.0.2')]);
    await startOld();
    berths.new = await start('127.0.0.3', await makeTree('9001_more'));
    nginx = await startNginx([`127.0.0.2:${port}`, `127.0.0.3:${port}`]);
  });
  afterAll(async () => {
    await nginx?.stop();
    await Promise.all([berths.old?.end('SIGTERM'), berths.new?.end('SIGTERM')]);
    await facts.drop();
    await work.remove();
  });

  const said = (berth: BerthProcess, words: string): Promise<void> => until(async () => says(berth, words));
  const says = (berth: BerthProcess, ...words: readonly string[]): boolean =>
    berth.stderr.some((line) => words.every((word) => line.includes(word)));

  /** An upload whose chunks are taken by both, and an image. */
  async function useBoth(name: string): Promise<void> {
    const call: Caller = callerOf(nginx.url, berths.new!.admin);
    const opened = await call('POST', `/v2/${name}/blobs/uploads/`);
    const session = new URL(opened.headers.get('location')!).pathname;
    const chunks: Buffer[] = [];
    await until(async () => {
      const chunk = randomBytes(10_000);
      expect((await call('PATCH', session, { body: chunk })).status).toBe(202);
      chunks.push(chunk);
      return [berths.old!, berths.new!].every((berth) => says(berth, '"PATCH"', session, '"answered"'));
    });
    const whole = Buffer.concat(chunks);
    expect((await call('PUT', closing(session, digestOf(whole)))).status).toBe(201);
    await clientOf(nginx.url, berths.new!.admin).pushImage(name, 'v1', makeImage());
    for (const berth of [berths.old!, berths.new!]) {
      const url = `http://127.0.0.${berth === berths.old ? 2 : 3}:${port}`;
      expect((await callerOf(url, berth.admin)('GET', `/v2/${name}/manifests/v1`)).status).toBe(200);
    }
  }

  test('the newer one migrates while the older one serves, and both go on side by side', async () => {
    await said(berths.new!, 'migrated the database: 9001_more');
    await useBoth('acme/beside');
  });

  test('the older one can still be started, until a version comes that it cannot live with', async () => {
    await berths.old!.end('SIGTERM');
    await startOld();
    await said(berths.old!, 'a newer Berth (it has 9001_more), which lets this one go on beside it');
    await useBoth('acme/again');

    const env = { BERTH_DATABASE_URL: facts.url, BERTH_DATA_DIR: path.join(work.folder, 'data') };
    const main = path.join(await makeTree('9001_more', '9002_less'), 'src/main.ts');
    expect(await run(process.execPath, [main, 'migrate'], { env })).toMatchObject({ code: 0 });
    // Those that run may end what they do.
    await useBoth('acme/last');
    await berths.old!.end('SIGTERM');
    await expect(startOld()).rejects.toThrow(
      /^berth serve ended with 1:\nberth: the database was migrated by a newer Berth \(it has 9002_less\); run that version or newer$/,
    );
    expect((await callerOf(nginx.url, berths.new!.admin)('GET', '/v2/acme/last/manifests/v1')).status).toBe(200);
  });
});
