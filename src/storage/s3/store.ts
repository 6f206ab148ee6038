/** Blobs as objects in one bucket. `keys.ts` draws it; `state.ts` says what is remembered of an upload. */
import type { Digest } from '../../oci/digest.ts';
import { newUploadName } from '../layout.ts';
import type { UploadName } from '../layout.ts';
import { ObjectMissingError, ObjectSizeError, UploadUnreadableError } from '../port.ts';
import type {
  BlobStore,
  ByteRange,
  StorageKey,
  StoredObject,
  StoredUpload,
  UploadState,
  UploadWriter,
  WriterOptions,
} from '../port.ts';
import { Bucket } from './bucket.ts';
import { commit } from './commit.ts';
import { isKey, keyOf, objectsFolder, offsetOf, parseKey, parseTailKey, tailKey, uploadsFolder } from './keys.ts';
import type { TailName } from './keys.ts';
import { partBytesMin } from './options.ts';
import type { S3Options } from './options.ts';
import { PartBuffers } from './part-buffers.ts';
import { proveUsable } from './probe.ts';
import { openRange } from './reader.ts';
import { isS3State, parseState, partBytesOf, toUploadState } from './state.ts';
import type { S3State } from './state.ts';
import { Tails } from './tails.ts';
import { S3UploadWriter } from './writer.ts';

export class S3BlobStore implements BlobStore {
  readonly #options: S3Options;
  readonly #bucket: Bucket;
  readonly #buffers: PartBuffers;
  readonly #tails: Tails;

  constructor(options: S3Options) {
    const { partBytes, memoryBytes } = options;
    this.#options = options;
    this.#bucket = new Bucket(options);
    this.#tails = new Tails(this.#bucket);
    // Room for a full part and another that is just too short to be one, or two short ones.
    const bufferBytes = Math.max(partBytes, 2 * partBytesMin);
    this.#buffers = new PartBuffers({ bufferBytes, buffersMax: Math.max(2, Math.floor(memoryBytes / partBytes)) });
  }

  recognizes(thing: StorageKey | UploadState): boolean {
    return typeof thing === 'string' ? isKey(thing) : isS3State(thing);
  }

  begin(uploadId: string): UploadState {
    return toUploadState({ upload: newUploadName(uploadId), size: 0, parts: [] });
  }

  async openWriter(state: UploadState, offset: number, options?: WriterOptions): Promise<UploadWriter> {
    const writer = new S3UploadWriter(
      { ...this.#options, bucket: this.#bucket, buffers: this.#buffers, tails: this.#tails },
      cut(parseState(state), offset),
      options,
    );
    try {
      await writer.open();
      return writer;
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  async *readUpload(state: UploadState, length: number): AsyncGenerator<Buffer, undefined> {
    const { upload, size, parts, tail, whole } = parseState(state);
    if (length === 0) return;
    refuseMore(upload, size, length);
    if (parts.length > 0) throw new UploadUnreadableError(`the parts of ${upload} can be read when it is an object`);
    if (whole !== true && tail === undefined) throw new ObjectMissingError(`${upload} has no bytes`);
    const key = tail === undefined || whole === true ? keyOf(upload) : tailKey(upload, tail);
    yield* await openRange(this.#bucket, key, { start: 0, length });
  }

  async commit(state: UploadState, _digest: Digest, size: number): Promise<StorageKey> {
    const parsed = parseState(state);
    if (parsed.size === 0 && size > 0) throw new ObjectMissingError(`${parsed.upload} has no bytes`);
    if (parsed.size !== size) throw new ObjectSizeError(`${parsed.upload} has ${parsed.size} bytes instead of ${size}`);
    return commit({ bucket: this.#bucket, buffers: this.#buffers, tails: this.#tails }, parsed);
  }

  objectOf(state: UploadState): StorageKey {
    return keyOf(parseState(state).upload);
  }

  async abort(state: UploadState): Promise<void> {
    const { upload, multipart } = parseState(state);
    const key = keyOf(upload);
    for (const id of multipart === undefined ? await this.#bucket.multipartsOf(key) : [multipart])
      await this.#bucket.abortMultipart(key, id);
    await this.#tails.deleteAll(upload);
  }

  async read(key: StorageKey, range: ByteRange): Promise<AsyncIterable<Buffer>> {
    return openRange(this.#bucket, parseKey(key), range);
  }

  async presign(key: StorageKey): Promise<string | null> {
    const { redirect } = this.#options;
    return redirect === undefined ? null : this.#bucket.presign(parseKey(key), redirect.expirySeconds);
  }

  async delete(key: StorageKey): Promise<void> {
    await this.#bucket.delete(parseKey(key));
  }

  /**
   * Of an object that came in parts, Amazon keeps the time of the first one: it may be older than its commit by as long as its
   * upload took.
   */
  async *listObjects(): AsyncGenerator<StoredObject, undefined> {
    for await (const { key, size, modifiedAt } of this.#bucket.list(objectsFolder)) {
      if (isKey(key)) yield { key, size, modifiedAt: atTheLatest(modifiedAt) };
    }
  }

  /** Those with a tail. Multipart uploads are listed by no server reliably: they are known by what `note` was told. */
  async *listUploads(): AsyncGenerator<StoredUpload, undefined> {
    let last: { upload: UploadName; state: UploadState; modifiedAt: Date } | undefined;
    for await (const { key, size, modifiedAt } of this.#bucket.list(uploadsFolder)) {
      const parsed = parseTailKey(key);
      if (parsed === undefined) continue;
      const { upload, tail } = parsed;
      if (last?.upload === upload) {
        // One of them counts, but not even its time tells which. Either way the upload can be aborted.
        last.state = toUploadState({ upload, size: 0, parts: [] });
        if (modifiedAt > last.modifiedAt) last.modifiedAt = modifiedAt;
        continue;
      }
      if (last !== undefined) yield last;
      last = { upload, state: stateOfTail(upload, tail, size), modifiedAt };
    }
    if (last !== undefined) yield last;
  }

  /** @throws StorageUnusableError */
  start(): Promise<void> {
    return proveUsable(this.#bucket, this.#options);
  }

  ping(msMax: number): Promise<void> {
    return this.#bucket.ping(msMax);
  }

  async close(): Promise<void> {
    this.#bucket.close();
  }
}

/** The state without what lies behind the first bytes. @throws ObjectMissingError, ObjectSizeError, UploadUnreadableError */
function cut(state: S3State, offset: number): S3State {
  const { upload, size, multipart, parts, tail, stale, whole } = state;
  refuseMore(upload, size, offset);
  if (offset === size) return state;
  const kept = parts.filter((_, at) => partBytesOf(parts.slice(0, at + 1)) <= offset);
  const isInPart = kept.length < parts.length && partBytesOf(kept) < offset;
  if (isInPart || (whole === true && offset > 0))
    throw new UploadUnreadableError(`${upload} cannot be cut at ${offset}`);
  return {
    upload,
    size: offset,
    parts: kept,
    ...(multipart !== undefined && { multipart }),
    ...(tail !== undefined && { tail }),
    ...(stale !== undefined && { stale }),
  };
}

function refuseMore(upload: UploadName, size: number, wanted: number): void {
  if (wanted > 0 && size === 0) throw new ObjectMissingError(`${upload} has no bytes`);
  if (wanted > size) throw new ObjectSizeError(`${upload} has ${size} bytes, fewer than the ${wanted} promised`);
}

/** What can be told of an upload from its only tail: all, unless there are parts before it. */
function stateOfTail(upload: UploadName, tail: TailName, bytes: number): UploadState {
  return toUploadState(
    offsetOf(tail) === 0 ? { upload, size: bytes, parts: [], tail } : { upload, size: 0, parts: [] },
  );
}

/** Servers that keep seconds leave off the rest. */
function atTheLatest(time: Date): Date {
  return time.getMilliseconds() === 0 ? new Date(time.getTime() + 999) : time;
}
