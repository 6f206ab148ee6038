/** Many clients at once: nobody gets a 5xx, and what is there at the end is whole. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { digestFromBytes } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, makeIndex, randomContent, type Content, type TestImage } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

/** Runs these at once and counts their statuses. */
async function statuses(requests: Iterable<PromiseLike<{ status: number }>>): Promise<Record<number, number>> {
  const counts: Record<number, number> = {};
  for (const { status } of await Promise.all(requests)) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

function pushWhole(name: string, blob: Content) {
  return admin.request('post', `/v2/${name}/blobs/uploads/?digest=${blob.digest}`).type('bin').send(blob.bytes);
}

function put(name: string, reference: string, manifest: Content & { mediaType: string }) {
  const request = admin.request('put', `/v2/${name}/manifests/${reference}`).set('Content-Type', manifest.mediaType);
  return request.send(manifest.bytes.toString());
}

const remove = (name: string, reference: string) => admin.request('delete', `/v2/${name}/manifests/${reference}`);

async function pushBlobs(name: string, image: TestImage): Promise<void> {
  for (const blob of [image.config, ...image.layers]) await admin.pushBlob(name, blob);
}

afterEach(async () => {
  await expectWhole();
  expect(berth.logs.filter((line) => line['level'] === 'error')).toEqual([]);
});

/** Every tag points to a manifest that is there, every manifest has its blobs, every history ends where its tag is. */
async function expectWhole(): Promise<void> {
  const broken = await berth.database.query(
    `SELECT 'tag without manifest' AS what, t.name FROM tags t
     LEFT JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest WHERE m.digest IS NULL
     UNION ALL
     SELECT 'manifest without blob', encode(x.child, 'hex') FROM manifest_references x
     LEFT JOIN repository_blobs l ON l.repository_id = x.repository_id AND l.digest = x.child
     LEFT JOIN blobs b ON b.digest = l.digest WHERE x.kind <> 'manifest' AND b.digest IS NULL
     UNION ALL
     SELECT 'history that ends elsewhere', h.name FROM tag_history h
     LEFT JOIN tags t ON t.repository_id = h.repository_id AND t.name = h.name
     WHERE NOT EXISTS (SELECT 1 FROM tag_history later WHERE later.repository_id = h.repository_id AND later.name = h.name AND later.id > h.id)
       AND h.to_digest IS DISTINCT FROM t.digest
     UNION ALL
     SELECT 'history with a gap', h.name FROM (
       SELECT name, from_digest, lag(to_digest) OVER (PARTITION BY repository_id, name ORDER BY id) AS before FROM tag_history
     ) h WHERE h.from_digest IS DISTINCT FROM h.before`,
  );
  expect(broken).toEqual([]);
  const tags = await berth.database.query<{ repository: string; tag: string; digest: Buffer }>(
    'SELECT r.name AS repository, t.name AS tag, t.digest FROM tags t JOIN repositories r ON r.id = t.repository_id',
  );
  for (const { repository, tag, digest } of tags) {
    const answer = await admin.request('get', `/v2/${repository}/manifests/${tag}`);
    expect(answer.headers['docker-content-digest']).toBe(digestFromBytes(digest));
  }
}

describe('the same blob', () => {
  test('pushed by many clients into one new repository: 201 for all, one copy', async () => {
    const blob = randomContent(50_000);
    expect(await statuses(times(12, () => pushWhole('race/blob', blob)))).toEqual({ 201: 12 });
    await expectOneCopy(1);
  });

  test('pushed into many new repositories of one new namespace: 201 for all', async () => {
    const blob = randomContent(50_000);
    expect(await statuses(times(12, (i) => pushWhole(`fresh/blob-${i}`, blob)))).toEqual({ 201: 12 });
    await expectOneCopy(2);
  });

  test('mounted and pushed and deleted at once: 201 or 202, never anything else', async () => {
    const blob = randomContent(1000);
    await admin.pushBlob('race/source', blob);
    const mount = () => admin.request('post', `/v2/race/mounts/blobs/uploads/?mount=${blob.digest}&from=race/source`);
    const unlink = () => admin.request('delete', `/v2/race/mounts/blobs/${blob.digest}`);
    await pushWhole('race/mounts', blob);
    const counts = await statuses(times(15, (i) => [mount, () => pushWhole('race/mounts', blob), unlink][i % 3]!()));
    for (const status of Object.keys(counts)) expect(['201', '202', '404']).toContain(status);
    expect((await admin.request('head', `/v2/race/source/blobs/${blob.digest}`)).status).toBe(200);
  });

  /** Of all blobs so far, so many are there, each with one object; the copies of the losers are to be deleted. */
  async function expectOneCopy(blobs: number): Promise<void> {
    const [row] = await berth.database.query<{ blobs: number; kept: number }>(
      `SELECT (SELECT count(*) FROM blobs) AS blobs,
         (SELECT count(*) FROM blobs b JOIN storage_deletions d ON d.storage_key = b.storage_key) AS kept`,
    );
    expect(row).toEqual({ blobs, kept: 0 });
  }
});

describe('the same manifest', () => {
  test('pushed by many clients under one tag: 201 for all', async () => {
    const image = makeImage();
    await pushBlobs('race/same', image);
    expect(await statuses(times(16, () => put('race/same', 'v1', image)))).toEqual({ 201: 16 });
  });

  test('pushed by many clients under a tag each: 201 for all, and all tags are there', async () => {
    const image = makeImage();
    await pushBlobs('race/tags', image);
    expect(await statuses(times(16, (i) => put('race/tags', `v${i}`, image)))).toEqual({ 201: 16 });
    const listed = await admin.request('get', '/v2/race/tags/tags/list');
    expect((listed.body as { tags: string[] }).tags).toHaveLength(16);
  });
});

describe('many images', () => {
  test('pushed at once into one new repository, blobs and all, with layers in common', async () => {
    const layers = times(4, () => randomContent(2000));
    const images = times(10, (i) => makeImage({ layers: [layers[i % 4]!, layers[(i + 1) % 4]!, randomContent()] }));
    await Promise.all(images.map((image, i) => admin.pushImage('crowd/images', `v${i}`, image)));
    for (const [i, image] of images.entries()) {
      const answer = await admin.request('head', `/v2/crowd/images/manifests/v${i}`);
      expect(answer.headers['docker-content-digest']).toBe(image.digest);
    }
  });
});

describe('one tag that many clients move', () => {
  test('between several manifests: 201 for all, and the tag is one of them', async () => {
    const images = times(4, () => makeImage());
    for (const image of images) await pushBlobs('race/moves', image);
    expect(await statuses(times(40, (i) => put('race/moves', 'latest', images[i % 4]!)))).toEqual({ 201: 40 });
    const answer = await admin.request('head', '/v2/race/moves/manifests/latest');
    expect(images.map(({ digest }) => digest as string)).toContain(answer.headers['docker-content-digest']);
  });

  test('several tags at once, in any order', async () => {
    const images = times(3, () => makeImage());
    for (const image of images) await pushBlobs('race/several', image);
    const orders = ['tag=a&tag=b&tag=c', 'tag=c&tag=b&tag=a', 'tag=b&tag=c&tag=d', 'tag=d&tag=a'];
    const pushes = times(36, (i) => {
      const image = images[i % 3]!;
      return put('race/several', `${image.digest}?${orders[i % 4]}`, image);
    });
    expect(await statuses(pushes)).toEqual({ 201: 36 });
  });
});

describe('deletions beside pushes', () => {
  test('of the manifest that is pushed: 201, 202 or 404, and the end is whole', async () => {
    const image = makeImage();
    await pushBlobs('race/delete', image);
    await put('race/delete', 'v1', image);
    const counts = await statuses(
      times(40, (i) =>
        [
          () => put('race/delete', 'v1', image),
          () => remove('race/delete', image.digest),
          () => put('race/delete', `${image.digest}?tag=v2&tag=v3`, image),
          () => remove('race/delete', 'v1'),
        ][i % 4]!(),
      ),
    );
    expect(counts[201]).toBe(20);
    expect((counts[202] ?? 0) + (counts[404] ?? 0)).toBe(20);
  });

  test('of the children of an index that is pushed: it is accepted with all of them, or refused', async () => {
    const children = times(3, () => makeImage());
    for (const child of children) await pushBlobs('race/index', child);
    const index = makeIndex(children);
    const counts = await statuses(
      times(36, (i) => {
        const child = children[i % 3]!;
        return [
          () => put('race/index', child.digest, child),
          () => remove('race/index', child.digest),
          () => put('race/index', 'index', index),
          () => remove('race/index', index.digest),
        ][i % 4]!();
      }),
    );
    for (const status of Object.keys(counts)) expect(['201', '202', '404']).toContain(status);
  });

  test('of the blobs that a pushed manifest names: a manifest that was accepted has them', async () => {
    const images = times(6, () => makeImage());
    for (const image of images) await pushBlobs('race/blobs', image);
    const requests = images.flatMap((image, i) => [
      put('race/blobs', `v${i}`, image),
      admin.request('delete', `/v2/race/blobs/blobs/${image.config.digest}`),
      admin.request('delete', `/v2/race/blobs/blobs/${image.layers[0]!.digest}`),
    ]);
    const counts = await statuses(requests);
    for (const status of Object.keys(counts)) expect(['201', '202', '404', '405']).toContain(status);
  });
});
