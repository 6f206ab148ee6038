/** What is pushed: small images, and large blobs that cost the client nothing to make. */
import { createHash, randomBytes } from 'node:crypto';
import { content, descriptor, type Content } from '../test/support/images.ts';
import { mediaTypes } from '../src/oci/media-types.ts';

const MIB = 1024 * 1024;

export interface SmallImage {
  readonly config: Content;
  readonly layer: Content;
  readonly manifest: Content;
}

export const configBytes = 2 * 1024;
export const layerBytes = 8 * 1024;

/** An image that nobody has pushed before; further manifests over the same blobs differ by their annotation. */
export function smallImage(): SmallImage {
  const config = content(JSON.stringify({ architecture: 'amd64', os: 'linux', nonce: hexOf(configBytes - 55) }));
  const layer = content(randomBytes(layerBytes));
  return { config, layer, manifest: manifestOver(config, layer, 'the first') };
}

export function manifestOver(config: Content, layer: Content, title: string): Content {
  return content(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: descriptor(mediaTypes.ociConfig, config),
      layers: [descriptor(mediaTypes.ociLayerGzip, layer)],
      annotations: { 'org.opencontainers.image.title': title },
    }),
  );
}

function hexOf(characters: number): string {
  return randomBytes(Math.ceil(characters / 2))
    .toString('hex')
    .slice(0, characters);
}

/** A blob in pieces of 1 MiB: the first is its own, the others are one buffer again and again. */
export interface LargeBlob {
  readonly bytes: number;
  readonly digest: string;
  pieces(): Iterable<Buffer>;
}

const common = randomBytes(MIB);

export function largeBlob(mebibytes: number): LargeBlob {
  const first = randomBytes(MIB);
  const hash = createHash('sha256').update(first);
  for (let i = 1; i < mebibytes; i += 1) hash.update(common);
  return {
    bytes: mebibytes * MIB,
    digest: `sha256:${hash.digest('hex')}`,
    *pieces() {
      yield first;
      for (let i = 1; i < mebibytes; i += 1) yield common;
    },
  };
}
