/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#content-management */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { expectErrors } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { makeImage, makeIndex, randomContent } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/delete';
const remove = (path: string) => admin.request('delete', `/v2/${name}/${path}`);
const statusOf = async (path: string) => (await admin.request('get', `/v2/${name}/${path}`)).status;

async function tags(): Promise<string[]> {
  const answer = await admin.request('get', `/v2/${name}/tags/list`);
  return (answer.body as { tags: string[] }).tags;
}

describe('Deleting tags', () => {
  test('202; the tag is gone, its manifest and the other tags stay', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'first', image);
    await admin.pushManifest(name, 'second', image);
    const answer = await remove('manifests/first');
    expect(answer.status).toBe(202);
    expect(await statusOf('manifests/first')).toBe(404);
    expect(await statusOf('manifests/second')).toBe(200);
    expect(await statusOf(`manifests/${image.digest}`)).toBe(200);
    expect(await tags()).toEqual(['second']);
    expectErrors(await remove('manifests/first'), 404, 'MANIFEST_UNKNOWN');
  });

  test('the last tag may go, and the name may be used again', async () => {
    const image = makeImage();
    await admin.pushImage('acme/last-tag', 'only', image);
    await admin.request('delete', '/v2/acme/last-tag/manifests/only');
    const listed = await admin.request('get', '/v2/acme/last-tag/tags/list');
    expect(listed.status).toBe(200);
    expect(listed.body).toEqual({ name: 'acme/last-tag', tags: [] });
    await admin.pushManifest('acme/last-tag', 'only', image);
    expect((await admin.request('head', '/v2/acme/last-tag/manifests/only')).status).toBe(200);
  });

  test('a tag that never was is 404', async () => {
    await admin.pushImage(name, 'some', makeImage());
    expectErrors(await remove('manifests/never'), 404, 'MANIFEST_UNKNOWN');
  });
});

describe('Deleting Manifests', () => {
  test('202; the manifest and every tag on it are gone at once, for every way to ask', async () => {
    const [image, other] = [makeImage(), makeImage()];
    await admin.pushImage(name, 'a', image);
    for (const tag of ['b', 'c']) await admin.pushManifest(name, tag, image);
    await admin.pushImage(name, 'other', other);
    // Pulled before, so that whatever remembers it has it.
    for (const reference of ['a', image.digest]) await admin.request('get', `/v2/${name}/manifests/${reference}`);

    expect((await remove(`manifests/${image.digest}`)).status).toBe(202);
    for (const reference of [image.digest, 'a', 'b', 'c']) {
      expect(await statusOf(`manifests/${reference}`), reference).toBe(404);
      expect((await admin.request('head', `/v2/${name}/manifests/${reference}`)).status, reference).toBe(404);
    }
    expect(await tags()).not.toContain('a');
    expect(await statusOf('manifests/other')).toBe(200);
    expectErrors(await remove(`manifests/${image.digest}`), 404, 'MANIFEST_UNKNOWN');
  });

  test('its blobs stay, and it can be pushed again', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'back', image);
    await remove(`manifests/${image.digest}`);
    for (const blob of [image.config, ...image.layers]) expect(await statusOf(`blobs/${blob.digest}`)).toBe(200);
    await admin.pushManifest(name, 'back', image);
    expect(await statusOf('manifests/back')).toBe(200);
  });

  test('the same manifest in another repository stays', async () => {
    const image = makeImage();
    for (const repository of [name, 'acme/copy']) await admin.pushImage(repository, 'v1', image);
    await remove(`manifests/${image.digest}`);
    expect((await admin.request('get', '/v2/acme/copy/manifests/v1')).status).toBe(200);
  });

  test('a manifest that is not there, and a repository that does not exist, are 404', async () => {
    await admin.pushImage(name, 'some', makeImage());
    const digest = digestOf('nothing');
    expectErrors(await remove(`manifests/${digest}`), 404, 'MANIFEST_UNKNOWN');
    expectErrors(await admin.request('delete', `/v2/acme/absent/manifests/${digest}`), 404, 'NAME_UNKNOWN');
    expectErrors(await admin.request('delete', '/v2/acme/absent/manifests/v1'), 404, 'NAME_UNKNOWN');
  });

  test('deleting an index leaves its manifests', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'child', image);
    const index = makeIndex([image]);
    await admin.pushManifest(name, 'parent', index);
    expect((await remove(`manifests/${index.digest}`)).status).toBe(202);
    expect(await statusOf('manifests/parent')).toBe(404);
    expect(await statusOf('manifests/child')).toBe(200);
  });

  test.each(['sha256:abc', '-bad-tag'])('what is neither a tag nor a digest is 400: %s', async (reference) => {
    expect((await remove(`manifests/${reference}`)).status).toBe(400);
  });
});

describe('Deleting Blobs', () => {
  test('202; the blob is gone from this repository and stays in others', async () => {
    const blob = randomContent();
    for (const repository of [name, 'acme/copy']) await admin.pushBlob(repository, blob);
    // Pulled before, so that whatever remembers it has it.
    expect(await statusOf(`blobs/${blob.digest}`)).toBe(200);
    expect((await remove(`blobs/${blob.digest}`)).status).toBe(202);
    expect(await statusOf(`blobs/${blob.digest}`)).toBe(404);
    expect((await admin.request('get', `/v2/acme/copy/blobs/${blob.digest}`)).status).toBe(200);
    expectErrors(await remove(`blobs/${blob.digest}`), 404, 'BLOB_UNKNOWN');
  });

  test('a blob that is not there, and a repository that does not exist, are 404', async () => {
    await admin.pushBlob(name, randomContent());
    const digest = digestOf('nothing');
    expectErrors(await remove(`blobs/${digest}`), 404, 'BLOB_UNKNOWN');
    expectErrors(await admin.request('delete', `/v2/acme/absent/blobs/${digest}`), 404, 'NAME_UNKNOWN');
  });

  test('a blob that a manifest needs is 405 with the reason, and goes once the manifest is gone', async () => {
    const image = makeImage();
    await admin.pushImage(name, 'needs', image);
    for (const blob of [image.config, ...image.layers]) {
      const answer = await remove(`blobs/${blob.digest}`);
      const [error] = expectErrors(answer, 405, 'UNSUPPORTED');
      expect(error!.detail).toEqual({ digest: blob.digest, manifest: image.digest });
      // RFC 9110 section 15.5.6: a 405 says what can be done.
      expect(answer.headers['allow']).toBe('GET, HEAD');
      expect(await statusOf(`blobs/${blob.digest}`)).toBe(200);
    }
    await remove(`manifests/${image.digest}`);
    for (const blob of [image.config, ...image.layers]) expect((await remove(`blobs/${blob.digest}`)).status).toBe(202);
  });

  test('a deleted blob can be pushed again', async () => {
    const blob = randomContent();
    await admin.pushBlob(name, blob);
    await remove(`blobs/${blob.digest}`);
    await admin.pushBlob(name, blob);
    expect(await statusOf(`blobs/${blob.digest}`)).toBe(200);
  });

  test('a manifest cannot be pushed over a deleted blob', async () => {
    const image = makeImage();
    for (const blob of [image.config, ...image.layers]) await admin.pushBlob(name, blob);
    await remove(`blobs/${image.config.digest}`);
    const answer = await admin
      .request('put', `/v2/${name}/manifests/over`)
      .set('Content-Type', image.mediaType)
      .send(image.bytes.toString());
    expectErrors(answer, 404, 'MANIFEST_BLOB_UNKNOWN');
  });
});
