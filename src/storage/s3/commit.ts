/** Makes an object of an upload. Every step may have been done already, by a call whose answer was lost. */
import { ObjectMissingError, ObjectSizeError, StorageUnavailableError } from '../port.ts';
import type { StorageKey } from '../port.ts';
import type { Bucket } from './bucket.ts';
import { keyOf } from './keys.ts';
import type { PartBuffers } from './part-buffers.ts';
import { tailBytesOf } from './state.ts';
import type { S3State } from './state.ts';
import type { Tails } from './tails.ts';

export interface CommitParts {
  readonly bucket: Bucket;
  readonly buffers: PartBuffers;
  readonly tails: Tails;
}

const noSignal = new AbortController().signal;

/** @throws ObjectMissingError, ObjectSizeError */
export async function commit(parts: CommitParts, state: S3State): Promise<StorageKey> {
  const key = keyOf(state.upload);
  if (state.whole !== true) {
    try {
      if (state.parts.length > 0) await completeParts(parts, state, key);
      else await putAll(parts, state, key);
    } catch (error) {
      if (!(error instanceof ObjectMissingError)) throw error;
      // Parts or tail are gone: most likely an earlier call, or one at the same time, has made the object of them.
      await mustBeThere(parts.bucket, state, key, error);
    }
  }
  await parts.tails.deleteSome(state.upload, [state.tail, state.stale]);
  return key;
}

async function completeParts(parts: CommitParts, state: S3State, key: StorageKey): Promise<void> {
  const { bucket } = parts;
  const { multipart } = state;
  if (multipart === undefined) throw new ObjectMissingError(`${key} has parts of no upload`);
  const n = state.parts.at(-1)!.n + 1;
  const last = await withTail(parts, state, (body) =>
    body.length === 0 ? undefined : bucket.uploadPart(key, multipart, { n, body }),
  );
  await bucket.complete(key, multipart, last === undefined ? state.parts : [...state.parts, last]);
}

async function putAll(parts: CommitParts, state: S3State, key: StorageKey): Promise<void> {
  const { bucket } = parts;
  if (!bucket.isConditional && (await bucket.sizeOf(key)) === state.size) return;
  const isPut = await withTail(parts, state, (body) => bucket.put(key, body, { ifAbsent: true }));
  if (!isPut) await mustBeThere(bucket, state, key);
}

async function mustBeThere(bucket: Bucket, { size }: S3State, key: StorageKey, missing?: Error): Promise<void> {
  const found = await bucket.sizeOf(key);
  if (found === undefined) throw missing ?? new StorageUnavailableError(`S3 has not yet decided what is at ${key}`);
  if (found !== size) throw new ObjectSizeError(`${key} has ${found} bytes instead of ${size}`, { cause: missing });
}

/** Lends the bytes behind the parts. */
async function withTail<T>(
  { buffers, tails }: CommitParts,
  state: S3State,
  use: (bytes: Buffer) => Promise<T> | T,
): Promise<T> {
  const length = tailBytesOf(state);
  if (length === 0) return use(Buffer.alloc(0));
  if (state.tail === undefined) throw new ObjectMissingError(`${state.upload} has no tail`);
  const buffer = await buffers.take(noSignal);
  try {
    if (length > buffer.length) throw new Error('the upload was begun with larger parts than are set now');
    const bytes = buffer.subarray(0, length);
    await tails.readInto(bytes, state.upload, state.tail);
    return await use(bytes);
  } finally {
    buffers.give(buffer);
  }
}
