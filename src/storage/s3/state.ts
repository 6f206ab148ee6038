/** What `uploads.storage_state` holds of an upload to S3: enough for any process to go on. */
import { MalformedKeyError, uploadNameOf } from '../layout.ts';
import type { UploadName } from '../layout.ts';
import type { UploadState } from '../port.ts';
import { isTailName } from './keys.ts';
import type { TailName } from './keys.ts';

/** A part of a multipart upload that S3 has. */
export interface Part {
  readonly n: number;
  /** In bytes. */
  readonly size: number;
  readonly etag: string;
  /** CRC32 as S3 writes it: base64 of four bytes. Says so again when the upload is completed. */
  readonly crc: string;
}

export interface S3State {
  readonly upload: UploadName;
  /** Of all bytes: those in parts, in order, then those in the tail. */
  readonly size: number;
  readonly multipart?: string;
  readonly parts: readonly Part[];
  /** The object that has the bytes behind the parts; it may have more of them than count. */
  readonly tail?: TailName;
  /** The tail before: nobody needs it any more once this state is recorded. */
  readonly stale?: TailName;
  /** All bytes are at their final place already. */
  readonly whole?: true;
}

export const partBytesOf = (parts: readonly Part[]): number => parts.reduce((sum, { size }) => sum + size, 0);

/** Bytes behind the parts. */
export const tailBytesOf = ({ size, parts }: S3State): number => size - partBytesOf(parts);

/** Plain JSON, with nothing in it that says nothing. */
export function toUploadState({ upload, size, multipart, parts, tail, stale, whole }: S3State): UploadState {
  return {
    upload,
    size,
    ...(multipart !== undefined && { multipart }),
    ...(parts.length > 0 && { parts: parts.map(({ n, size: bytes, etag, crc }) => ({ n, size: bytes, etag, crc })) }),
    ...(tail !== undefined && { tail }),
    ...(stale !== undefined && { stale }),
    ...(whole === true && { whole }),
  };
}

/** Whether it has the form of what `toUploadState` makes: other back ends do not say how many bytes there are. */
export function isS3State(state: UploadState): boolean {
  try {
    parseState(state);
    return true;
  } catch {
    return false;
  }
}

/** @throws MalformedKeyError unless `state` is what `toUploadState` makes */
export function parseState(state: UploadState): S3State {
  const upload = uploadNameOf(state);
  const { size, multipart, parts = [], tail, stale, whole } = state;
  const parsed = Array.isArray(parts) ? (parts as readonly UploadState[]).map(parsePart) : [undefined];
  if (
    !isCount(size) ||
    parsed.includes(undefined) ||
    !(multipart === undefined || typeof multipart === 'string') ||
    !(tail === undefined || isTailName(tail)) ||
    !(stale === undefined || isTailName(stale)) ||
    !(whole === undefined || whole === true)
  )
    throw new MalformedKeyError(`not an upload's state: ${JSON.stringify(state)}`);
  return {
    upload,
    size,
    parts: parsed as Part[],
    ...(multipart !== undefined && { multipart }),
    ...(tail !== undefined && { tail }),
    ...(stale !== undefined && { stale }),
    ...(whole !== undefined && { whole }),
  };
}

function parsePart({ n, size, etag, crc }: UploadState): Part | undefined {
  const isPart = isCount(n) && isCount(size) && typeof etag === 'string' && typeof crc === 'string';
  return isPart ? { n, size, etag, crc } : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
