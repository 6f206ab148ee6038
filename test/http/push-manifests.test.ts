/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-types.ts';
import { expectErrors, pathOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { content, descriptor, makeImage, makeIndex, randomContent, type Content } from '../support/images.ts';
import { sendStream } from '../support/uploads.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/manifests';

type Manifest = Content & { readonly mediaType: string };

function put(manifest: Content, reference: string, contentType?: string) {
  const request = admin.request('put', `/v2/${name}/manifests/${reference}`);
  // A Buffer goes without any type.
  if (contentType === undefined) return request.send(manifest.bytes);
  return request.set('Content-Type', contentType).send(manifest.bytes.toString());
}

function manifestOf(value: unknown, mediaType: string): Manifest {
  return { ...content(typeof value === 'string' ? value : JSON.stringify(value)), mediaType };
}

async function expectServed(manifest: Manifest, reference: string): Promise<void> {
  const answer = await admin.request('get', `/v2/${name}/manifests/${reference}`).buffer(true);
  expect(answer.status).toBe(200);
  expect(answer.text).toBe(manifest.bytes.toString());
  expect(answer.headers['content-type']).toBe(manifest.mediaType);
}

async function expectAbsent(reference: string): Promise<void> {
  expect((await admin.request('head', `/v2/${name}/manifests/${reference}`)).status).toBe(404);
}

/** Blobs that are there, and what manifests are made of. */
async function pushedParts(): Promise<{ config: Content; layer: Content }> {
  const [config, layer] = [content(JSON.stringify({ nonce: Math.random() })), randomContent()];
  for (const blob of [config, layer]) await admin.pushBlob(name, blob);
  return { config, layer };
}

const formats: Record<string, () => Promise<Manifest>> = {
  async 'an OCI image manifest'() {
    const { config, layer } = await pushedParts();
    return makeImageOf(mediaTypes.ociManifest, mediaTypes.ociConfig, mediaTypes.ociLayerGzip, config, layer);
  },
  async 'a Docker schema 2 manifest'() {
    const { config, layer } = await pushedParts();
    return makeImageOf(mediaTypes.dockerManifest, mediaTypes.dockerConfig, mediaTypes.dockerLayerGzip, config, layer);
  },
  async 'an OCI index'() {
    const image = await formats['an OCI image manifest']!();
    await admin.pushManifest(name, image.digest, image);
    return makeIndex([image]);
  },
  async 'a Docker manifest list'() {
    const image = await formats['a Docker schema 2 manifest']!();
    await admin.pushManifest(name, image.digest, image);
    const platform = { architecture: 'amd64', os: 'linux' };
    const manifests = [{ ...descriptor(image.mediaType, image), platform }];
    return manifestOf(
      { schemaVersion: 2, mediaType: mediaTypes.dockerManifestList, manifests },
      mediaTypes.dockerManifestList,
    );
  },
  async 'an index of an index'() {
    const inner = await formats['an OCI index']!();
    await admin.pushManifest(name, inner.digest, inner);
    return makeIndex([inner], { annotations: { nonce: String(Math.random()) } });
  },
  async 'an artifact manifest'() {
    const { layer } = await pushedParts();
    const mediaType = mediaTypes.ociArtifactManifest;
    const blobs = [descriptor('application/octet-stream', layer)];
    return manifestOf({ mediaType, artifactType: 'application/vnd.example.thing', blobs }, mediaType);
  },
  async 'a manifest of a media type that nobody knows'() {
    const mediaType = 'application/vnd.example.new-thing.v7+json';
    return manifestOf({ mediaType, things: [{ any: 'shape' }], nonce: Math.random() }, mediaType);
  },
  async 'an image manifest without layers'() {
    const { config } = await pushedParts();
    const mediaType = mediaTypes.ociManifest;
    return manifestOf(
      { schemaVersion: 2, mediaType, config: descriptor(mediaTypes.ociConfig, config), layers: [] },
      mediaType,
    );
  },
  async 'an index without manifests'() {
    return makeIndex([], { annotations: { nonce: String(Math.random()) } });
  },
  async 'a manifest with spaces, an odd order, unknown fields and a last line break'() {
    const { config } = await pushedParts();
    const mediaType = mediaTypes.ociManifest;
    const text = `{\n\t"layers" : [ ],  "later": {"x": 1.50},\n "config":${JSON.stringify(descriptor(mediaTypes.ociConfig, config))}, "mediaType":"${mediaType}","schemaVersion" :2 }\n`;
    return manifestOf(text, mediaType);
  },
  async 'an image with a layer that is fetched from elsewhere'() {
    const { config } = await pushedParts();
    const mediaType = mediaTypes.dockerManifest;
    const foreign = {
      ...descriptor(mediaTypes.dockerLayerForeignGzip, randomContent()),
      urls: ['https://example.com/layer'],
    };
    return manifestOf(
      { schemaVersion: 2, mediaType, config: descriptor(mediaTypes.dockerConfig, config), layers: [foreign] },
      mediaType,
    );
  },
};

function makeImageOf(mediaType: string, configType: string, layerType: string, config: Content, layer: Content) {
  const value = {
    schemaVersion: 2,
    mediaType,
    config: descriptor(configType, config),
    layers: [descriptor(layerType, layer)],
  };
  return manifestOf(value, mediaType);
}

describe('Pushing Manifests', () => {
  test.each(Object.keys(formats))('201, and pulled again byte for byte: %s', async (format) => {
    const manifest = await formats[format]!();
    const byTag = await put(manifest, 'by-tag', manifest.mediaType);
    expect(byTag.status, byTag.text).toBe(201);
    expect(byTag.headers['docker-content-digest']).toBe(manifest.digest);
    await expectServed(manifest, pathOf(byTag.headers['location']).split('/').at(-1)!);
    await expectServed(manifest, 'by-tag');
    await expectServed(manifest, manifest.digest);
  });

  test.each(['sha256', 'sha512'] as const)('by its %s digest: the answer has the same digest', async (algorithm) => {
    const manifest = await formats['an OCI image manifest']!();
    const digest = digestOf(manifest.bytes, algorithm);
    const answer = await put(manifest, digest, manifest.mediaType);
    expect(answer.status).toBe(201);
    expect(answer.headers['docker-content-digest']).toBe(digest);
    expect(pathOf(answer.headers['location'])).toBe(`/v2/${name}/manifests/${digest}`);
    expect(answer.headers['oci-tag']).toBeUndefined();
    const pulled = await admin.request('get', `/v2/${name}/manifests/${digest}`).buffer(true);
    expect(pulled.text).toBe(manifest.bytes.toString());
    expect(pulled.headers['docker-content-digest']).toBe(digest);
  });

  test('a digest that the bytes do not have is 400, and nothing is stored', async () => {
    const manifest = await formats['an OCI image manifest']!();
    for (const wrong of [digestOf('other'), digestOf('other', 'sha512')]) {
      expectErrors(await put(manifest, wrong, manifest.mediaType), 400, 'DIGEST_INVALID');
      await expectAbsent(wrong);
    }
    await expectAbsent(manifest.digest);
  });

  test.each([
    ['no Content-Type', undefined],
    ['a Content-Type that says nothing', 'application/json'],
    ['the Content-Type of a form, as curl sends it', 'application/x-www-form-urlencoded'],
    ['a Content-Type with parameters', `${mediaTypes.ociManifest}; charset=utf-8`],
    ['a Content-Type in other letters', mediaTypes.ociManifest.toUpperCase()],
  ])('the mediaType of the manifest decides: %s', async (_, contentType) => {
    const manifest = await formats['an OCI image manifest']!();
    expect((await put(manifest, 'typed', contentType)).status).toBe(201);
    await expectServed(manifest, 'typed');
  });

  test('without a mediaType the Content-Type decides', async () => {
    const { config } = await pushedParts();
    const value = { schemaVersion: 2, config: descriptor(mediaTypes.ociConfig, config), layers: [] };
    const manifest = manifestOf(value, mediaTypes.ociManifest);
    expect((await put(manifest, 'untyped', manifest.mediaType)).status).toBe(201);
    await expectServed(manifest, 'untyped');
  });

  test('a mediaType and a Content-Type that differ are 400', async () => {
    const manifest = await formats['an OCI image manifest']!();
    expectErrors(await put(manifest, 'lie', mediaTypes.ociIndex), 400, 'MANIFEST_INVALID');
    await expectAbsent('lie');
  });

  test('a manifest that is pushed again stays what it was, and may get another tag', async () => {
    const manifest = await formats['an OCI image manifest']!();
    for (const tag of ['again', 'again', 'again-2'])
      expect((await put(manifest, tag, manifest.mediaType)).status).toBe(201);
    for (const tag of ['again', 'again-2']) await expectServed(manifest, tag);
  });

  test('a tag moves to the manifest that was pushed last, and the earlier one stays under its digest', async () => {
    const [first, second] = [await formats['an OCI image manifest']!(), await formats['an OCI index']!()];
    await put(first, 'moves', first.mediaType);
    await put(second, 'moves', second.mediaType);
    await expectServed(second, 'moves');
    await expectServed(first, first.digest);
  });

  test.each(['signed', 'unsigned', 'told only by its body'])(
    'Docker schema 1 is 400 with the reason: %s',
    async (kind) => {
      const body = { schemaVersion: 1, name, tag: 'old', architecture: 'amd64', fsLayers: [], history: [] };
      const types = { signed: mediaTypes.dockerSchema1Signed, unsigned: mediaTypes.dockerSchema1 };
      const answer = await put(
        content(JSON.stringify(body)),
        'old',
        types[kind as keyof typeof types] ?? 'application/json',
      );
      const [error] = expectErrors(answer, 400, 'MANIFEST_INVALID');
      expect(error!.message).toContain('schema 1');
      await expectAbsent('old');
    },
  );

  test.each([
    ['nothing', ''],
    ['no JSON', '{"schemaVersion": 2,'],
    ['a list', '[]'],
    ['a text', '"manifest"'],
    ['null', 'null'],
  ])('what is no manifest is 400: %s', async (_, text) => {
    expectErrors(await put(content(text), 'broken', mediaTypes.ociManifest), 400, 'MANIFEST_INVALID');
    await expectAbsent('broken');
  });

  test('everything that is missing is named at once', async () => {
    const { layer } = await pushedParts();
    const image = makeImage({ layers: [randomContent(), layer, randomContent()] });
    const errors = expectErrors(await put(image, 'missing', image.mediaType), 404, 'MANIFEST_BLOB_UNKNOWN');
    const missing = errors.map(({ detail }) => (detail as { digest: string }).digest);
    expect(missing.toSorted()).toEqual(
      [image.config, image.layers[0]!, image.layers[2]!].map(({ digest }) => digest).toSorted(),
    );
    await expectAbsent('missing');
    await expectAbsent(image.digest);
  });

  test('a blob or manifest of another repository is missing in this one', async () => {
    const image = makeImage();
    await admin.pushImage('acme/other', 'v1', image);
    expectErrors(await put(image, 'elsewhere', image.mediaType), 404, 'MANIFEST_BLOB_UNKNOWN');
    const index = makeIndex([image]);
    expectErrors(await put(index, 'elsewhere', index.mediaType), 404, 'MANIFEST_BLOB_UNKNOWN');
  });

  test('the address of a manifest does not make a repository when the push is refused', async () => {
    const image = makeImage();
    const answer = await admin
      .request('put', '/v2/acme/never-made/manifests/v1')
      .set('Content-Type', image.mediaType)
      .send(image.bytes.toString());
    expectErrors(answer, 404, 'MANIFEST_BLOB_UNKNOWN');
    expectErrors(await admin.request('get', '/v2/acme/never-made/tags/list'), 404, 'NAME_UNKNOWN');
  });
});

describe('Pushing Manifests, several tags at once', () => {
  test('tags in the query of a push by digest are accepted, and OCI-Tag names each', async () => {
    const manifest = await formats['an OCI image manifest']!();
    const tags = Array.from({ length: 12 }, (_, i) => `many-${i}`);
    const query = new URLSearchParams(tags.map((tag) => ['tag', tag])).toString();
    const answer = await put(manifest, `${manifest.digest}?${query}`, manifest.mediaType);
    expect(answer.status).toBe(201);
    expect(tagsOf(answer.headers['oci-tag'])).toEqual(tags.toSorted());
    for (const tag of tags) await expectServed(manifest, tag);
  });

  test('a tag that is given twice is one tag', async () => {
    const manifest = await formats['an OCI image manifest']!();
    const answer = await put(manifest, `${manifest.digest}?tag=twice&tag=twice`, manifest.mediaType);
    expect(answer.status).toBe(201);
    expect(tagsOf(answer.headers['oci-tag'])).toEqual(['twice']);
  });

  test('tags that exist are moved', async () => {
    const [first, second] = [await formats['an OCI image manifest']!(), await formats['an OCI image manifest']!()];
    await put(first, `${first.digest}?tag=move-a&tag=move-b`, first.mediaType);
    await put(second, `${second.digest}?tag=move-b&tag=move-c`, second.mediaType);
    await expectServed(first, 'move-a');
    for (const tag of ['move-b', 'move-c']) await expectServed(second, tag);
  });

  test('one tag that is none refuses the whole push', async () => {
    const manifest = await formats['an OCI image manifest']!();
    const answer = await put(manifest, `${manifest.digest}?tag=good-one&tag=-bad`, manifest.mediaType);
    expectErrors(answer, 400, 'MANIFEST_INVALID');
    await expectAbsent('good-one');
    await expectAbsent(manifest.digest);
  });

  test('more tags than the limit are refused, and beside a tag in the path there can be none', async () => {
    const manifest = await formats['an OCI image manifest']!();
    const query = Array.from({ length: 101 }, (_, i) => `tag=t${i}`).join('&');
    expectErrors(await put(manifest, `${manifest.digest}?${query}`, manifest.mediaType), 400, 'UNSUPPORTED');
    expectErrors(await put(manifest, 'one?tag=two', manifest.mediaType), 400, 'UNSUPPORTED');
    for (const reference of ['one', 'two', 't0', manifest.digest]) await expectAbsent(reference);
  });

  function tagsOf(header: string | undefined): string[] {
    return (header ?? '')
      .split(',')
      .map((tag) => tag.trim())
      .toSorted();
  }
});

describe('Pushing Manifests, how large', () => {
  const limit = 4 * 1024 * 1024;

  /** A manifest of exactly this many bytes. */
  async function sized(bytes: number): Promise<Manifest> {
    const { config } = await pushedParts();
    const mediaType = mediaTypes.ociManifest;
    const value = { schemaVersion: 2, mediaType, config: descriptor(mediaTypes.ociConfig, config), layers: [] };
    const annotations = { padding: '' };
    const short = JSON.stringify({ ...value, annotations }).length;
    return manifestOf({ ...value, annotations: { padding: 'x'.repeat(bytes - short) } }, mediaType);
  }

  test('4 MiB are accepted', async () => {
    const manifest = await sized(limit);
    expect(manifest.bytes.length).toBe(limit);
    expect((await put(manifest, 'large', manifest.mediaType)).status).toBe(201);
    await expectServed(manifest, 'large');
  });

  test('a byte more is 413, whether its length is announced or not', async () => {
    const manifest = await sized(limit + 1);
    expectErrors(await put(manifest, 'larger', manifest.mediaType), 413, 'SIZE_INVALID');
    const path = `/v2/${name}/manifests/larger`;
    const pieces = [0, 1, 2, 3, 4].map((at) => manifest.bytes.subarray((at * limit) / 4, ((at + 1) * limit) / 4));
    const streamed = await sendStream(berth.url, berth.admin, 'PUT', path, pieces, manifest.mediaType);
    expect(streamed.status).toBe(413);
    expect(await streamed.json()).toMatchObject({ errors: [{ code: 'SIZE_INVALID', detail: { limitBytes: limit } }] });
    await expectAbsent('larger');
  });
});

describe('Pushing Manifests with Subject', () => {
  const absent = { mediaType: mediaTypes.ociManifest, size: 100, digest: digestOf('a manifest that comes later') };

  test.each([
    ['an image manifest', async () => imageWith(absent)],
    ['an index', async () => makeIndex([], { subject: absent })],
    [
      'an artifact manifest',
      async () =>
        manifestOf({ mediaType: mediaTypes.ociArtifactManifest, subject: absent }, mediaTypes.ociArtifactManifest),
    ],
  ])('%s is accepted before its subject is there, and OCI-Subject says that it was seen', async (_, make) => {
    const manifest = await make();
    for (const reference of [manifest.digest, 'with-subject']) {
      const answer = await put(manifest, reference, manifest.mediaType);
      expect(answer.status, answer.text).toBe(201);
      expect(answer.headers['oci-subject']).toBe(absent.digest);
    }
  });

  test('without a subject there is no OCI-Subject', async () => {
    const manifest = await formats['an OCI image manifest']!();
    const answer = await put(manifest, 'no-subject', manifest.mediaType);
    expect(answer.headers['oci-subject']).toBeUndefined();
  });

  test('a subject that is no descriptor is 400', async () => {
    const manifest = await imageWith({ ...absent, digest: 'sha256:short' });
    expectErrors(await put(manifest, 'bad-subject', manifest.mediaType), 400, 'MANIFEST_INVALID');
  });

  async function imageWith(subject: unknown): Promise<Manifest> {
    const image = makeImage({ fields: { subject } });
    for (const blob of [image.config, ...image.layers]) await admin.pushBlob(name, blob);
    return image;
  }
});

describe('Pushing Manifests, sparse ones by setting', () => {
  test('with BERTH_SPARSE_MANIFESTS=accept, manifests may name what is not there', async () => {
    const sparse = await startTestBerth({ BERTH_SPARSE_MANIFESTS: 'accept' });
    try {
      const client = clientOf(sparse.url, sparse.admin);
      const image = makeImage();
      const index = makeIndex([makeImage(), image]);
      for (const manifest of [index, image]) {
        await client.pushManifest('acme/sparse', manifest.digest, manifest);
        expect((await client.request('head', `/v2/acme/sparse/manifests/${manifest.digest}`)).status).toBe(200);
      }
      expectErrors(await client.request('get', `/v2/acme/sparse/blobs/${image.config.digest}`), 404, 'BLOB_UNKNOWN');
    } finally {
      await sparse.stop();
    }
  });
});
