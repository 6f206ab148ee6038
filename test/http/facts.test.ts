/** What requests leave in PostgreSQL for those who come later: the history of tags, and the garbage collector. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { digestFromBytes, digestToBytes, type Digest } from '../../src/oci/digest.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { descriptor, makeImage, makeIndex, randomContent } from '../support/images.ts';
import { closeUpload, openUpload, sendChunk } from '../support/uploads.ts';

const reviewDelayHours = 7;
let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_GC_REVIEW_DELAY_HOURS: String(reviewDelayHours) });
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

/** A repository of its own for each test. */
let name = '';
let count = 0;
beforeEach(() => {
  count += 1;
  name = `acme/facts-${count}`;
});

const inRepository = 'repository_id = (SELECT id FROM repositories WHERE name = $1)';
const remove = async (path: string): Promise<void> => {
  const answer = await admin.request('delete', `/v2/${name}/${path}`);
  expect(answer.status).toBe(202);
};
const textOf = (digest: Buffer | null): Digest | null => (digest === null ? null : digestFromBytes(digest));

describe('the history of tags', () => {
  async function historyOf(tag: string): Promise<[from: Digest | null, to: Digest | null, who: string][]> {
    const rows = await berth.database.query<{ from_digest: Buffer | null; to_digest: Buffer | null; who: string }>(
      `SELECT from_digest, to_digest, u.name AS who FROM tag_history h
       JOIN credentials c ON c.id = h.credential_id JOIN users u ON u.id = c.user_id
       WHERE h.${inRepository} AND h.name = $2 ORDER BY h.id`,
      [name, tag],
    );
    return rows.map((row) => [textOf(row.from_digest), textOf(row.to_digest), row.who]);
  }

  test('has every move, from where to where and by whom; a push of what is there already is none', async () => {
    const [first, second] = [makeImage(), makeImage()];
    await admin.pushImage(name, 'v1', first);
    await admin.pushManifest(name, 'v1', first);
    await admin.pushImage(name, 'v1', second);
    await remove('manifests/v1');
    await admin.pushManifest(name, 'v1', first);
    await remove(`manifests/${first.digest}`);
    expect(await historyOf('v1')).toEqual([
      [null, first.digest, 'admin'],
      [first.digest, second.digest, 'admin'],
      [second.digest, null, 'admin'],
      [null, first.digest, 'admin'],
      [first.digest, null, 'admin'],
    ]);
  });

  test('has every tag of a push of several, and of a deletion of several', async () => {
    const image = makeImage();
    await admin.pushImage(name, `${image.digest}?tag=a&tag=b`, image);
    await remove(`manifests/${image.digest}`);
    for (const tag of ['a', 'b'])
      expect(await historyOf(tag)).toEqual([
        [null, image.digest, 'admin'],
        [image.digest, null, 'admin'],
      ]);
  });

  test('names the account that moved the tag', async () => {
    name = 'zoe/own';
    const zoe = clientOf(berth.url, await berth.addUser('zoe'));
    const image = makeImage();
    await zoe.pushImage(name, 'v1', image);
    expect(await historyOf('v1')).toEqual([[null, image.digest, 'zoe']]);
  });
});

interface Review {
  readonly reason: string;
  readonly hours: number;
}

const reviewTables = { link: 'gc_link_reviews', manifest: 'gc_manifest_reviews' } as const;

/** The review of one thing in the repository, and how far away it is. */
async function reviewOf(kind: keyof typeof reviewTables, digest: string): Promise<Review | undefined> {
  const [row] = await berth.database.query<Review>(
    `SELECT reason, round(extract(epoch FROM review_after - now()) / 3600)::integer AS hours FROM ${reviewTables[kind]}
     WHERE ${inRepository} AND digest = $2`,
    [name, digestToBytes(digest as Digest)],
  );
  return row;
}

const due = (reason: string): Review => ({ reason, hours: reviewDelayHours });

describe('what the garbage collector will look at', () => {
  test('a blob that was uploaded, in one request or in several, and one that was mounted', async () => {
    const [whole, chunked] = [randomContent(), randomContent()];
    await admin.request('post', `/v2/${name}/blobs/uploads/?digest=${whole.digest}`).type('bin').send(whole.bytes);
    const session = await openUpload(admin, name);
    await sendChunk(admin, session, chunked.bytes);
    await closeUpload(admin, session, chunked.digest);
    for (const blob of [whole, chunked]) expect(await reviewOf('link', blob.digest)).toEqual(due('uploaded'));

    const source = name;
    name = `${source}-mounted`;
    await admin.request('post', `/v2/${name}/blobs/uploads/?mount=${whole.digest}&from=${source}`);
    expect(await reviewOf('link', whole.digest)).toEqual(due('mounted'));
  });

  test('a manifest that was pushed, that lost its tag to another, and whose tag was deleted', async () => {
    const [first, second] = [makeImage(), makeImage()];
    await admin.pushImage(name, 'v1', first);
    expect(await reviewOf('manifest', first.digest)).toEqual(due('pushed'));
    await admin.pushImage(name, 'v1', second);
    expect(await reviewOf('manifest', first.digest)).toEqual(due('tag-moved'));
    await remove('manifests/v1');
    expect(await reviewOf('manifest', second.digest)).toEqual(due('tag-deleted'));
  });

  test('what a deleted image named, and who referred to it', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'v1', image);
    const about = makeImage({ layers: [], fields: { subject: descriptor(image.mediaType, image) } });
    await admin.pushImage(name, about.digest, about);
    await remove(`manifests/${image.digest}`);
    for (const blob of [image.config, ...image.layers])
      expect(await reviewOf('link', blob.digest)).toEqual(due('parent-deleted'));
    expect(await reviewOf('manifest', about.digest)).toEqual(due('subject-deleted'));
  });

  test('the manifests of a deleted index', async () => {
    const images = [makeImage(), makeImage()];
    for (const image of images) await admin.pushImage(name, image.digest, image);
    const index = makeIndex(images);
    await admin.pushManifest(name, 'index', index);
    await remove(`manifests/${index.digest}`);
    for (const image of images) expect(await reviewOf('manifest', image.digest)).toEqual(due('parent-deleted'));
  });

  test('a blob whose link was deleted', async () => {
    const blob = randomContent();
    await admin.pushBlob(name, blob);
    await remove(`blobs/${blob.digest}`);
    const [row] = await berth.database.query<Review>(
      `SELECT reason, round(extract(epoch FROM review_after - now()) / 3600)::integer AS hours FROM gc_blob_reviews WHERE digest = $1`,
      [digestToBytes(blob.digest)],
    );
    expect(row).toEqual(due('link-deleted'));
  });

  test('a later signal moves a review away, and never nearer', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'v1', image);
    const shift = (hours: number) =>
      berth.database.query(
        `UPDATE gc_manifest_reviews SET review_after = now() + make_interval(hours => $2) WHERE ${inRepository}`,
        [name, hours],
      );
    await shift(1);
    await admin.pushManifest(name, 'v2', image);
    expect(await reviewOf('manifest', image.digest)).toEqual(due('pushed'));
    await shift(100);
    await remove('manifests/v2');
    expect(await reviewOf('manifest', image.digest)).toEqual({ reason: 'tag-deleted', hours: 100 });
  });

  test('the copy of the bytes that lost, when the same blob came twice', async () => {
    const blob = randomContent();
    for (let time = 0; time < 2; time += 1) await admin.pushBlob(name, blob);
    const copies = await berth.database.query<{ storage_key: string; kept: boolean }>(
      `SELECT d.storage_key, EXISTS (SELECT 1 FROM blobs b WHERE b.storage_key = d.storage_key) AS kept
       FROM storage_deletions d WHERE d.storage_key LIKE $1`,
      [`%${blob.digest.replace('sha256:', '')}%`],
    );
    expect(copies).toEqual([{ storage_key: expect.any(String), kept: false }]);
  });
});

describe('what a manifest names', () => {
  async function referencesOf(parent: Digest): Promise<[kind: string, child: string | null][]> {
    const rows = await berth.database.query<{ kind: string; child: Buffer }>(
      `SELECT kind, child FROM manifest_references WHERE ${inRepository} AND parent = $2 ORDER BY position`,
      [name, digestToBytes(parent)],
    );
    return rows.map((row) => [row.kind, textOf(row.child)]);
  }

  test('is there in order from the push on, also twice the same layer, and gone with the manifest', async () => {
    const [a, b] = [randomContent(), randomContent()];
    const image = makeImage({ layers: [a, b, a] });
    await admin.pushImage(name, 'v1', image);
    expect(await referencesOf(image.digest)).toEqual([
      ['config', image.config.digest],
      ['layer', a.digest],
      ['layer', b.digest],
      ['layer', a.digest],
    ]);
    const index = makeIndex([image]);
    await admin.pushManifest(name, 'index', index);
    expect(await referencesOf(index.digest)).toEqual([['manifest', image.digest]]);
    await remove(`manifests/${index.digest}`);
    expect(await referencesOf(index.digest)).toEqual([]);
  });

  test('is there once, however often the manifest is pushed', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'v1', image);
    await admin.pushManifest(name, 'v2', image);
    expect(await referencesOf(image.digest)).toHaveLength(2);
  });
});

describe('an upload', () => {
  test('is a row until it is closed', async () => {
    const blob = randomContent(2000);
    const session = await openUpload(admin, name);
    const row = async () => {
      const id = session.split('/').at(-1);
      const rows = await berth.database.query<{ byte_offset: number }>(
        'SELECT byte_offset FROM uploads WHERE id = $1',
        [id],
      );
      return rows[0]?.byte_offset;
    };
    expect(await row()).toBe(0);
    await sendChunk(admin, session, blob.bytes);
    expect(await row()).toBe(2000);
    await closeUpload(admin, session, blob.digest);
    expect(await row()).toBeUndefined();
  });
});
