/** Content to push: made here, since nothing can be pulled from outside. */
import { randomBytes } from 'node:crypto';
import { digestOf, type Digest } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-types.ts';

export interface Content {
  readonly bytes: Buffer;
  readonly digest: Digest;
}

export interface TestImage extends Content {
  readonly mediaType: string;
  readonly config: Content;
  readonly layers: readonly Content[];
}

export function content(bytes: Buffer | string): Content {
  const buffer = Buffer.from(bytes as string);
  return { bytes: buffer, digest: digestOf(buffer) };
}

/** Bytes that nobody has pushed before. */
export function randomContent(size = 1024): Content {
  return content(randomBytes(size));
}

export function descriptor(
  mediaType: string,
  { bytes, digest }: Content,
): { mediaType: string; size: number; digest: Digest } {
  return { mediaType, size: bytes.length, digest };
}

export interface ImageOptions {
  readonly layers?: readonly Content[];
  /** Further fields of the manifest: `subject`, `annotations`, `artifactType`. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** An OCI image with random content. */
export function makeImage({ layers = [randomContent()], fields = {} }: ImageOptions = {}): TestImage {
  const config = content(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
      nonce: randomBytes(8).toString('hex'),
    }),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: descriptor(mediaTypes.ociConfig, config),
    layers: layers.map((layer) => descriptor(mediaTypes.ociLayerGzip, layer)),
    ...fields,
  };
  return { ...content(JSON.stringify(manifest)), mediaType: mediaTypes.ociManifest, config, layers };
}

/** An OCI index over manifests. */
export function makeIndex(
  manifests: readonly (Content & { readonly mediaType: string })[],
  fields: Readonly<Record<string, unknown>> = {},
): Content & { readonly mediaType: string } {
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: manifests.map((manifest) => descriptor(manifest.mediaType, manifest)),
    ...fields,
  };
  return { ...content(JSON.stringify(index)), mediaType: mediaTypes.ociIndex };
}
