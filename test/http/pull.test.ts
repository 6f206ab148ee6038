/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mediaTypes } from '../../src/oci/media-types.ts';
import { expectErrors, getBytes } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { content, makeImage, makeIndex, randomContent } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const nowhere = content('nobody pushed this').digest;

describe('Pulling manifests', () => {
  test('a GET by tag and by digest is 200 with the bytes exactly as pushed, and their digest', async () => {
    const image = makeImage();
    await admin.pushImage('acme/pull', 'v1', image);
    for (const reference of ['v1', image.digest]) {
      const answer = await admin.request('get', `/v2/acme/pull/manifests/${reference}`).buffer(true);
      expect(answer.status).toBe(200);
      expect(answer.text).toBe(image.bytes.toString());
      expect(answer.headers).toMatchObject({
        'docker-content-digest': image.digest,
        'content-type': image.mediaType,
        'content-length': String(image.bytes.length),
        etag: `"${image.digest}"`,
      });
    }
  });

  test('a bearer token for the repository does as well as a password', async () => {
    const image = makeImage();
    await admin.pushImage('acme/bearer', 'v1', image);
    const token = await tokenFor(berth.url, ['repository:acme/bearer:pull'], berth.admin);
    const answer = await clientOf(berth.url)
      .request('head', '/v2/acme/bearer/manifests/v1')
      .auth(token, { type: 'bearer' });
    expect(answer.status).toBe(200);
  });

  test.each([
    ['nothing', undefined],
    ['everything', '*/*'],
    ['the type it has', mediaTypes.ociManifest],
    ['only an index', mediaTypes.ociIndex],
    ['only Docker schema 1', mediaTypes.dockerSchema1Signed],
    ['only a picture', 'image/png'],
  ])('the manifest is served as pushed when the client accepts %s', async (_, accept) => {
    const image = makeImage();
    await admin.pushImage('acme/accept', 'v1', image);
    const request = admin.request('get', '/v2/acme/accept/manifests/v1').buffer(true);
    const answer = await (accept === undefined ? request : request.set('Accept', accept));
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe(mediaTypes.ociManifest);
    expect(answer.text).toBe(image.bytes.toString());
  });

  test('the Content-Type is that of the push, without parameters', async () => {
    const image = makeImage();
    await admin.pushImage('acme/types', 'image', image);
    const index = makeIndex([image]);
    const answer = await admin
      .request('put', '/v2/acme/types/manifests/index')
      .set('Content-Type', `${index.mediaType}; charset=utf-8`)
      .send(index.bytes.toString());
    expect(answer.status).toBe(201);
    const pulled = await admin.request('get', '/v2/acme/types/manifests/index');
    expect(pulled.headers['content-type']).toBe(mediaTypes.ociIndex);
  });

  test('a tag of 128 characters and one of each allowed kind can be pushed and pulled', async () => {
    const image = makeImage();
    await admin.pushImage('acme/tags', 'first', image);
    for (const tag of ['x'.repeat(128), '_', '0', 'A-Z.a_z-0', 'latest', 'sha256-abc.sig', 'manifests', 'v1..2--3']) {
      await admin.pushManifest('acme/tags', tag, image);
      expect((await admin.request('head', `/v2/acme/tags/manifests/${tag}`)).status, tag).toBe(200);
    }
  });

  // The conformance program of spec 1.0 asks for one and expects 404.
  test.each(['x'.repeat(129), '.hidden', '-dash', 'with%20space', 'caf%C3%A9'])(
    'what cannot be a tag is a tag that is not there, 404: %s',
    async (reference) => {
      expectErrors(await admin.request('get', `/v2/acme/pull/manifests/${reference}`), 404, 'MANIFEST_UNKNOWN');
    },
  );

  test.each([
    'sha256:abc',
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'g'.repeat(64)}`,
    `md5:${'0'.repeat(32)}`,
    `sha512:${'0'.repeat(64)}`,
  ])('what is meant as a digest and is none is 400: %s', async (reference) => {
    expectErrors(await admin.request('get', `/v2/acme/pull/manifests/${reference}`), 400, 'DIGEST_INVALID');
  });

  test('names within the grammar are names, and absent ones are not found', async () => {
    for (const name of ['a', '0', 'a.b', 'a_b', 'a__b', 'a-b', 'a---b', 'a/b/c/d', 'blobs/uploads', 'v2/tags/list'])
      expectErrors(await admin.request('get', `/v2/${name}/manifests/v1`), 404, 'NAME_UNKNOWN');
  });

  test.each(['A', 'a..b', 'a___b', 'a.-b', '-a', 'a-', '_a', 'a//b', 'a/', 'a/-b', 'a%20b', 'a:b', 'x'.repeat(256)])(
    'a name outside of the grammar is 400: %s',
    async (name) => {
      expectErrors(await admin.request('get', `/v2/${name}/manifests/v1`), 400, 'NAME_INVALID');
    },
  );

  // https://github.com/opencontainers/distribution-spec/blob/main/spec.md#registry-proxying : "MAY choose to ignore".
  test('the ns parameter of a proxy changes nothing', async () => {
    const image = makeImage();
    await admin.pushImage('acme/ns', 'v1', image);
    for (const path of ['manifests/v1', `blobs/${image.config.digest}`]) {
      const answer = await admin.request('get', `/v2/acme/ns/${path}?ns=docker.io`);
      expect(answer.status).toBe(200);
      expect(answer.headers['oci-namespace']).toBeUndefined();
    }
  });

  test('what is not in the repository is 404, by tag, by digest, and where another repository has it', async () => {
    const image = makeImage();
    await admin.pushImage('acme/here', 'v1', image);
    await admin.pushImage('acme/there', 'v2', makeImage());
    for (const reference of ['v1', image.digest, nowhere])
      expectErrors(await admin.request('get', `/v2/acme/there/manifests/${reference}`), 404, 'MANIFEST_UNKNOWN');
  });

  test('an attempt to pull from a nonexistent repository is 404', async () => {
    for (const path of ['manifests/v1', `manifests/${nowhere}`, `blobs/${nowhere}`, 'tags/list'])
      expectErrors(await admin.request('get', `/v2/acme/absent/${path}`), 404, 'NAME_UNKNOWN');
  });
});

describe('Pulling blobs', () => {
  test.each([
    ['an empty one', 0],
    ['one that is kept in memory', 1000],
    ['one at the limit of what is kept in memory', 65536],
    ['one that is streamed from storage', 3 * 1024 * 1024 + 17],
  ])('a GET is 200 with the bytes and their digest: %s', async (_, size) => {
    const blob = randomContent(size);
    await admin.pushBlob('acme/blobs', blob);
    // Twice: the second answer may come from memory.
    for (let time = 0; time < 2; time += 1) {
      const answer = await getBytes(admin, `/v2/acme/blobs/blobs/${blob.digest}`);
      expect(answer.status).toBe(200);
      expect(blob.bytes.equals(answer.body)).toBe(true);
      expect(answer.headers).toMatchObject({
        'docker-content-digest': blob.digest,
        'content-type': 'application/octet-stream',
        'content-length': String(size),
        'accept-ranges': 'bytes',
      });
    }
  });

  test('a digest with an encoded colon is the same digest', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/blobs', blob);
    const answer = await admin.request('head', `/v2/acme/blobs/blobs/${blob.digest.replace(':', '%3A')}`);
    expect(answer.status).toBe(200);
  });

  test('what is not in the repository is 404, also where another repository has it', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/here', blob);
    await admin.pushBlob('acme/there', randomContent());
    for (const digest of [blob.digest, nowhere])
      expectErrors(await admin.request('get', `/v2/acme/there/blobs/${digest}`), 404, 'BLOB_UNKNOWN');
  });

  test.each(['latest', 'sha256:abc', `md5:${'0'.repeat(32)}`, `sha256:${'0'.repeat(65)}`])(
    'what is no digest is 400: %s',
    async (digest) => {
      expectErrors(await admin.request('get', `/v2/acme/blobs/blobs/${digest}`), 400, 'DIGEST_INVALID');
    },
  );
});

describe('Checking if content exists in the registry', () => {
  test('a HEAD of a manifest is 200 with its digest, size and type', async () => {
    const image = makeImage();
    await admin.pushImage('acme/head', 'v1', image);
    for (const reference of ['v1', image.digest]) {
      const answer = await admin.request('head', `/v2/acme/head/manifests/${reference}`);
      expect(answer.status).toBe(200);
      expect(answer.headers).toMatchObject({
        'docker-content-digest': image.digest,
        'content-length': String(image.bytes.length),
        'content-type': image.mediaType,
      });
    }
  });

  test.each([0, 1000, 100_000])('a HEAD of a blob of %d bytes is 200 with its digest and size', async (size) => {
    const blob = randomContent(size);
    await admin.pushBlob('acme/head', blob);
    const answer = await admin.request('head', `/v2/acme/head/blobs/${blob.digest}`);
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({ 'docker-content-digest': blob.digest, 'content-length': String(size) });
  });

  test('a HEAD of what is not there is 404', async () => {
    await admin.pushBlob('acme/head', randomContent());
    for (const path of ['manifests/none', `manifests/${nowhere}`, `blobs/${nowhere}`])
      expect((await admin.request('head', `/v2/acme/head/${path}`)).status, path).toBe(404);
    expect((await admin.request('head', `/v2/acme/absent/blobs/${nowhere}`)).status).toBe(404);
  });
});
