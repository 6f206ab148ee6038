/** Where things lie in the bucket. Pure; no I/O. */
import { randomBytes } from 'node:crypto';
import { isUploadName, MalformedKeyError } from '../layout.ts';
import type { UploadName } from '../layout.ts';
import type { StorageKey } from '../port.ts';

/** What tells an upload's tails apart: `<bytes of the upload before it>.<random>`. */
export type TailName = string & { readonly __brand: 'TailName' };

const keyPattern = /^blobs\/([0-9a-f]{2})\/[A-Za-z0-9_-]{1,128}\.\1[0-9a-f]{22}$/;
const tailPattern = /^(?<upload>[^.]+\.[0-9a-f]{24})\.(?<tail>\d{1,16}\.[0-9a-f]{16})$/;
const tailNamePattern = /^\d{1,16}\.[0-9a-f]{16}$/;

/*
 * The bucket. Nothing in it is ever written twice with other bytes, nothing is copied, and nothing is renamed.
 *
 *   <prefix>
 *     uploads/
 *       <uploadId>.<random>.<offset>.<random>   the end of an unfinished upload, from that offset, while it is too short for
 *                                               a part of a multipart upload
 *     blobs/
 *       3f/                                     the first two digits of the random part
 *         <uploadId>.3f...                      a blob, or a multipart upload on its way to become it. The digest is not
 *                                               known when the first part is sent, so it is in the database only
 */

export const uploadsFolder = 'uploads/';
export const objectsFolder = 'blobs/';

/** The key that the upload's bytes get, whatever they are. */
export function keyOf(upload: UploadName): StorageKey {
  const random = upload.slice(upload.lastIndexOf('.') + 1);
  return parseKey(`${objectsFolder}${random.slice(0, 2)}/${upload}`);
}

/** @throws MalformedKeyError unless `text` is exactly what `keyOf` makes */
export function parseKey(text: string): StorageKey {
  if (!isKey(text)) throw new MalformedKeyError(`not a storage key: ${JSON.stringify(text)}`);
  return text;
}

export function isKey(text: string): text is StorageKey {
  return keyPattern.test(text);
}

/** A name that no other tail has: one that is still on its way when nobody waits for it any more can then harm none. */
export function newTailName(offset: number): TailName {
  return `${offset}.${randomBytes(8).toString('hex')}` as TailName;
}

export function isTailName(text: unknown): text is TailName {
  return typeof text === 'string' && tailNamePattern.test(text);
}

/** Where in its upload a tail begins, in bytes. */
export function offsetOf(tail: TailName): number {
  return Number(tail.slice(0, tail.indexOf('.')));
}

/** What the keys of all tails of an upload begin with. */
export function tailsOf(upload: UploadName): string {
  return `${uploadsFolder}${upload}.`;
}

export function tailKey(upload: UploadName, tail: TailName): string {
  return `${tailsOf(upload)}${tail}`;
}

/** Undefined where the key is none of a tail. */
export function parseTailKey(key: string): { readonly upload: UploadName; readonly tail: TailName } | undefined {
  const { upload, tail } = tailPattern.exec(key.slice(uploadsFolder.length))?.groups ?? {};
  if (upload === undefined || tail === undefined || !isUploadName(upload)) return undefined;
  return { upload, tail: tail as TailName };
}
