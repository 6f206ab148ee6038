/** Ranges of blobs and of chunks. */
import { RegistryError } from '../../oci/errors.ts';
import type { ByteRange } from '../../storage/port.ts';

/**
 * Reads a `Range` header over content of `size` bytes, RFC 9110 section 14.2. Only single byte ranges are honoured; what
 * is not understood is ignored, as the RFC wants, and the whole content is sent.
 * @returns null for the whole content
 * @throws RegistryError `rangeInvalid` when the range lies outside
 */
export function parseRange(header: string | undefined, size: number): ByteRange | null {
  const match = header === undefined ? null : /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return null;
  const outside = (): RegistryError =>
    new RegistryError('rangeInvalid', {
      message: `the range ${header} lies outside of the ${size} bytes of this content`,
      detail: { size },
    });
  if (match[1] === '') {
    const length = Math.min(Number(match[2]), size);
    if (length === 0) throw outside();
    return { start: size - length, length };
  }
  const start = Number(match[1]);
  const end = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  // Backwards: the RFC lets a server ignore it or refuse it, and whoever asked so is better told.
  if (start >= size || end < start) throw outside();
  return { start, length: end - start + 1 };
}

/**
 * Reads the `Content-Range` of a chunk: `START-END` as the spec has it, also `bytes START-END/SIZE` as RFC 9110 does.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks
 * @param length the chunk's Content-Length, where it was sent
 * @throws RegistryError `uploadInvalid` for what is no range; `sizeInvalid` when it is not as long as the chunk
 */
export function parseContentRange(
  header: string | undefined,
  length: number | null,
): { start: number; end: number } | null {
  if (header === undefined) return null;
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/.exec(header.trim());
  const [start, end] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || end < start) {
    throw new RegistryError('uploadInvalid', {
      message: `the Content-Range "${header.slice(0, 80)}" is not of the form START-END, both in bytes and END included`,
    });
  }
  if (length !== null && length !== end - start + 1) {
    throw new RegistryError('sizeInvalid', {
      message: `the Content-Range announces ${end - start + 1} bytes, the Content-Length ${length}`,
    });
  }
  return { start, end };
}
