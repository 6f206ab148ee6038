/** Blobs in this process's memory, gone with it: for tests, and the proof that the port fits more than a disk. */
import type { Digest } from '../../oci/digest.ts';
import { newUploadName, objectKey, parseObjectKey, recognizes, stateOf, uploadNameOf } from '../layout.ts';
import type { UploadName } from '../layout.ts';
import { ObjectMissingError, ObjectSizeError, StorageFullError } from '../port.ts';
import type {
  BlobStore,
  ByteRange,
  StorageKey,
  StoredObject,
  StoredUpload,
  UploadState,
  UploadWriter,
} from '../port.ts';

const lentBytesMax = 64 * 1024;

/** Bytes at one place. `parts` grows while it is an upload. */
interface Held {
  parts: Buffer[];
  size: number;
  modifiedAt: Date;
}

export class MemoryBlobStore implements BlobStore {
  readonly #bytesMax: number;
  readonly #uploads = new Map<UploadName, Held>();
  readonly #objects = new Map<StorageKey, Held>();

  /** With more than `bytesMax` bytes in all, uploads and objects, it is full. */
  constructor(options: { readonly bytesMax?: number } = {}) {
    this.#bytesMax = options.bytesMax ?? Number.POSITIVE_INFINITY;
  }

  recognizes(thing: StorageKey | UploadState): boolean {
    return recognizes(thing);
  }

  begin(uploadId: string): UploadState {
    return stateOf(newUploadName(uploadId));
  }

  async openWriter(state: UploadState, offset: number): Promise<UploadWriter> {
    const name = uploadNameOf(state);
    const held = this.#uploads.get(name) ?? { parts: [], size: 0, modifiedAt: new Date() };
    if (offset > 0 && !this.#uploads.has(name)) throw new ObjectMissingError(`no upload ${name}`);
    if (held.size < offset) throw new ObjectSizeError(`upload ${name} has ${held.size} bytes, not ${offset}`);
    held.parts = [wholeOf(held).subarray(0, offset)];
    held.size = offset;
    this.#uploads.set(name, held);
    return new MemoryUploadWriter(held, state, (more) => this.#makeSureOfRoom(more));
  }

  async *readUpload(state: UploadState, length: number): AsyncGenerator<Buffer, undefined> {
    const name = uploadNameOf(state);
    if (length > 0) yield* lend(this.#uploads.get(name), name, { start: 0, length });
  }

  async commit(state: UploadState, digest: Digest, size: number): Promise<StorageKey> {
    const name = uploadNameOf(state);
    const key = objectKey(name, digest);
    const object = this.#objects.get(key);
    const found = object ?? this.#uploads.get(name);
    if (found === undefined && size > 0) throw new ObjectMissingError(`no upload ${name}`);
    const held = found ?? { parts: [], size: 0, modifiedAt: new Date() };
    if (held.size !== size) throw new ObjectSizeError(`upload ${name} has ${held.size} bytes, not ${size}`);
    if (object === undefined) {
      this.#objects.set(key, { parts: [wholeOf(held)], size, modifiedAt: new Date() });
      this.#uploads.delete(name);
    }
    return key;
  }

  /** The key has the digest in it. */
  objectOf(): null {
    return null;
  }

  async abort(state: UploadState): Promise<void> {
    this.#uploads.delete(uploadNameOf(state));
  }

  async read(key: StorageKey, range: ByteRange): Promise<AsyncIterable<Buffer>> {
    const held = this.#objects.get(parseObjectKey(key));
    if (held === undefined) throw new ObjectMissingError(`no object ${key}`);
    return lend(held, key, range);
  }

  async delete(key: StorageKey): Promise<void> {
    this.#objects.delete(parseObjectKey(key));
  }

  async *listObjects(): AsyncGenerator<StoredObject, undefined> {
    for (const [key, { size, modifiedAt }] of this.#objects) yield { key, size, modifiedAt };
  }

  async *listUploads(): AsyncGenerator<StoredUpload, undefined> {
    for (const [name, { modifiedAt }] of this.#uploads) yield { state: stateOf(name), modifiedAt };
  }

  async start(): Promise<void> {
    // Memory is always there.
  }

  async ping(): Promise<void> {
    // Nor does it go away.
  }

  async close(): Promise<void> {
    this.#uploads.clear();
    this.#objects.clear();
  }

  #makeSureOfRoom(more: number): void {
    let used = more;
    for (const { size } of this.#uploads.values()) used += size;
    for (const { size } of this.#objects.values()) used += size;
    if (used > this.#bytesMax) throw new StorageFullError(`no room for ${more} more bytes`);
  }
}

class MemoryUploadWriter implements UploadWriter {
  readonly #held: Held;
  readonly #state: UploadState;
  readonly #makeSureOfRoom: (more: number) => void;
  #usable = true;

  constructor(held: Held, state: UploadState, makeSureOfRoom: (more: number) => void) {
    this.#held = held;
    this.#state = state;
    this.#makeSureOfRoom = makeSureOfRoom;
  }

  async write(buffers: readonly Buffer[]): Promise<void> {
    this.#mustBeUsable();
    const copy = Buffer.concat(buffers);
    try {
      this.#makeSureOfRoom(copy.length);
    } catch (error) {
      this.#usable = false;
      throw error;
    }
    this.#held.parts.push(copy);
    this.#held.size += copy.length;
    this.#held.modifiedAt = new Date();
  }

  async finish(): Promise<UploadState> {
    this.#mustBeUsable();
    this.#usable = false;
    return this.#state;
  }

  async close(): Promise<void> {
    this.#usable = false;
  }

  #mustBeUsable(): void {
    if (!this.#usable) throw new Error('the upload writer is closed');
  }
}

function wholeOf(held: Held): Buffer {
  return held.parts.length === 1 ? held.parts[0]! : Buffer.concat(held.parts);
}

/** Yields the range through one buffer, overwritten each time: a consumer that keeps what is only lent is found out. */
async function* lend(held: Held | undefined, name: string, range: ByteRange): AsyncGenerator<Buffer, undefined> {
  if (held === undefined) throw new ObjectMissingError(`nothing is stored at ${name}`);
  const end = range.start + range.length;
  if (held.size < end) throw new ObjectSizeError(`${name} ends before byte ${end}`);
  const whole = wholeOf(held);
  const buffer = Buffer.allocUnsafeSlow(Math.min(lentBytesMax, range.length));
  for (let at = range.start; at < end; at += buffer.length) {
    const length = whole.copy(buffer, 0, at, Math.min(end, at + buffer.length));
    yield buffer.subarray(0, length);
  }
}
