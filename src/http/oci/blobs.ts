/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs */
import { parseDigest } from '../../oci/digest.ts';
import { RegistryError } from '../../oci/errors.ts';
import { parseRepositoryName } from '../../oci/reference.ts';
import type { Blob } from '../../registry/blobs.ts';
import type { ByteRange } from '../../storage/port.ts';
import { authorize, callerOf, existing, permit, type DataPlane } from './data-plane.ts';
import { noneMatch, send, sendStream, singleHeader, type Exchange } from './exchange.ts';
import { parseRange } from './ranges.ts';

/** What a digest names never changes; but who may read it does, so only the client itself may keep it. */
const immutable = 'private, max-age=31536000, immutable';

export async function getBlob(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const digest = parseDigest(route.reference);
  const caller = await callerOf(plane, exchange, name, 'pull');
  const { blob, standing } = await plane.blobs.find(caller, name, digest);
  permit(standing, caller, name, 'pull');
  existing(standing, name);
  if (blob === null) throw new RegistryError('blobUnknown', { detail: { digest } });
  await answer(plane, exchange, blob);
}

async function answer(plane: DataPlane, exchange: Exchange, blob: Blob): Promise<void> {
  const { req } = exchange;
  const etag = `"${blob.digest}"`;
  const headers = {
    'Docker-Content-Digest': blob.digest,
    ETag: etag,
    'Cache-Control': immutable,
    'Accept-Ranges': 'bytes',
  };
  if (noneMatch(req.headers['if-none-match'], etag)) return send(exchange, 304, headers);
  const range = rangeOf(exchange, blob, etag);
  const whole = { start: 0, length: blob.size };
  const { start, length } = range ?? whole;
  const typed = {
    ...headers,
    'Content-Type': 'application/octet-stream',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': length,
    ...(range !== null && { 'Content-Range': `bytes ${start}-${start + length - 1}/${blob.size}` }),
  };
  const status = range === null ? 200 : 206;
  // The bytes of a HEAD are known without touching storage.
  if (req.method === 'HEAD') return send(exchange, 200, { ...typed, 'Content-Length': blob.size });
  const elsewhere = await addressFor(plane, exchange, blob);
  // Whoever has the address may use it, so nobody else is to be given the answer, not even by the client itself.
  if (elsewhere !== null) return send(exchange, 307, { ...headers, Location: elsewhere, 'Cache-Control': 'no-store' });
  const small = await plane.blobs.readSmall(blob);
  if (small !== undefined) return send(exchange, status, typed, small.subarray(start, start + length));
  await sendStream(exchange, status, typed, await plane.blobs.read(blob, { start, length }));
}

/** Where this client is sent for the bytes; null where it gets them here. The range, if any, is asked for again there. */
async function addressFor(plane: DataPlane, { req }: Exchange, blob: Blob): Promise<string | null> {
  const { redirect } = plane;
  if (redirect === undefined || blob.size < redirect.bytesMin) return null;
  const agent = req.headers['user-agent']?.toLowerCase() ?? '';
  if (redirect.notFor.some((word) => agent.includes(word.toLowerCase()))) return null;
  return plane.blobs.addressOf(blob);
}

/** The range to send; `If-Range` takes it back when the client means another content (RFC 9110 section 13.1.5). */
function rangeOf(exchange: Exchange, blob: Blob, etag: string): ByteRange | null {
  if (exchange.req.method === 'HEAD') return null;
  const ifRange = exchange.req.headers['if-range'];
  if (ifRange !== undefined && ifRange !== etag) return null;
  const header = singleHeader(exchange.req, 'range');
  try {
    return parseRange(header, blob.size);
  } catch (error) {
    // RFC 9110 section 15.5.17: a client that asked beyond the end learns where the end is.
    exchange.res.setHeader('Content-Range', `bytes */${blob.size}`);
    throw error;
  }
}

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#deleting-blobs */
export async function deleteBlob(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const digest = parseDigest(route.reference);
  const { standing, actor } = await authorize(plane, exchange, name, 'delete');
  existing(standing, name);
  await plane.blobs.unlink(name, digest, actor);
  send(exchange, 202, {});
}
