/** Blobs move from the disk to S3 and back by the command, while clients push and pull. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestToBytes } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { callerOf, type Caller } from '../support/faults.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';
import { titled } from '../support/tools.ts';
import { noS3Server, startS3Server, type S3Server } from '../support/s3-server.ts';

const main = path.resolve(import.meta.dirname, '../../src/main.ts');
const name = 'acme/moved';
const mib = 1024 * 1024;

describe.skipIf(noS3Server !== undefined)(titled('berth storage copy', noS3Server), () => {
  let server: S3Server;
  let settings: Record<string, string>;
  /** On the disk as before, and after the restart that begins the move. */
  let before: TestBerth, berth: TestBerth;
  let client: Client;
  let call: Caller;
  const images: TestImage[] = [];

  beforeAll(async () => {
    server = await startS3Server();
    await server.makeBucket('moved');
    before = await startTestBerth();
    const old = clientOf(before.url, before.admin);
    for (let i = 0; i < 3; i += 1) images.push(await pushed(old, `old${i}`));
    settings = {
      ...server.settings('moved'),
      BERTH_DATABASE_URL: before.databaseUrl,
      BERTH_DATA_DIR: before.dataDir,
      BERTH_STORAGE_PREVIOUS: 'disk',
    };
    berth = await startTestBerth(settings);
    client = clientOf(berth.url, berth.admin);
    call = callerOf(berth.url, berth.admin);
  });
  afterAll(async () => {
    await berth.stop();
    await before.stop();
    await server.stop();
  });

  async function pushed(by: Client, tag: string): Promise<TestImage> {
    const image = makeImage({ layers: [randomContent(9 * mib), randomContent(1000)] });
    await by.pushImage(name, tag, image);
    return image;
  }

  async function copy(args: readonly string[], more: Record<string, string> = {}) {
    const env = { PATH: process.env['PATH'], ...settings, ...more };
    const child = spawn(process.execPath, [main, 'storage', 'copy', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const said: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => said.push(text.toString()));
    const [code] = (await once(child, 'close')) as [number];
    return { code, said: said.join('') };
  }

  async function expectAllThere(): Promise<void> {
    for (const { config, layers } of images) {
      for (const { digest, bytes } of [config, ...layers]) {
        const answer = await call('GET', `/v2/${name}/blobs/${digest}`);
        expect(answer.status).toBe(200);
        expect(answer.body.equals(bytes)).toBe(true);
      }
    }
  }

  const keys = async (): Promise<string[]> =>
    (await before.database.query<{ storage_key: string }>('SELECT storage_key FROM blobs')).map(
      (row) => row.storage_key,
    );
  const onDisk = async () => (await keys()).filter((key) => key.startsWith('blobs/sha'));

  test('before: new pushes are in the new storage, and what was there is read from the old one', async () => {
    const old = (await onDisk()).length;
    images.push(await pushed(client, 'new'));
    expect((await onDisk()).length).toBe(old);
    await expectAllThere();
  });

  test('settings that would let new pushes go on to the old storage are refused', async () => {
    const { code, said } = await copy(['--from', 's3', '--to', 'disk']);
    expect(said).toContain('set them to disk and s3 and restart every Berth first');
    expect(code).not.toBe(0);
  });

  test('a damaged blob stays where it is, and is named', async () => {
    const { digest, bytes: good } = images[0]!.layers[1]!;
    const [row] = await before.database.query<{ storage_key: string }>(
      'SELECT storage_key FROM blobs WHERE digest = $1',
      [digestToBytes(digest)],
    );
    const file = path.join(before.dataDir, 'storage', row!.storage_key);
    await writeFile(file, Buffer.alloc(good.length, 1));
    const { code, said } = await copy(['--from', 'disk', '--to', 's3']);
    expect(said).toContain(`${digest} stays where it is: its bytes are damaged`);
    expect(code).toBe(1);
    expect(await onDisk()).toEqual([row!.storage_key]);
    await writeFile(file, good);
  });

  test('moves all of it, verified, while pushes go on; the old bytes are queued for their deletion', async () => {
    const [{ code, said }, more] = await Promise.all([
      copy(['--from', 'disk', '--to', 's3']),
      pushed(client, 'meanwhile'),
    ]);
    images.push(more);
    expect(said).toMatch(/^Moved 1 blobs, 1000 B, from disk to s3\.$/m);
    expect(code).toBe(0);
    expect(await onDisk()).toEqual([]);
    await expectAllThere();
    const queued = await before.database.query<{ later: boolean }>(
      "SELECT try_after > now() + interval '23 hours' AS later FROM storage_deletions WHERE storage_key LIKE 'blobs/sha%'",
    );
    expect(queued).toHaveLength(9);
    expect(queued.every(({ later }) => later)).toBe(true);
  });

  test('and back', async () => {
    const back = { BERTH_STORAGE: 'disk', BERTH_STORAGE_PREVIOUS: 's3' };
    const { code, said } = await copy(['--from', 's3', '--to', 'disk', '--concurrency', '2'], back);
    expect(said).toMatch(/^Moved 15 blobs, .* from s3 to disk\.$/m);
    expect(code).toBe(0);
    expect(await onDisk()).toHaveLength((await keys()).length);
    await expectAllThere();
    expect(await readdir(path.join(before.dataDir, 'storage', 'uploads'))).toEqual([]);
  });
});
