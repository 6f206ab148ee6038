/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Response } from 'supertest';
import { digestOf } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-types.ts';
import { expectErrors, nextPageOf, pagesOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { content, descriptor, makeImage, makeIndex, randomContent, type Content } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
const pageBytesMax = 64 * 1024;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_REFERRERS_PAGE_BYTES_MAX: String(pageBytesMax) });
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/referrers';

type Manifest = Content & { readonly mediaType: string };

interface Index {
  readonly schemaVersion: number;
  readonly mediaType: string;
  readonly manifests: readonly { readonly digest: string }[];
}

/** The index in an answer that must be one. */
function indexOf(answer: Response): Index {
  expect(answer.status, answer.text).toBe(200);
  expect(answer.headers['content-type']).toBe(mediaTypes.ociIndex);
  const index = answer.body as Index;
  expect(index).toMatchObject({ schemaVersion: 2, mediaType: mediaTypes.ociIndex });
  return index;
}

const address = (digest: string, query = '') => `/v2/${name}/referrers/${digest}${query}`;
const referrers = async (digest: string, query = '') =>
  indexOf(await admin.request('get', address(digest, query))).manifests;
const digestsOf = (manifests: readonly { readonly digest: string }[]) => manifests.map(({ digest }) => digest);

/** A subject of its own; it need not be there. */
function newSubject(): Manifest {
  return { ...randomContent(), mediaType: mediaTypes.ociManifest };
}

async function pushImageAbout(subject: Manifest, fields: Record<string, unknown> = {}): Promise<Manifest> {
  const image = makeImage({ layers: [], fields: { ...fields, subject: descriptor(subject.mediaType, subject) } });
  await admin.pushImage(name, image.digest, image);
  return image;
}

async function pushIndexAbout(subject: Manifest, fields: Record<string, unknown> = {}): Promise<Manifest> {
  const nonce = { nonce: String(Math.random()) };
  const index = makeIndex([], { annotations: nonce, ...fields, subject: descriptor(subject.mediaType, subject) });
  await admin.pushManifest(name, index.digest, index);
  return index;
}

describe('Listing Referrers', () => {
  const artifactType = 'application/vnd.example.sbom.v1';
  const annotations = { 'org.example.sbom.format': 'json', 'org.example.empty': '' };

  test.each([
    [
      'an image with an artifactType and annotations',
      (subject: Manifest) => pushImageAbout(subject, { artifactType, annotations }),
      { artifactType, annotations },
    ],
    [
      'an image without an artifactType, which has that of its config',
      (subject: Manifest) => pushImageAbout(subject),
      { artifactType: mediaTypes.ociConfig },
    ],
    [
      'an image with an empty artifactType, which has that of its config',
      (subject: Manifest) => pushImageAbout(subject, { artifactType: '' }),
      { artifactType: mediaTypes.ociConfig },
    ],
    [
      'an index with an artifactType',
      (subject: Manifest) => pushIndexAbout(subject, { artifactType, annotations }),
      { artifactType, annotations },
    ],
    [
      'an index without an artifactType, which has none',
      (subject: Manifest) => pushIndexAbout(subject, { annotations }),
      { annotations },
    ],
    [
      'an index with an empty artifactType, which has none',
      (subject: Manifest) => pushIndexAbout(subject, { artifactType: '', annotations }),
      { annotations },
    ],
    [
      'an artifact manifest',
      async (subject: Manifest) => {
        const mediaType = mediaTypes.ociArtifactManifest;
        const about = { mediaType, artifactType, annotations, subject: descriptor(subject.mediaType, subject) };
        const manifest = { ...content(JSON.stringify(about)), mediaType };
        await admin.pushManifest(name, manifest.digest, manifest);
        return manifest;
      },
      { artifactType, annotations },
    ],
  ])('a descriptor with everything that the spec wants: %s', async (_, push, expected) => {
    const subject = newSubject();
    const manifest = await push(subject);
    expect(await referrers(subject.digest)).toEqual([{ ...descriptor(manifest.mediaType, manifest), ...expected }]);
  });

  test('200 with an empty list for a digest that nobody refers to, in any repository, existing or not', async () => {
    const subject = newSubject();
    await pushImageAbout(subject);
    for (const path of [
      address(digestOf('unknown')),
      address(digestOf('unknown', 'sha512')),
      `/v2/acme/absent/referrers/${subject.digest}`,
    ]) {
      const answer = await admin.request('get', path);
      expect(indexOf(answer).manifests).toEqual([]);
      expect(answer.headers['link']).toBeUndefined();
    }
  });

  test.each(['latest', 'sha256:abc', `sha256:${'A'.repeat(64)}`, `md5:${'0'.repeat(32)}`])(
    'what is no digest is 400: %s',
    async (digest) => {
      expectErrors(await admin.request('get', address(digest)), 400, 'DIGEST_INVALID');
    },
  );

  test('the subject may come before or after, be tagged, and have any digest algorithm', async () => {
    const image = makeImage();
    const before = await pushImageAbout(image);
    await admin.pushImage(name, 'subject', image);
    const after = await pushIndexAbout(image);
    expect(digestsOf(await referrers(image.digest)).toSorted()).toEqual([before.digest, after.digest].toSorted());

    const bytes = randomContent().bytes;
    const long = { bytes, digest: digestOf(bytes, 'sha512'), mediaType: mediaTypes.ociManifest };
    const about = await pushImageAbout(long);
    expect(digestsOf(await referrers(long.digest))).toEqual([about.digest]);
  });

  test('only what lies in the same repository refers', async () => {
    const subject = newSubject();
    await pushImageAbout(subject);
    await admin.pushImage('acme/elsewhere', 'v1', makeImage());
    const answer = await admin.request('get', `/v2/acme/elsewhere/referrers/${subject.digest}`);
    expect(indexOf(answer).manifests).toEqual([]);
  });

  test('a referrer that is deleted is gone; one whose subject is deleted stays', async () => {
    const image = makeImage();
    await admin.pushImage(name, image.digest, image);
    const [first, second] = [await pushImageAbout(image), await pushImageAbout(image)];
    await admin.request('delete', `/v2/${name}/manifests/${first.digest}`);
    expect(digestsOf(await referrers(image.digest))).toEqual([second.digest]);
    await admin.request('delete', `/v2/${name}/manifests/${image.digest}`);
    expect(digestsOf(await referrers(image.digest))).toEqual([second.digest]);
  });

  test('a repository that the caller may not see has none, as one that does not exist', async () => {
    const subject = newSubject();
    await pushImageAbout(subject);
    const zoe = clientOf(berth.url, await berth.addUser('zoe'));
    expect(indexOf(await zoe.request('get', address(subject.digest))).manifests).toEqual([]);
    expectErrors(await clientOf(berth.url).request('get', address(subject.digest)), 401, 'UNAUTHORIZED');
  });
});

describe('Enabling the Referrers API', () => {
  test('what a client listed under the referrers tag is found by its own subject; the tag is one like any other', async () => {
    const subject = newSubject();
    const referrer = await pushImageAbout(subject);
    const list = makeIndex([referrer]);
    const tag = subject.digest.replace(':', '-');
    await admin.pushManifest(name, tag, list);
    expect((await admin.request('head', `/v2/${name}/manifests/${tag}`)).headers['docker-content-digest']).toBe(
      list.digest,
    );
    expect(digestsOf(await referrers(subject.digest))).toEqual([referrer.digest]);
  });
});

describe('Listing Referrers, filtered', () => {
  test('artifactType leaves the others out, and OCI-Filters-Applied says so', async () => {
    const subject = newSubject();
    const types = ['application/vnd.example.signature', 'application/vnd.example.sbom+json'];
    const pushed = new Map<string, string>();
    for (const type of types) pushed.set(type, (await pushImageAbout(subject, { artifactType: type })).digest);
    pushed.set(mediaTypes.ociConfig, (await pushImageAbout(subject)).digest);
    await pushIndexAbout(subject);

    expect(await referrers(subject.digest)).toHaveLength(4);
    for (const [type, digest] of pushed) {
      const answer = await admin.request('get', address(subject.digest)).query({ artifactType: type });
      expect(digestsOf(indexOf(answer).manifests)).toEqual([digest]);
      expect(answer.headers['oci-filters-applied']).toBe('artifactType');
    }
  });

  test('a filter that nothing passes is an empty list, and was applied; without one there is no such header', async () => {
    const subject = newSubject();
    await pushImageAbout(subject);
    const filtered = await admin.request('get', address(subject.digest, '?artifactType=application/vnd.none'));
    expect(indexOf(filtered).manifests).toEqual([]);
    expect(filtered.headers['oci-filters-applied']).toBe('artifactType');
    const plain = await admin.request('get', address(subject.digest));
    expect(plain.headers['oci-filters-applied']).toBeUndefined();
  });
});

describe('Listing Referrers, in pages', () => {
  test.each([1, 2, 3, 4, 5])('n=%d: each page is an index, and the links lead through all of them, once', async (n) => {
    const subject = newSubject();
    const pushed: string[] = [];
    for (let i = 0; i < 4; i += 1) pushed.push((await pushIndexAbout(subject)).digest);
    const pages = (await pagesOf(admin, address(subject.digest, `?n=${n}`))).map((page) => indexOf(page).manifests);
    for (const page of pages.slice(0, -1)) expect(page).toHaveLength(n);
    expect(digestsOf(pages.flat()).toSorted()).toEqual(pushed.toSorted());
    expect(pages).toHaveLength(Math.ceil(4 / n));
  });

  test('the links keep the filter', async () => {
    const subject = newSubject();
    const artifactType = 'application/vnd.example.a+b';
    const pushed: string[] = [];
    for (let i = 0; i < 3; i += 1) {
      pushed.push((await pushIndexAbout(subject, { artifactType, annotations: { i: String(i) } })).digest);
      await pushIndexAbout(subject);
    }
    const pages = await pagesOf(
      admin,
      address(subject.digest, `?n=2&artifactType=${encodeURIComponent(artifactType)}`),
    );
    for (const page of pages) expect(page.headers['oci-filters-applied']).toBe('artifactType');
    expect(digestsOf(pages.flatMap((page) => indexOf(page).manifests)).toSorted()).toEqual(pushed.toSorted());
  });

  test('a page ends before it has more bytes than BERTH_REFERRERS_PAGE_BYTES_MAX', async () => {
    const subject = newSubject();
    const pushed: string[] = [];
    for (let i = 0; i < 7; i += 1)
      pushed.push((await pushIndexAbout(subject, { annotations: { i: String(i), text: 'x'.repeat(20_000) } })).digest);
    const pages = await pagesOf(admin, address(subject.digest));
    expect(pages.length).toBeGreaterThan(1);
    for (const page of pages) expect(Number(page.headers['content-length'])).toBeLessThan(pageBytesMax + 200);
    expect(digestsOf(pages.flatMap((page) => indexOf(page).manifests)).toSorted()).toEqual(pushed.toSorted());
  });

  test('a referrer that is larger than a page has a page for itself', async () => {
    const subject = newSubject();
    const pushed: string[] = [];
    for (let i = 0; i < 2; i += 1)
      pushed.push((await pushIndexAbout(subject, { annotations: { i: String(i), text: 'x'.repeat(100_000) } })).digest);
    const first = await admin.request('get', address(subject.digest));
    expect(indexOf(first).manifests).toHaveLength(1);
    const second = await admin.request('get', nextPageOf(first)!);
    expect(digestsOf([...indexOf(first).manifests, ...indexOf(second).manifests]).toSorted()).toEqual(
      pushed.toSorted(),
    );
    expect(second.headers['link']).toBeUndefined();
  });

  test.each(['?n=-1', '?n=x', '?last=latest'])('parameters that make no sense are 400: %s', async (query) => {
    expect((await admin.request('get', address(digestOf('x'), query))).status).toBe(400);
  });
});
