/**
 * Two stores as one, while blobs move from one to the other: new uploads go to the one, and what the other still has is read,
 * finished and deleted there. Whose a key or a state is can be seen from itself, so nothing is looked for twice.
 */
import type { Digest } from '../oci/digest.ts';
import type {
  BlobStore,
  ByteRange,
  StorageKey,
  StoredObject,
  StoredUpload,
  UploadState,
  UploadWriter,
  WriterOptions,
} from './port.ts';

export class MovingBlobStore implements BlobStore {
  readonly #to: BlobStore;
  readonly #from: BlobStore;

  /** Neither may take the other's keys and states for its own. */
  constructor(to: BlobStore, from: BlobStore) {
    this.#to = to;
    this.#from = from;
  }

  recognizes(thing: StorageKey | UploadState): boolean {
    return this.#to.recognizes(thing) || this.#from.recognizes(thing);
  }

  /** What neither recognizes goes to the new one, which says so. */
  #storeOf(thing: StorageKey | UploadState): BlobStore {
    return this.#from.recognizes(thing) ? this.#from : this.#to;
  }

  begin(uploadId: string): UploadState {
    return this.#to.begin(uploadId);
  }

  openWriter(state: UploadState, offset: number, options?: WriterOptions): Promise<UploadWriter> {
    return this.#storeOf(state).openWriter(state, offset, options);
  }

  readUpload(state: UploadState, length: number): AsyncIterable<Buffer> {
    return this.#storeOf(state).readUpload(state, length);
  }

  commit(state: UploadState, digest: Digest, size: number): Promise<StorageKey> {
    return this.#storeOf(state).commit(state, digest, size);
  }

  objectOf(state: UploadState): StorageKey | null {
    return this.#storeOf(state).objectOf(state);
  }

  abort(state: UploadState): Promise<void> {
    return this.#storeOf(state).abort(state);
  }

  read(key: StorageKey, range: ByteRange): Promise<AsyncIterable<Buffer>> {
    return this.#storeOf(key).read(key, range);
  }

  async presign(key: StorageKey): Promise<string | null> {
    return (await this.#storeOf(key).presign?.(key)) ?? null;
  }

  delete(key: StorageKey): Promise<void> {
    return this.#storeOf(key).delete(key);
  }

  async *listObjects(): AsyncGenerator<StoredObject, undefined> {
    yield* this.#to.listObjects();
    yield* this.#from.listObjects();
  }

  async *listUploads(): AsyncGenerator<StoredUpload, undefined> {
    yield* this.#to.listUploads();
    yield* this.#from.listUploads();
  }

  async start(): Promise<void> {
    await this.#to.start();
    await this.#from.start();
  }

  async ping(msMax: number): Promise<void> {
    await Promise.all([this.#to.ping(msMax), this.#from.ping(msMax)]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#to.close(), this.#from.close()]);
  }
}
