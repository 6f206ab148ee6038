/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs */
import type { Readable } from 'node:stream';
import type { Caller } from '../../access/caller.ts';
import type { Standing } from '../../access/lookup.ts';
import { decide, type Subject } from '../../access/policy.ts';
import { digestAlgorithm, parseDigest, parseDigestAlgorithm, type Digest } from '../../oci/digest.ts';
import { RegistryError } from '../../oci/errors.ts';
import { parseRepositoryName, type RepositoryName } from '../../oci/reference.ts';
import type { Chunk } from '../../registry/upload-place.ts';
import { UploadRangeError, type UploadStatus } from '../../registry/uploads.ts';
import { freeBuffer } from '../../storage/free-buffer.ts';
import { inviteBody } from '../expect.ts';
import { authorize, type DataPlane } from './data-plane.ts';
import { announcedLength, parameter, send, singleHeader, type Exchange } from './exchange.ts';
import { parseContentRange } from './ranges.ts';
import { countPush } from './rate-limits.ts';
import { addressOf } from './routes.ts';

/** POST: opens a session, mounts a blob, or takes a whole one. */
export async function startUpload(plane: DataPlane, exchange: Exchange, route: { name: string }): Promise<void> {
  const name = parseRepositoryName(route.name);
  const { query } = exchange;
  const wanted = digestParameter(query, 'digest');
  const mount = digestParameter(query, 'mount');
  const from = parameter(query, 'from');
  const algorithmText = parameter(query, 'digest-algorithm');
  const algorithm = algorithmText === null ? 'sha256' : parseDigestAlgorithm(algorithmText);
  const { caller, subject, actor } = await authorize(plane, exchange, name, 'push');
  await countPush(plane, exchange, subject, 'upload');
  if (wanted !== null) {
    await plane.uploads.putWhole(
      { name, digest: wanted, actor },
      { body: bodyOf(exchange), release: freeBuffer, range: null },
    );
    return created(exchange, name, wanted);
  }
  if (
    mount !== null &&
    (await mayMount(plane, caller, subject, mount, from)) &&
    (await plane.blobs.mount(name, mount, actor))
  )
    return created(exchange, name, mount);
  // A mount that cannot be had becomes an upload, and says nothing of why.
  const status = await plane.uploads.open(name, actor, mount === null ? algorithm : digestAlgorithm(mount));
  accepted(exchange, name, status, 202);
}

/**
 * Whether the source of a mount is readable. Its right is the account's live one, not the scopes of the token: docker asks
 * for a token that covers the source, others do not. An absent source and a hidden one are alike.
 */
async function mayMount(
  plane: DataPlane,
  caller: Caller,
  subject: Subject,
  digest: Digest,
  from: string | null,
): Promise<boolean> {
  if (from === null) return plane.blobs.isReadable(subject, digest);
  const source = sourceName(from);
  if (source === null) return false;
  const standing = await plane.lookup(caller, source, 'aliases');
  if (decide(standing.subject, null, source, 'pull', standing.facts).outcome !== 'allowed') return false;
  return standing.repositoryId !== null && plane.blobs.isLinked(standing.repositoryId, digest);
}

function sourceName(from: string): RepositoryName | null {
  try {
    return parseRepositoryName(from);
  } catch {
    return null;
  }
}

/** GET: where an upload stands. */
export async function uploadStatus(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; id: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  await authorize(plane, exchange, name, 'push');
  accepted(exchange, name, await plane.uploads.status(parseUploadId(route.id), name), 204);
}

/** PATCH: appends a chunk, or a stream. */
export async function appendToUpload(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; id: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  await authorize(plane, exchange, name, 'push');
  await answeringRanges(exchange, name, async () => {
    accepted(exchange, name, await plane.uploads.append(parseUploadId(route.id), name, chunkOf(exchange)), 202);
  });
}

/** PUT: closes an upload, with or without a last chunk. */
export async function completeUpload(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; id: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const digest = digestParameter(exchange.query, 'digest');
  const { caller, standing, actor } = await authorize(plane, exchange, name, 'push');
  if (digest === null)
    throw new RegistryError('digestInvalid', {
      message: 'the closing PUT needs the digest of the whole blob as the parameter digest',
    });
  const id = parseUploadId(route.id);
  const chunk = chunkOf(exchange);
  await answeringRanges(exchange, name, async () => {
    try {
      await plane.uploads.complete(id, { name, digest, actor }, chunk);
    } catch (error) {
      const isGone = error instanceof RegistryError && error.kind === 'uploadUnknown';
      if (!isGone || chunk.body !== null || !(await hasBlob(plane, caller, standing, name, digest))) throw error;
    }
    created(exchange, name, digest);
  });
}

/**
 * A PUT without bytes may come again, from a proxy or a client that never heard the answer, for its sender died: then the
 * session is gone and the blob is there. Docker gives an image's configuration up that is not answered as the first time.
 * Nobody is told more than a HEAD of the blob tells.
 */
async function hasBlob(
  plane: DataPlane,
  caller: Caller,
  { subject, facts, repositoryId }: Standing,
  name: RepositoryName,
  digest: Digest,
): Promise<boolean> {
  if (decide(subject, caller.scopes, name, 'pull', facts).outcome !== 'allowed') return false;
  return repositoryId !== null && plane.blobs.isLinked(repositoryId, digest);
}

/** DELETE: forgets an upload. */
export async function cancelUpload(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; id: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  await authorize(plane, exchange, name, 'push');
  await plane.uploads.cancel(parseUploadId(route.id), name);
  send(exchange, 204, {});
}

function created(exchange: Exchange, name: RepositoryName, digest: Digest): void {
  send(exchange, 201, { Location: exchange.origin() + addressOf.blob(name, digest), 'Docker-Content-Digest': digest });
}

function accepted(exchange: Exchange, name: RepositoryName, status: UploadStatus, code: 202 | 204): void {
  send(exchange, code, statusHeaders(exchange, name, status));
}

/** An empty upload says `0-0`, as all registries do: the header has no way to say "nothing". */
function statusHeaders(exchange: Exchange, name: RepositoryName, status: UploadStatus): Record<string, string> {
  return {
    Location: exchange.origin() + addressOf.upload(name, status.id),
    Range: `0-${Math.max(0, status.offset - 1)}`,
    'Docker-Upload-UUID': status.id,
  };
}

/** A chunk out of order is answered with where the upload stands, so that the client can go on from there. */
async function answeringRanges(exchange: Exchange, name: RepositoryName, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof UploadRangeError)
      for (const [header, value] of Object.entries(statusHeaders(exchange, name, error.status)))
        exchange.res.setHeader(header, value);
    throw error;
  }
}

function chunkOf(exchange: Exchange): Chunk {
  return {
    body: bodyOf(exchange),
    release: freeBuffer,
    range: parseContentRange(singleHeader(exchange.req, 'content-range'), announcedLength(exchange.req)),
  };
}

function bodyOf(exchange: Exchange): Readable | null {
  if (announcedLength(exchange.req) === 0) return null;
  inviteBody(exchange.req);
  return exchange.req;
}

function digestParameter(query: string, name: string): Digest | null {
  const text = parameter(query, name);
  return text === null ? null : parseDigest(text);
}

const uploadIdPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function parseUploadId(text: string): string {
  if (!uploadIdPattern.test(text)) throw new RegistryError('uploadUnknown', { detail: { upload: text.slice(0, 80) } });
  return text;
}
