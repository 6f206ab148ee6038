/**
 * The media types that this registry understands. Any other is stored and served as it came.
 * https://github.com/opencontainers/image-spec/blob/main/media-types.md
 * https://github.com/distribution/distribution/blob/main/docs/content/spec/manifest-v2-2.md
 */
export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  ociLayerNonDistributable: 'application/vnd.oci.image.layer.nondistributable.v1.tar',
  ociLayerNonDistributableGzip: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  ociLayerNonDistributableZstd: 'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  /** Of image-spec 1.1-rc2, withdrawn before 1.1, still in registries. */
  ociArtifactManifest: 'application/vnd.oci.artifact.manifest.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerPluginConfig: 'application/vnd.docker.plugin.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerLayerForeign: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
  dockerLayerForeignGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  buildkitCacheConfig: 'application/vnd.buildkit.cacheconfig.v0',
} as const;

const charsMax = 255;
/** RFC 6838 §4.2: `restricted-name "/" restricted-name`, each of at most 127 characters. */
const shape = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;
const nonDistributable =
  /^application\/vnd\.(?:oci\.image\.layer\.nondistributable|docker\.image\.rootfs\.foreign\.diff)\./;
const layer = /^application\/vnd\.(?:oci\.image\.layer|docker\.image\.rootfs)\./;
const configs: ReadonlySet<string> = new Set([
  mediaTypes.ociConfig,
  mediaTypes.ociEmpty,
  mediaTypes.dockerConfig,
  mediaTypes.dockerPluginConfig,
  mediaTypes.buildkitCacheConfig,
]);

/** True for layers that a registry need not hold: clients fetch them from the descriptor's `urls`. */
export function isNonDistributable(mediaType: string): boolean {
  return nonDistributable.test(mediaType);
}

export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerManifestList;
}

export function isImageManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
}

export function isSchema1Type(mediaType: string): boolean {
  return mediaType === mediaTypes.dockerSchema1 || mediaType === mediaTypes.dockerSchema1Signed;
}

/** True for what can only be a blob, wherever it is named. */
export function isBlobType(mediaType: string): boolean {
  return layer.test(mediaType) || configs.has(mediaType);
}

/** Whether the text is a media type without parameters, known or not. */
export function isValidMediaType(text: string): boolean {
  return text.length <= charsMax && shape.test(text);
}

/**
 * The media type of a `Content-Type` header: lower case (RFC 9110 §8.3.1 compares types so), without parameters, which
 * the distribution spec tells registries to ignore. Undefined if the header holds none.
 */
export function parseContentType(header: string): string | undefined {
  const end = header.indexOf(';');
  const mediaType = (end < 0 ? header : header.slice(0, end)).trim().toLowerCase();
  return isValidMediaType(mediaType) ? mediaType : undefined;
}
