/** Where things lie inside a store: the names of unfinished uploads and the keys of objects. Pure; no I/O. */
import { randomBytes } from 'node:crypto';
import type { Digest } from '../oci/digest.ts';
import { digestAlgorithm, digestHex } from '../oci/digest.ts';
import type { StorageKey, UploadState } from './port.ts';

/** Name of an unfinished upload's file: `<uploadId>.<random>`. Safe to join to a path. */
export type UploadName = string & { readonly __brand: 'UploadName' };

/** Thrown when a key or a state that was handed back cannot have come from this store (damage, or an attempt at a path trick). */
export class MalformedKeyError extends Error {
  override readonly name = 'MalformedKeyError';
}

const uploadIdPattern = /^[A-Za-z0-9_-]{1,128}$/;
const uploadNamePattern = /^[A-Za-z0-9_-]{1,128}\.[0-9a-f]{24}$/;
const objectKeyPattern =
  /^blobs\/(?:sha256\/([0-9a-f]{2})\/\1[0-9a-f]{62}|sha512\/([0-9a-f]{2})\/\2[0-9a-f]{126})-[0-9a-f]{24}$/;

/*
 * The tree. Everything lies on one file system, so that an upload becomes a blob by a rename.
 *
 *   <root>/
 *     uploads/
 *       <uploadId>.<random>            an unfinished upload; the random part makes it differ from every earlier one
 *     blobs/
 *       sha256/
 *         e3/                          the first two hex digits
 *           e3b0c442...-<random>       a blob, with the random part of the upload that brought it: two uploads of the
 *                                      same bytes never meet, and `sha256sum` checks it against its name
 *       sha512/
 *         cf/
 *           cf83e135...-<random>
 */

/** A name that no earlier call has returned: 96 random bits, in hex because some file systems ignore case. */
export function newUploadName(uploadId: string): UploadName {
  if (!uploadIdPattern.test(uploadId)) throw new MalformedKeyError(`not an upload id: ${JSON.stringify(uploadId)}`);
  return `${uploadId}.${randomBytes(12).toString('hex')}` as UploadName;
}

/** The upload's path below the root. */
export function uploadPath(name: UploadName): string {
  return `uploads/${name}`;
}

/** The object's key, which is also its path below the root. */
export function objectKey(name: UploadName, digest: Digest): StorageKey {
  const hex = digestHex(digest);
  const random = name.slice(name.lastIndexOf('.') + 1);
  return parseObjectKey(`blobs/${digestAlgorithm(digest)}/${hex.slice(0, 2)}/${hex}-${random}`);
}

/** @throws MalformedKeyError unless `text` is exactly what `objectKey` makes */
export function parseObjectKey(text: string): StorageKey {
  if (!isObjectKey(text)) throw new MalformedKeyError(`not a storage key: ${JSON.stringify(text)}`);
  return text;
}

export function isObjectKey(text: string): text is StorageKey {
  return objectKeyPattern.test(text);
}

export function isUploadName(text: string): text is UploadName {
  return uploadNamePattern.test(text);
}

/** What `uploads.storage_state` holds for back ends that need to remember no more than a name. */
export function stateOf(name: UploadName): UploadState {
  return { upload: name };
}

/** @throws MalformedKeyError unless `state` is what `stateOf` makes */
export function uploadNameOf(state: UploadState): UploadName {
  const name = state['upload'];
  if (typeof name === 'string' && isUploadName(name)) return name;
  throw new MalformedKeyError(`not an upload's state: ${JSON.stringify(state)}`);
}

/** Whether a key or a state is one of those that this file makes. */
export function recognizes(thing: string | UploadState): boolean {
  if (typeof thing === 'string') return isObjectKey(thing);
  const { upload } = thing;
  // Other back ends remember more than a name.
  return Object.keys(thing).length === 1 && typeof upload === 'string' && isUploadName(upload);
}
