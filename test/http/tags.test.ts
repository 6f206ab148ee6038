/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectErrors, nextPageOf, pagesOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, randomContent } from '../support/images.ts';

// In the order of their bytes: digits, capitals, the underscore, small letters; a dash before a dot.
const ordered = ['0', '1.10', '1.9', '10', '2', 'A', 'Z', '_', 'a', 'a-b', 'a.b', 'aB', 'ab', 'latest', 'z'];
const pageSizeMax = 10;
const name = 'acme/tags';
const list = `/v2/${name}/tags/list`;

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth({ BERTH_PAGE_SIZE_MAX: String(pageSizeMax) });
  admin = clientOf(berth.url, berth.admin);
  const image = makeImage();
  await admin.pushImage(name, image.digest, image);
  for (const tag of ordered.toReversed()) await admin.pushManifest(name, tag, image);
});
afterAll(() => berth.stop());

async function tagsOf(path: string): Promise<string[]> {
  const answer = await admin.request('get', path);
  expect(answer.status, answer.text).toBe(200);
  return (answer.body as { tags: string[] }).tags;
}

describe('Listing Tags', () => {
  test('200 with the name and the tags in byte order, as JSON', async () => {
    const answer = await admin.request('get', `${list}?n=3`);
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.body).toEqual({ name, tags: ordered.slice(0, 3) });
  });

  test('a repository without tags has an empty list', async () => {
    const image = makeImage();
    await admin.pushImage('acme/untagged', image.digest, image);
    await admin.pushBlob('acme/only-blobs', randomContent());
    for (const repository of ['acme/untagged', 'acme/only-blobs']) {
      const answer = await admin.request('get', `/v2/${repository}/tags/list`);
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({ name: repository, tags: [] });
    }
  });

  test('a repository that does not exist is 404', async () => {
    expectErrors(await admin.request('get', '/v2/acme/absent/tags/list'), 404, 'NAME_UNKNOWN');
  });

  test('a repository whose name ends like a route is listed like any other', async () => {
    const image = makeImage();
    await admin.pushImage('acme/tags/list', 'v1', image);
    expect(await tagsOf('/v2/acme/tags/list/tags/list')).toEqual(['v1']);
  });

  test.each(Array.from({ length: pageSizeMax }, (_, i) => i + 1))(
    'n=%d gives that many, and the links lead through all of them, once',
    async (n) => {
      const pages = await pagesOf(admin, `${list}?n=${n}`);
      const tags = pages.map(({ body }) => (body as { tags: string[] }).tags);
      expect(tags.flat()).toEqual(ordered);
      for (const page of tags.slice(0, -1)) expect(page).toHaveLength(n);
      expect(tags.at(-1)!.length).toBeGreaterThan(0);
    },
  );

  test.each(['', '?n=1000', '?n=9999999999'])(
    'more than the largest page, or no n, is the largest page: "%s"',
    async (query) => {
      const answer = await admin.request('get', list + query);
      expect((answer.body as { tags: string[] }).tags).toEqual(ordered.slice(0, pageSizeMax));
      expect(nextPageOf(answer)).toBeDefined();
    },
  );

  test('exactly as many as there are, and the last page, have no link', async () => {
    const answer = await admin.request('get', `${list}?n=5&last=${ordered.at(-6)}`);
    expect((answer.body as { tags: string[] }).tags).toEqual(ordered.slice(-5));
    expect(answer.headers['link']).toBeUndefined();
  });

  test('n=0 is an empty list without a link', async () => {
    for (const query of ['?n=0', '?n=0&last=a']) {
      const answer = await admin.request('get', list + query);
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({ name, tags: [] });
      expect(answer.headers['link']).toBeUndefined();
    }
  });

  test('last begins behind that tag, whether it is there or not', async () => {
    for (const last of ['', '0', '1.5', 'A', 'B', '_', 'a.b', 'zz', '~']) {
      const behind = ordered.filter((tag) => Buffer.compare(Buffer.from(tag), Buffer.from(last)) > 0);
      expect(await tagsOf(`${list}?last=${last}`), last).toEqual(behind.slice(0, pageSizeMax));
      expect(await tagsOf(`${list}?n=2&last=${last}`), last).toEqual(behind.slice(0, 2));
    }
  });

  test.each(['-1', 'abc', '1.5', '', '0x10', '1e3', '99999999999'])(
    'an n that is no whole number is 400: "%s"',
    async (n) => {
      expectErrors(await admin.request('get', `${list}?n=${n}`), 400, 'UNSUPPORTED');
    },
  );

  test('a parameter that is given twice is 400', async () => {
    expectErrors(await admin.request('get', `${list}?n=1&n=2`), 400, 'UNSUPPORTED');
    expectErrors(await admin.request('get', `${list}?last=a&last=b`), 400, 'UNSUPPORTED');
  });

  test('last may hold anything that fits into an address', async () => {
    for (const last of ['%00', 'a%00b', '%F0%9F%90%B3', '%FF', "'%20OR%201=1", 'x'.repeat(2000)])
      expect((await admin.request('get', `${list}?n=3&last=${last}`)).status, last).toBe(200);
  });

  test('a tag that is deleted while a client pages does not end the pages', async () => {
    const image = makeImage();
    await admin.pushImage('acme/shrinking', 'a', image);
    for (const tag of ['b', 'c', 'd']) await admin.pushManifest('acme/shrinking', tag, image);
    const first = await admin.request('get', '/v2/acme/shrinking/tags/list?n=2');
    await admin.request('delete', '/v2/acme/shrinking/manifests/b');
    expect(await tagsOf(nextPageOf(first)!)).toEqual(['c', 'd']);
  });
});
