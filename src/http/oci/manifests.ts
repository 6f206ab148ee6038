/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests and #pushing-manifests */
import { digestAlgorithm, digestOf, isDigest, type Digest } from '../../oci/digest.ts';
import { RegistryError } from '../../oci/errors.ts';
import { parseManifest } from '../../oci/manifest.ts';
import { parseReference, parseRepositoryName, parseTag, type Reference, type Tag } from '../../oci/reference.ts';
import type { TagCondition } from '../../registry/move-tags.ts';
import { readBody } from './body.ts';
import { authorize, callerOf, existing, permit, type DataPlane } from './data-plane.ts';
import { noneMatch, send, type Exchange } from './exchange.ts';
import { countPull, countPush } from './rate-limits.ts';
import { addressOf } from './routes.ts';

/** By digest the answer never changes; by tag it may at any moment, and the client asks with its ETag. */
const cacheControl = { digest: 'private, max-age=31536000, immutable', tag: 'private, no-cache' } as const;

/**
 * GET and HEAD. What was pushed is what is served, whatever the Accept header says: the spec knows no other answer to a
 * manifest that exists, and no client of today is better off with a 404.
 */
export async function getManifest(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const reference = parseAskedFor(route.reference);
  const caller = await callerOf(plane, exchange, name, 'pull');
  const { manifest, standing } = await plane.manifests.find(caller, name, reference);
  const subject = permit(standing, caller, name, 'pull');
  existing(standing, name);
  if (manifest === null) throw manifestUnknown(reference);
  const etag = `"${manifest.digest}"`;
  const headers = {
    'Docker-Content-Digest': manifest.digest,
    ETag: etag,
    'Cache-Control': cacheControl[reference.kind],
  };
  const notModified = noneMatch(exchange.req.headers['if-none-match'], etag);
  const { pulls } = plane.rateLimits;
  if (pulls !== null)
    await countPull(pulls, exchange, subject, manifest, notModified || exchange.req.method === 'HEAD');
  if (notModified) return send(exchange, 304, headers);
  const typed = {
    ...headers,
    'Content-Type': manifest.mediaType,
    'Content-Length': manifest.size,
    'X-Content-Type-Options': 'nosniff',
  };
  if (exchange.req.method === 'HEAD') return send(exchange, 200, typed);
  const bytes = await plane.manifests.read(manifest);
  if (bytes === undefined) throw manifestUnknown(reference);
  send(exchange, 200, typed, bytes);
}

/** What cannot be a tag is a tag that is not there: "if the manifest is not found, the response code MUST be 404". */
function parseAskedFor(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    if (!(error instanceof RegistryError && error.kind === 'tagInvalid')) throw error;
    throw new RegistryError('manifestUnknown', { message: error.message, detail: error.detail, cause: error });
  }
}

function manifestUnknown(reference: Reference): RegistryError {
  return new RegistryError('manifestUnknown', {
    detail: reference.kind === 'tag' ? { tag: reference.tag } : { digest: reference.digest },
  });
}

export async function putManifest(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const reference = parseReference(route.reference);
  const tags = tagsOf(exchange, reference, plane.limits.tagsPerPushMax);
  const condition = conditionOf(exchange, tags);
  const { subject, actor } = await authorize(plane, exchange, name, 'push');
  await countPush(plane, exchange, subject, 'manifest');
  const bytes = await readBody(exchange.req, plane.limits.manifestBytesMax, 'manifestTooLarge');
  const digest = checkedDigest(bytes, reference);
  const { manifestDepthMax: depthMax, manifestReferencesMax: referencesMax } = plane.limits;
  const manifest = parseManifest(bytes, exchange.req.headers['content-type'], { depthMax, referencesMax });
  await plane.pushManifest({ name, digest, bytes, manifest, tags, condition, actor });
  send(exchange, 201, {
    Location: exchange.origin() + addressOf.manifest(name, digest),
    'Docker-Content-Digest': digest,
    ...(manifest.subject !== undefined && { 'OCI-Subject': manifest.subject.digest }),
    ...(reference.kind === 'digest' && tags.length > 0 && { 'OCI-Tag': tags.join(', ') }),
  });
}

/** The tag of the address, or those of the `tag` parameters beside a digest. */
function tagsOf(exchange: Exchange, reference: Reference, max: number): Tag[] {
  const parameters = exchange.query.includes('tag') ? new URLSearchParams(exchange.query).getAll('tag') : [];
  if (reference.kind === 'tag') {
    if (parameters.length > 0)
      throw new RegistryError('parameterInvalid', {
        message: 'tag parameters go with a push by digest; this one is by tag',
      });
    return [reference.tag];
  }
  if (parameters.length > max)
    throw new RegistryError('parameterInvalid', {
      message: `${parameters.length} tags in one push; this registry takes ${max}`,
    });
  return [...new Set(parameters.map(parseTag))];
}

/** `If-Match` and `If-None-Match: *` on tags (RFC 9110 section 13.1). */
function conditionOf(exchange: Exchange, tags: readonly Tag[]): TagCondition {
  const ifMatch = exchange.req.headers['if-match'];
  const ifNoneMatch = exchange.req.headers['if-none-match'];
  if (ifMatch === undefined && ifNoneMatch === undefined) return null;
  if (tags.length === 0)
    throw new RegistryError('parameterInvalid', {
      message: 'If-Match and If-None-Match are for tags; a manifest by its digest never changes',
    });
  if (ifMatch !== undefined && ifNoneMatch !== undefined)
    throw new RegistryError('parameterInvalid', { message: 'give If-Match or If-None-Match, not both' });
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() !== '*')
      throw new RegistryError('parameterInvalid', { message: 'only "*" makes sense in the If-None-Match of a push' });
    return 'absent';
  }
  if (ifMatch!.trim() === '*') return 'present';
  return ifMatch!
    .split(',')
    .map((each) => /^"(.*)"$/.exec(each.trim())?.[1] ?? '')
    .filter((text): text is Digest => isDigest(text));
}

function checkedDigest(bytes: Buffer, reference: Reference): Digest {
  if (reference.kind === 'tag') return digestOf(bytes);
  const actual = digestOf(bytes, digestAlgorithm(reference.digest));
  if (actual === reference.digest) return actual;
  throw new RegistryError('digestInvalid', {
    message: `the digest does not match: ${reference.digest} was announced, but the ${bytes.length} bytes received have ${actual}`,
    detail: { expected: reference.digest, actual, size: bytes.length },
  });
}

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#content-management */
export async function deleteManifest(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const reference = parseReference(route.reference);
  const condition = reference.kind === 'tag' ? conditionOf(exchange, [reference.tag]) : null;
  const { standing, actor } = await authorize(plane, exchange, name, 'delete');
  existing(standing, name);
  if (reference.kind === 'tag') await plane.manifests.untag(name, reference.tag, condition, actor);
  else await plane.manifests.delete(name, reference.digest, actor);
  send(exchange, 202, {});
}
