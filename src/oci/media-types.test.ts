import { expect, test } from 'vitest';
import {
  isBlobType,
  isImageManifestType,
  isIndexType,
  isNonDistributable,
  isSchema1Type,
  isValidMediaType,
  mediaTypes,
  parseContentType,
} from './media-types.ts';

test.each([
  ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.oci.image.manifest.v1+json'],
  ['Application/VND.oci.image.index.v1+JSON; charset=utf-8', 'application/vnd.oci.image.index.v1+json'],
  ['application/json;', 'application/json'],
  ['  text/plain ;a="b;c"', 'text/plain'],
  ['application', undefined],
  ['application/', undefined],
  ['', undefined],
  [';charset=utf-8', undefined],
  ['application/json, text/html', undefined],
  ['a/b/c', undefined],
])('the Content-Type %j is read as %j', (header, expected) => {
  expect(parseContentType(header)).toBe(expected);
});

test('a media type has the shape and the lengths of RFC 6838', () => {
  expect(isValidMediaType(`${'a'.repeat(127)}/${'b'.repeat(127)}`)).toBe(true);
  expect(isValidMediaType(`${'a'.repeat(128)}/b`)).toBe(false);
  expect(isValidMediaType(`a/${'b'.repeat(128)}`)).toBe(false);
  for (const text of ['a/b\n', 'a /b', '.a/b', 'a/+b', 'ä/b', 'a/b;c=d', 'a'])
    expect(isValidMediaType(text)).toBe(false);
  for (const type of Object.values(mediaTypes)) expect(isValidMediaType(type)).toBe(true);
});

test('every known type is in the groups where it belongs', () => {
  const members = (group: (type: string) => boolean) =>
    Object.entries(mediaTypes)
      .filter(([, type]) => group(type))
      .map(([name]) => name);
  expect(members(isIndexType)).toEqual(['ociIndex', 'dockerManifestList']);
  expect(members(isImageManifestType)).toEqual(['ociManifest', 'dockerManifest']);
  expect(members(isSchema1Type)).toEqual(['dockerSchema1', 'dockerSchema1Signed']);
  expect(members(isNonDistributable)).toEqual([
    'ociLayerNonDistributable',
    'ociLayerNonDistributableGzip',
    'ociLayerNonDistributableZstd',
    'dockerLayerForeign',
    'dockerLayerForeignGzip',
  ]);
  const manifests = (type: string) =>
    isIndexType(type) || isImageManifestType(type) || isSchema1Type(type) || type === mediaTypes.ociArtifactManifest;
  expect(members((type) => !isBlobType(type))).toEqual(members(manifests));
});
