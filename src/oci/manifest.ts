import {
  type Descriptor,
  type IndexEntry,
  artifactTypeAt,
  descriptorAt,
  descriptorIfAny,
  indexEntryAt,
} from './descriptor.ts';
import type { Digest } from './digest.ts';
import { RegistryError } from './errors.ts';
import {
  type Fields,
  annotationsAt,
  arrayAt,
  foldCase,
  isAbsent,
  isFields,
  isKeepable,
  objectAt,
  refuseLookalikes,
} from './fields.ts';
import { JsonError, type JsonLimits, parseStrictJson } from './json.ts';
import { type ManifestFormat, type ManifestKind, formatOf } from './manifest-format.ts';
import { isBlobType, isNonDistributable, isValidMediaType } from './media-types.ts';

export interface ManifestLimits extends JsonLimits {
  /** Config, layers, blobs and manifests that one manifest may name together; 10,000 if not given. */
  readonly referencesMax?: number;
}

/** One content that a manifest names; `position` counts within the list that names it, from 0. */
export interface ManifestReference {
  readonly kind: 'config' | 'layer' | 'blob' | 'manifest';
  readonly digest: Digest;
  readonly mediaType: string;
  /** In bytes, as the manifest says. */
  readonly size: number;
  readonly position: number;
  /** Whether a push without this content is refused. What is not required is still kept if it is there. */
  readonly required: boolean;
}

export interface ParsedManifest extends ManifestFormat {
  /** As the referrers API shows it: an image manifest without its own has that of its config. */
  readonly artifactType?: string;
  readonly subject?: Descriptor;
  readonly config?: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly manifests: readonly IndexEntry[];
  /** Of an artifact manifest. */
  readonly blobs: readonly Descriptor[];
  readonly annotations: Record<string, string>;
  /** All of the above but the subject, which may be missing from the registry. */
  readonly references: readonly ManifestReference[];
}

type Contents = Pick<ParsedManifest, 'config' | 'layers' | 'manifests' | 'blobs'>;

const names: ReadonlySet<string> = new Set([
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'manifests',
  'blobs',
  'subject',
  'annotations',
]);
const foldedNames: ReadonlySet<string> = new Set([...names].map(foldCase));

/**
 * Reads a manifest as pushed. Fields beyond the standard are allowed and ignored.
 * @param contentType The header of the push; its parameters are ignored, and application/json says nothing.
 * @throws RegistryError manifestInvalid, naming the field and its value.
 */
export function parseManifest(bytes: Buffer, contentType: string | undefined, limits: ManifestLimits): ParsedManifest {
  const body = objectAt(parseJson(bytes, limits), 'the manifest');
  const format = formatOf(body, contentType);
  const referencesMax = limits.referencesMax ?? 10_000;
  if (format.kind === 'other') return parseOther(body, format, referencesMax);
  refuseLookalikes(body, 'the manifest', names, foldedNames);
  refuseTooMany(body, referencesMax);
  const contents = contentsOf(body, format.kind);
  const artifactType = artifactTypeAt(body['artifactType'], 'artifactType') ?? contents.config?.mediaType;
  return {
    ...format,
    ...contents,
    ...(artifactType !== undefined && { artifactType }),
    ...(!isAbsent(body['subject']) && { subject: descriptorAt(body['subject'], 'subject') }),
    annotations: annotationsAt(body['annotations'], 'annotations'),
    references: referencesOf(contents, true),
  };
}

function parseJson(bytes: Buffer, limits: JsonLimits): unknown {
  try {
    return parseStrictJson(bytes, limits);
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause;
    throw new RegistryError('manifestInvalid', { message: `the manifest is not valid JSON: ${cause.message}`, cause });
  }
}

function contentsOf(body: Fields, kind: Exclude<ManifestKind, 'other'>): Contents {
  const contents: Contents = { layers: [], manifests: [], blobs: [] };
  if (kind === 'index') return { ...contents, manifests: listAt(body, 'manifests', indexEntryAt) };
  // Of the artifact manifest's fields only mediaType and artifactType are required.
  if (kind === 'artifact')
    return { ...contents, blobs: body['blobs'] === undefined ? [] : listAt(body, 'blobs', descriptorAt) };
  return { ...contents, config: descriptorAt(body['config'], 'config'), layers: listAt(body, 'layers', descriptorAt) };
}

/** Go writes an empty list as null, and reads it so; a list that is missing altogether is another matter. */
function listAt<T>(body: Fields, name: string, read: (value: unknown, field: string) => T): T[] {
  return body[name] === null ? [] : arrayAt(body[name], name).map((value, at) => read(value, `${name}[${at}]`));
}

function refuseTooMany(body: Fields, referencesMax: number): void {
  const count = ['layers', 'manifests', 'blobs'].reduce(
    (sum, name) => sum + (Array.isArray(body[name]) ? body[name].length : 0),
    isAbsent(body['config']) ? 0 : 1,
  );
  if (count <= referencesMax) return;
  throw new RegistryError('manifestInvalid', {
    message: `the manifest names ${count} contents, this registry takes ${referencesMax}`,
    detail: { count, max: referencesMax },
  });
}

/**
 * A format that we do not know is stored and served as it came. Its fields may mean something else than ours, so
 * nothing in them is an error and no content is required; but what looks like a descriptor in the usual places is
 * taken for one, so that the garbage collector keeps what such a manifest needs and its subject learns of it.
 */
function parseOther(body: Fields, format: ManifestFormat, referencesMax: number): ParsedManifest {
  refuseTooMany(body, referencesMax);
  const config = descriptorIfAny(body['config']);
  const subject = descriptorIfAny(body['subject']);
  const contents: Contents = {
    ...(config && { config }),
    layers: descriptorsIn(body['layers']),
    manifests: descriptorsIn(body['manifests']),
    blobs: descriptorsIn(body['blobs']),
  };
  const stated = body['artifactType'];
  const artifactType = typeof stated === 'string' && isValidMediaType(stated) ? stated : config?.mediaType;
  const annotations = isFields(body['annotations']) ? Object.entries(body['annotations']) : [];
  return {
    ...format,
    ...contents,
    ...(artifactType !== undefined && { artifactType }),
    ...(subject && { subject }),
    annotations: Object.fromEntries(
      annotations.filter((entry): entry is [string, string] =>
        entry.every((text) => typeof text === 'string' && isKeepable(text)),
      ),
    ),
    references: referencesOf(contents, false),
  };
}

function descriptorsIn(value: unknown): Descriptor[] {
  return Array.isArray(value) ? value.map(descriptorIfAny).filter((descriptor) => descriptor !== undefined) : [];
}

function referencesOf(contents: Contents, required: boolean): ManifestReference[] {
  const refer =
    (kind: ManifestReference['kind']) =>
    (descriptor: Descriptor, position: number): ManifestReference => ({
      kind,
      digest: descriptor.digest,
      mediaType: descriptor.mediaType,
      size: descriptor.size,
      position,
      required: required && !isNonDistributable(descriptor.mediaType),
    });
  return [
    ...(contents.config ? [contents.config] : []).map(refer('config')),
    ...contents.layers.map(refer('layer')),
    ...contents.blobs.map(refer('blob')),
    // BuildKit keeps a build cache as an index whose entries are layers and its own config: these are pushed as blobs.
    ...contents.manifests.map((entry, position) =>
      refer(isBlobType(entry.mediaType) ? 'blob' : 'manifest')(entry, position),
    ),
  ];
}
