import { RegistryError } from './errors.ts';
import { type Fields, invalidField, isAbsent } from './fields.ts';
import { mediaTypeAt } from './descriptor.ts';
import { isImageManifestType, isIndexType, isSchema1Type, mediaTypes, parseContentType } from './media-types.ts';
import { quote } from './quote.ts';

/** Which rules a manifest follows; `other` is a format that this registry does not know. */
export type ManifestKind = 'image' | 'index' | 'artifact' | 'other';

export interface ManifestFormat {
  /** As the manifest itself writes it, otherwise as the client announced it: what `Content-Type` says at a pull. */
  readonly mediaType: string;
  readonly kind: ManifestKind;
}

/** What HTTP tools send when nobody told them a type: it says nothing about the manifest. */
const saysNothing: ReadonlySet<string> = new Set([
  'application/json',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
]);

/**
 * The one format in which every client will read the manifest. A body that could be read as another format is refused:
 * https://github.com/opencontainers/distribution-spec/security/advisories/GHSA-mc8v-mgrf-8f4m (CVE-2021-41190).
 * @throws RegistryError manifestInvalid
 */
export function formatOf(body: Fields, contentType: string | undefined): ManifestFormat {
  const announced = announcedType(contentType);
  const written =
    isAbsent(body['mediaType']) || body['mediaType'] === '' ? undefined : mediaTypeAt(body['mediaType'], 'mediaType');
  if (announced !== undefined && written !== undefined && announced !== written.toLowerCase()) {
    throw new RegistryError('manifestInvalid', {
      message: `the Content-Type header says ${quote(announced)}, the manifest's mediaType says ${quote(written)}`,
      detail: { field: 'mediaType' },
    });
  }
  const stated = written ?? announced;
  refuseSchema1(body, stated);
  const mediaType = stated ?? typeByShape(body);
  const kind = kindOf(mediaType.toLowerCase());
  refuseActive(mediaType);
  if (kind !== 'other') refuseAmbiguous(body, kind);
  if ((kind === 'image' || kind === 'index') && body['schemaVersion'] !== 2)
    throw invalidField('schemaVersion', '2', body['schemaVersion']);
  return { mediaType, kind };
}

function announcedType(contentType: string | undefined): string | undefined {
  if (contentType === undefined || contentType.trim() === '') return undefined;
  const announced = parseContentType(contentType);
  if (announced === undefined) throw invalidField('the Content-Type header', 'a media type', contentType);
  return saysNothing.has(announced) ? undefined : announced;
}

function kindOf(mediaType: string): ManifestKind {
  if (isImageManifestType(mediaType)) return 'image';
  if (isIndexType(mediaType)) return 'index';
  return mediaType === mediaTypes.ociArtifactManifest ? 'artifact' : 'other';
}

/** As docker and distribution do it; both read what has no type as OCI, because Docker's own types must be stated. */
function typeByShape(body: Fields): string {
  const isIndex = Array.isArray(body['manifests']);
  const isImage = !isAbsent(body['config']) && Array.isArray(body['layers']);
  if (isIndex !== isImage) return isIndex ? mediaTypes.ociIndex : mediaTypes.ociManifest;
  throw new RegistryError('manifestInvalid', {
    message:
      'neither a Content-Type header nor a mediaType field says what kind of manifest this is, and its fields do not tell',
    detail: { field: 'mediaType' },
  });
}

/** An unknown format may count its own versions, so there a 1 alone is no sign of schema 1. */
function refuseSchema1(body: Fields, stated: string | undefined): void {
  const type = stated?.toLowerCase();
  const isOther = type !== undefined && kindOf(type) === 'other';
  const hasSchema1Body = body['schemaVersion'] === 1 && (!isOther || 'fsLayers' in body);
  if (!hasSchema1Body && !(type !== undefined && isSchema1Type(type))) return;
  throw new RegistryError('manifestInvalid', {
    message:
      'Docker schema 1 manifests are not supported, they were retired in 2019; push the image again with Docker 1.10 or newer, or convert it with "skopeo copy --format oci"',
    detail: { field: 'schemaVersion' },
  });
}

/** Manifests are served under the type that they were pushed with: as text/html, one could run scripts on the registry's own pages. */
function refuseActive(mediaType: string): void {
  if (!mediaType.toLowerCase().startsWith('application/'))
    throw invalidField("the manifest's media type", 'one that begins with application/', mediaType);
}

const foreignFields = {
  image: ['manifests'],
  index: ['config', 'layers'],
  artifact: ['manifests', 'config', 'layers'],
} as const;

function refuseAmbiguous(body: Fields, kind: Exclude<ManifestKind, 'other'>): void {
  const foreign = foreignFields[kind].find((name) => name in body);
  if (foreign === undefined) return;
  throw new RegistryError('manifestInvalid', {
    message: `the field ${foreign} does not belong in an ${kind === 'index' ? 'index' : `${kind} manifest`}; clients could read it as something else`,
    detail: { field: foreign },
  });
}
