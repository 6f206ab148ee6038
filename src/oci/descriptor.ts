import { type Digest, digestAlgorithm, digestOf, parseDigest } from './digest.ts';
import { RegistryError } from './errors.ts';
import {
  type Fields,
  annotationsAt,
  arrayAt,
  foldCase,
  invalidField,
  isAbsent,
  isFields,
  objectAt,
  refuseLookalikes,
  textAt,
} from './fields.ts';
import { isValidMediaType } from './media-types.ts';

/**
 * What names a content: https://github.com/opencontainers/image-spec/blob/main/descriptor.md
 * `data` is checked but not kept: it is as large as the manifest, and its bytes are there.
 */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Record<string, string>;
  readonly artifactType?: string;
}

/** Where an entry of an index runs: https://github.com/opencontainers/image-spec/blob/main/image-index.md */
export interface Platform {
  readonly architecture?: string;
  readonly os?: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
  readonly variant?: string;
}

export type IndexEntry = Descriptor & { readonly platform?: Platform };

const names: ReadonlySet<string> = new Set([
  'mediaType',
  'digest',
  'size',
  'urls',
  'annotations',
  'data',
  'artifactType',
  'platform',
]);
const foldedNames: ReadonlySet<string> = new Set([...names].map(foldCase));

/** @throws RegistryError manifestInvalid, naming the field within `field`. */
export function descriptorAt(value: unknown, field: string): Descriptor {
  const object = objectAt(value, field);
  refuseLookalikes(object, field, names, foldedNames);
  const digest = digestAt(object['digest'], `${field}.digest`);
  const size = object['size'];
  if (!isSize(size)) throw invalidField(`${field}.size`, 'a whole number of bytes', size);
  refuseWrongData(object['data'], `${field}.data`, digest, size);
  return {
    mediaType: mediaTypeAt(object['mediaType'], `${field}.mediaType`),
    digest,
    size,
    ...optionsAt(object, field),
  };
}

export function indexEntryAt(value: unknown, field: string): IndexEntry {
  const descriptor = descriptorAt(value, field);
  const platform = (value as Fields)['platform'];
  return isAbsent(platform) ? descriptor : { ...descriptor, platform: platformAt(platform, `${field}.platform`) };
}

/** A descriptor in a format that we do not know: there, what is none is not wrong, it only means something else. */
export function descriptorIfAny(value: unknown): Descriptor | undefined {
  if (!isFields(value) || typeof value['digest'] !== 'string' || !isSize(value['size'])) return undefined;
  try {
    return descriptorAt(value, 'descriptor');
  } catch (error) {
    if (error instanceof RegistryError) return undefined;
    throw error;
  }
}

export function mediaTypeAt(value: unknown, field: string): string {
  if (typeof value !== 'string' || !isValidMediaType(value))
    throw invalidField(field, 'a media type like application/vnd.example+json', value);
  return value;
}

/** Undefined where it is missing or empty, which the spec treats alike. */
export function artifactTypeAt(value: unknown, field: string): string | undefined {
  return isAbsent(value) || value === '' ? undefined : mediaTypeAt(value, field);
}

function digestAt(value: unknown, field: string): Digest {
  if (typeof value !== 'string') throw invalidField(field, 'a digest like sha256:<64 hexadecimal digits>', value);
  try {
    return parseDigest(value);
  } catch (cause) {
    if (!(cause instanceof RegistryError)) throw cause;
    throw new RegistryError('manifestInvalid', { message: `${field}: ${cause.message}`, detail: { field }, cause });
  }
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function optionsAt(object: Fields, field: string): Pick<Descriptor, 'urls' | 'annotations' | 'artifactType'> {
  const { urls, annotations } = object;
  const artifactType = artifactTypeAt(object['artifactType'], `${field}.artifactType`);
  return {
    ...(!isAbsent(urls) && { urls: textsAt(urls, `${field}.urls`) }),
    ...(!isAbsent(annotations) && { annotations: annotationsAt(annotations, `${field}.annotations`) }),
    ...(artifactType !== undefined && { artifactType }),
  };
}

function textsAt(value: unknown, field: string): string[] {
  return arrayAt(value, field).map((text, at) => textAt(text, `${field}[${at}]`));
}

/** Clients may use the embedded content instead of asking for the blob, so it must be the very same. */
function refuseWrongData(value: unknown, field: string, digest: Digest, size: number): void {
  if (isAbsent(value) || value === '') return;
  const data = textAt(value, field);
  const content = Buffer.from(data, 'base64');
  // Buffer skips what is no base64; a text that was all base64 is made again from its bytes.
  if (content.toString('base64') !== data) throw invalidField(field, 'base64 with padding', value);
  if (content.length !== size) throw invalidField(field, `the ${size} bytes that size announces`, content.length);
  const actual = digestOf(content, digestAlgorithm(digest));
  if (actual !== digest) throw invalidField(field, `content with the digest ${digest}`, actual);
}

function platformAt(value: unknown, field: string): Platform {
  const object = objectAt(value, field);
  const platform: Record<string, string | string[]> = {};
  for (const name of ['architecture', 'os', 'os.version', 'variant'] as const) {
    if (!isAbsent(object[name])) platform[name] = textAt(object[name], `${field}.${name}`);
  }
  const features = object['os.features'];
  if (!isAbsent(features)) platform['os.features'] = textsAt(features, `${field}.os.features`);
  return platform;
}
