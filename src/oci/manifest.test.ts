import fc from 'fast-check';
import { expect, test } from 'vitest';
import { digestOf } from './digest.ts';
import { RegistryError } from './errors.ts';
import { parseManifest } from './manifest.ts';
import { mediaTypes } from './media-types.ts';

const limits = { depthMax: 32 };
const artifactType = 'application/vnd.example.sbom.v1';

function descriptor(content: string, mediaType: string, more: object = {}) {
  return { mediaType, digest: digestOf(content) as string, size: Buffer.byteLength(content), ...more };
}
const config = descriptor('{"os":"linux"}', mediaTypes.ociConfig);
const layer = descriptor('layer', mediaTypes.ociLayerGzip);
const subject = descriptor('subject', mediaTypes.ociManifest);
const image = (more: object = {}) => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config,
  layers: [layer],
  ...more,
});
const index = (more: object = {}) => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [descriptor('amd64', mediaTypes.ociManifest, { platform: { os: 'linux', architecture: 'amd64' } })],
  ...more,
});
const without = (name: string, body: object) =>
  Object.fromEntries(Object.entries(body).filter(([key]) => key !== name));

function parse(body: object | string, contentType?: string, more: object = {}) {
  return parseManifest(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), contentType, {
    ...limits,
    ...more,
  });
}

function refusal(body: object | string, contentType?: string, more: object = {}): string {
  try {
    parse(body, contentType, more);
  } catch (error) {
    if (error instanceof RegistryError && error.kind === 'manifestInvalid') return error.message;
    throw error;
  }
  return 'accepted';
}

test('an image manifest gives its config and layers as references, in order', () => {
  const base = descriptor('base', mediaTypes.ociLayer);
  const parsed = parse(image({ layers: [base, layer, base] }), mediaTypes.ociManifest);
  expect(parsed).toMatchObject({
    mediaType: mediaTypes.ociManifest,
    kind: 'image',
    artifactType: mediaTypes.ociConfig,
    config,
    annotations: {},
    manifests: [],
    blobs: [],
  });
  expect(parsed.references).toEqual([
    { kind: 'config', position: 0, required: true, ...config },
    { kind: 'layer', position: 0, required: true, ...base },
    { kind: 'layer', position: 1, required: true, ...layer },
    { kind: 'layer', position: 2, required: true, ...base },
  ]);
});

test('an index gives its manifests with their platforms', () => {
  const parsed = parse(index({ artifactType }), mediaTypes.ociIndex);
  expect(parsed).toMatchObject({
    kind: 'index',
    artifactType,
    manifests: [{ platform: { os: 'linux', architecture: 'amd64' } }],
  });
  expect(parsed.references).toMatchObject([{ kind: 'manifest', position: 0, required: true }]);
  expect(parse(index()).artifactType).toBeUndefined();
  expect(parse(index({ manifests: [] })).references).toEqual([]);
});

test('an artifact manifest gives its blobs', () => {
  const parsed = parse({ mediaType: mediaTypes.ociArtifactManifest, artifactType, blobs: [layer], subject });
  expect(parsed).toMatchObject({
    kind: 'artifact',
    artifactType,
    subject,
    references: [{ kind: 'blob', digest: layer.digest, required: true }],
  });
  expect(parse({ mediaType: mediaTypes.ociArtifactManifest, artifactType }).references).toEqual([]);
});

test.each([
  [
    mediaTypes.dockerManifest,
    'image',
    {
      config: { ...config, mediaType: mediaTypes.dockerConfig },
      layers: [{ ...layer, mediaType: mediaTypes.dockerLayerGzip }],
    },
  ],
  [
    mediaTypes.dockerManifestList,
    'index',
    {
      manifests: [
        descriptor('m', mediaTypes.dockerManifest, {
          platform: { os: 'windows', architecture: 'amd64', 'os.version': '10.0', features: ['sse4'] },
        }),
      ],
    },
  ],
])('%s is understood like its OCI successor', (mediaType, kind, body) => {
  expect(parse({ schemaVersion: 2, mediaType, ...body }, mediaType)).toMatchObject({ mediaType, kind });
});

test('what the referrers API shows as artifactType follows the spec', () => {
  expect(parse(image({ artifactType, subject })).artifactType).toBe(artifactType);
  expect(parse(image({ artifactType: '' })).artifactType).toBe(mediaTypes.ociConfig);
  expect(parse(index({ artifactType: '', subject })).artifactType).toBeUndefined();
  expect(parse(index({ artifactType: '', subject })).subject).toEqual(subject);
  expect(refusal(image({ artifactType: 'sbom' }))).toBe(
    'artifactType must be a media type like application/vnd.example+json, not "sbom"',
  );
});

test('the subject is not among the references', () => {
  expect(parse(image({ subject })).references.map(({ digest }) => digest)).not.toContain(subject.digest);
});

test('what the conformance program sends is accepted: sha512, data fields, no layers, custom fields, large annotations', () => {
  const sha512 = { ...layer, digest: digestOf('layer', 'sha512') };
  expect(parse(image({ layers: [sha512] })).references[1]!.digest).toBe(sha512.digest);
  const empty = descriptor('{}', mediaTypes.ociEmpty, { data: 'e30=' });
  expect(parse(image({ config: empty, artifactType })).config).toEqual(descriptor('{}', mediaTypes.ociEmpty));
  expect(parse(image({ layers: [{ ...sha512, data: Buffer.from('layer').toString('base64') }] })).layers).toHaveLength(
    1,
  );
  expect(parse(image({ layers: [] })).layers).toEqual([]);
  expect(parse(image({ 'org.example': { any: [1, null] }, config: { ...config, 'org.example': 1 } })).kind).toBe(
    'image',
  );
  const annotations = Object.fromEntries(
    Array.from({ length: 390 }, (_, n) => [`large-annotation-${n}`, 'A'.repeat(10_000)]),
  );
  expect(parse(image({ annotations })).annotations).toEqual(annotations);
});

test('layers that may not be distributed need no blob, all others do', () => {
  const urls = ['https://store.example.com/layer'];
  const foreign = [
    mediaTypes.ociLayerNonDistributable,
    mediaTypes.ociLayerNonDistributableGzip,
    mediaTypes.dockerLayerForeignGzip,
  ];
  const parsed = parse(
    image({ layers: [...foreign.map((type) => descriptor(type, type, { urls })), { ...layer, urls }] }),
  );
  expect(parsed.references.map(({ required }) => required)).toEqual([true, false, false, false, true]);
  expect(parsed.layers[0]!.urls).toEqual(urls);
});

test('a BuildKit cache, an index of layers and a cache config, refers to blobs', () => {
  const manifests = [layer, descriptor('{}', mediaTypes.buildkitCacheConfig)];
  expect(parse(index({ manifests })).references.map(({ kind }) => kind)).toEqual(['blob', 'blob']);
});

test('the media type comes from header and body, which must agree', () => {
  expect(parse(without('mediaType', image()), `${mediaTypes.ociManifest}; charset=utf-8`).mediaType).toBe(
    mediaTypes.ociManifest,
  );
  for (const vague of [undefined, '', 'application/json', 'application/octet-stream']) {
    expect(parse(index(), vague).mediaType).toBe(mediaTypes.ociIndex);
    expect(parse(without('mediaType', index()), vague).mediaType).toBe(mediaTypes.ociIndex);
    expect(parse(without('mediaType', image()), vague).mediaType).toBe(mediaTypes.ociManifest);
    expect(refusal({ schemaVersion: 2 }, vague)).toContain('its fields do not tell');
    expect(refusal({ ...without('mediaType', image()), manifests: [] }, vague)).toContain('its fields do not tell');
  }
  expect(refusal(image(), mediaTypes.dockerManifest)).toBe(
    `the Content-Type header says "${mediaTypes.dockerManifest}", the manifest's mediaType says "${mediaTypes.ociManifest}"`,
  );
  expect(refusal(image(), 'nonsense')).toContain('the Content-Type header must be a media type');
  expect(refusal(image({ mediaType: 7 }))).toContain('mediaType must be a media type');
});

test.each([
  ['its signed type', { schemaVersion: 1 }, mediaTypes.dockerSchema1Signed],
  ['its unsigned type', {}, mediaTypes.dockerSchema1],
  ['its version', { schemaVersion: 1, fsLayers: [] }, undefined],
  ['its version under a vague header', { schemaVersion: 1, fsLayers: [] }, 'application/json'],
  ['its version under the type of another format', { ...image(), schemaVersion: 1 }, mediaTypes.ociManifest],
  ['its fields under an unknown type', { schemaVersion: 1, fsLayers: [] }, 'application/vnd.example'],
])('schema 1 is known by %s and refused with what to do', (_, body, contentType) => {
  expect(refusal(body, contentType)).toMatch(/^Docker schema 1 manifests are not supported.*push the image again/);
});

test.each([
  ['an image with manifests', image({ manifests: [] }), 'the field manifests does not belong in an image manifest'],
  ['an index with layers', index({ layers: [layer] }), 'the field layers does not belong in an index'],
  ['an index with a config', index({ config }), 'the field config does not belong in an index'],
  [
    'an artifact manifest with layers',
    { mediaType: mediaTypes.ociArtifactManifest, layers: [] },
    'the field layers does not belong in an artifact manifest',
  ],
  ['layers in another case', image({ Layers: [] }), 'holds "Layers", which some clients read as another field'],
  ['manifests in another case', image({ MANIFESTS: [] }), 'holds "MANIFESTS"'],
  ['layers with a long s', image({ 'layer\u017f': [] }), 'holds "layer\\u017f"'],
  ['a digest in another case', image({ config: { ...config, Digest: layer.digest } }), 'config holds "Digest"'],
])('a manifest that could be read in two ways is refused: %s (CVE-2021-41190)', (_, body, message) => {
  expect(refusal(body)).toContain(message);
});

test.each([
  ['config', image({ config: undefined }), 'config must be an object, not nothing'],
  ['config', image({ config: [] }), 'config must be an object, not an array'],
  ['layers', image({ layers: {} }), 'layers must be an array, not an object'],
  ['layers', image({ layers: undefined }), 'layers must be an array, not nothing'],
  ['manifests', index({ manifests: undefined }), 'manifests must be an array, not nothing'],
  ['an entry', image({ layers: [layer, null] }), 'layers[1] must be an object, not null'],
  [
    'a digest',
    image({ layers: [{ ...layer, digest: 'sha256:abc' }] }),
    'layers[0].digest: "sha256:abc" is not a digest: sha256 has 64',
  ],
  ['a digest', image({ layers: [{ ...layer, digest: undefined }] }), 'layers[0].digest must be a digest'],
  ['a size', image({ layers: [{ ...layer, size: -1 }] }), 'layers[0].size must be a whole number of bytes, not -1'],
  ['a size', image({ layers: [{ ...layer, size: 1.5 }] }), 'layers[0].size must be a whole number of bytes, not 1.5'],
  ['a size', image({ layers: [{ ...layer, size: 2 ** 53 }] }), 'layers[0].size must be a whole number of bytes'],
  ['a size', image({ layers: [{ ...layer, size: '5' }] }), 'layers[0].size must be a whole number of bytes, not "5"'],
  ['a media type', image({ config: { ...config, mediaType: 'json' } }), 'config.mediaType must be a media type'],
  ['urls', image({ layers: [{ ...layer, urls: [1] }] }), 'layers[0].urls[0] must be a string, not 1'],
  ['data', image({ layers: [{ ...layer, data: 'bGF5ZX' }] }), 'layers[0].data must be base64 with padding'],
  [
    'data',
    image({ layers: [{ ...layer, data: 'bGF5' }] }),
    'layers[0].data must be the 5 bytes that size announces, not 3',
  ],
  ['data', image({ layers: [{ ...layer, data: btoa('lager') }] }), 'layers[0].data must be content with the digest'],
  [
    'the subject',
    image({ subject: { ...subject, digest: 'md5:00' } }),
    'subject.digest: "md5:00" is not a digest: algorithm "md5" is not supported',
  ],
  [
    'a platform',
    index({ manifests: [{ ...subject, platform: { os: 1 } }] }),
    'manifests[0].platform.os must be a string, not 1',
  ],
  ['schemaVersion', image({ schemaVersion: undefined }), 'schemaVersion must be 2, not nothing'],
  ['schemaVersion', index({ schemaVersion: '2' }), 'schemaVersion must be 2, not "2"'],
  ['annotations', image({ annotations: { a: 1 } }), 'annotations["a"] must be a string, not 1'],
  ['annotations', image({ annotations: ['a'] }), 'annotations must be an object, not an array'],
  ['annotations', image({ annotations: { a: 'b\0' } }), 'annotations["a"] must be text without NUL'],
  [
    'annotations',
    image({ annotations: { a: '\ud800' } }),
    'annotations["a"] must be text without NUL or half surrogate pairs',
  ],
])('a wrong field is named with its value: %s', (_, body, message) => {
  expect(refusal(body)).toContain(message);
});

test('what is no JSON object is refused', () => {
  expect(refusal('')).toBe('the manifest is not valid JSON: Unexpected end of JSON input at position 0');
  expect(refusal('[]')).toBe('the manifest must be an object, not an array');
  expect(refusal('null', 'application/vnd.example')).toBe('the manifest must be an object, not null');
  expect(refusal('{"a":1,"a":2}')).toContain('the key "a" is there twice');
  expect(refusal(`{"a":${'['.repeat(40)}${']'.repeat(40)}}`)).toContain('more than 32 nested objects and arrays');
});

test('fields that are null or missing are one to clients written in Go, and so they are here', () => {
  const parsed = parse(
    image({
      layers: null,
      subject: null,
      annotations: null,
      artifactType: null,
      config: { ...config, urls: null, data: null, annotations: null },
    }),
  );
  expect(parsed).toMatchObject({ layers: [], annotations: {}, artifactType: mediaTypes.ociConfig, config });
  expect(parsed.subject).toBeUndefined();
});

test('a manifest may name as many contents as the limit says', () => {
  const layers = Array.from({ length: 9 }, () => layer);
  expect(refusal(image({ layers }), undefined, { referencesMax: 10 })).toBe('accepted');
  expect(refusal(image({ layers: [...layers, layer] }), undefined, { referencesMax: 10 })).toBe(
    'the manifest names 11 contents, this registry takes 10',
  );
  expect(refusal({ blobs: [...layers, layer, layer] }, 'application/vnd.example', { referencesMax: 10 })).toContain(
    'this registry takes 10',
  );
});

test('an unknown format is accepted whatever it holds, and what looks like a descriptor is kept but not required', () => {
  const body = {
    schemaVersion: 1,
    layers: [layer, 'no descriptor', { digest: 'x' }],
    manifests: 'none',
    subject,
    annotations: { a: 'b', c: 1 },
    Layers: [],
    config: 3,
  };
  const parsed = parse(body, 'application/vnd.example.future+json');
  expect(parsed).toMatchObject({
    mediaType: 'application/vnd.example.future+json',
    kind: 'other',
    subject,
    annotations: { a: 'b' },
  });
  expect(parsed.references).toEqual([{ kind: 'layer', position: 0, required: false, ...layer }]);
  expect(parsed.artifactType).toBeUndefined();
  expect(parse({ mediaType: 'application/vnd.example', config }).artifactType).toBe(config.mediaType);
  expect(parse('{}', 'application/vnd.example').references).toEqual([]);
});

test('no manifest can be served as a page to a browser', () => {
  expect(refusal('{"a":"<script>"}', 'text/html')).toContain('must be one that begins with application/');
  expect(refusal({ mediaType: 'image/svg+xml' })).toContain('must be one that begins with application/');
});

test('whatever JSON is sent, it is accepted or refused as an invalid manifest, and nothing else happens', () => {
  const wild = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>(
      config,
      layer,
      [layer],
      [],
      2,
      mediaTypes.ociManifest,
      mediaTypes.ociIndex,
      mediaTypes.ociLayer,
    ),
  );
  const names = [
    'schemaVersion',
    'mediaType',
    'config',
    'layers',
    'manifests',
    'blobs',
    'subject',
    'annotations',
    'artifactType',
    '__proto__',
  ];
  const change = fc.tuple(
    fc.constantFrom(image(), index(), {}),
    fc.array(fc.tuple(fc.constantFrom(...names), wild), { maxLength: 3 }),
  );
  const contentType = fc.constantFrom(
    undefined,
    mediaTypes.ociManifest,
    mediaTypes.ociIndex,
    mediaTypes.ociArtifactManifest,
    'application/vnd.example',
  );
  fc.assert(
    fc.property(change, contentType, ([body, changes], type) => {
      const text = JSON.stringify(Object.fromEntries([...Object.entries(body), ...changes]));
      expect(refusal(text, type)).toMatch(/^[\x20-\x7e]+$/);
    }),
    { numRuns: 2000 },
  );
});
