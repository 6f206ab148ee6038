/**
 * The storage port: where the bytes of blobs live.
 *
 * A back end moves bytes and makes them durable; it decides nothing. Which digest the bytes have, how many there are,
 * who may read them and whether they still count is decided by `registry` and recorded in PostgreSQL. Every MUST below
 * is checked by one contract suite (`test/contract/storage.ts`) that each back end passes.
 *
 * An upload's life: `begin` -> (`openWriter` -> `write`... -> `finish`)... -> `commit` | `abort`.
 */
import type { Digest } from '../oci/digest.ts';

/** Names one stored object for good. Recorded in `blobs.storage_key`; unique per upload, never reused, never replaced. */
export type StorageKey = string & { readonly __brand: 'StorageKey' };

/**
 * What a back end must remember of an unfinished upload. Plain JSON, kept in `uploads.storage_state`, so that any
 * process can go on where another one stopped. Opaque to everyone but the back end that made it, except that all states of
 * one place have the same string `upload`.
 */
export type UploadState = { readonly [name: string]: string | number | boolean | null | readonly UploadState[] };

/** Part of an object: `length` bytes from `start`, both in bytes. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** One object or unfinished upload as the back end's own listing shows it. */
export interface StoredObject {
  readonly key: StorageKey;
  /** In bytes. */
  readonly size: number;
  /** Not earlier than its commit, however long before that its last byte came. */
  readonly modifiedAt: Date;
}

/** One unfinished upload as the back end's own listing shows it. */
export interface StoredUpload {
  readonly state: UploadState;
  /** When bytes last came. */
  readonly modifiedAt: Date;
}

/** Thrown by `read`, `openWriter`, `readUpload` and `commit` when the bytes are not there (never a bare ENOENT or NoSuchKey). */
export class ObjectMissingError extends Error {
  override readonly name = 'ObjectMissingError';
}

/** Thrown by `openWriter` and `commit` when fewer (or, for `commit`, more) bytes are there than were promised. */
export class ObjectSizeError extends Error {
  override readonly name = 'ObjectSizeError';
}

/** Thrown by `readUpload` when the bytes are there, but cannot be read before `commit` (the parts of a multipart upload). */
export class UploadUnreadableError extends Error {
  override readonly name = 'UploadUnreadableError';
}

/** Thrown by any write when the medium has no room left (never a bare ENOSPC). */
export class StorageFullError extends Error {
  override readonly name = 'StorageFullError';
}

/** Thrown by anything that asks the medium when it does not answer, or not in time: the same may well work later. */
export class StorageUnavailableError extends Error {
  override readonly name = 'StorageUnavailableError';
}

/** Thrown by `start`: its message is one sentence for the operator, who needs no stack trace with it. */
export class StorageUnusableError extends Error {
  override readonly name = 'StorageUnusableError';
}

/** Appends to one unfinished upload. One writer per state at a time: the caller holds the upload's lease. */
export interface UploadWriter {
  /**
   * Appends the buffers in order. Resolves when the back end is ready for more, and from then on the caller may reuse the
   * buffers. MUST NOT be called again before it has resolved. A rejected write leaves the writer unusable but for `close`.
   */
  write(buffers: readonly Buffer[]): Promise<void>;
  /**
   * Ends the writer. When it resolves every byte written MUST survive a crash of the process and of the machine, and the
   * returned state MUST be recorded by the caller together with the new offset. With `committing: true` the caller calls
   * `commit` next and acknowledges nothing before: the back end may leave to `commit` whatever `commit` does anyway.
   */
  finish(options?: { readonly committing?: boolean }): Promise<UploadState>;
  /** Lets go of handles and buffers without promising anything about bytes since the last `finish`. Idempotent; also after `finish`. */
  close(): Promise<void>;
}

export interface WriterOptions {
  /**
   * A back end whose places `listUploads` may not find MUST call this, and wait for it, before the first byte goes to a place
   * that the state given to `openWriter` does not name; its argument is a state by which `abort` frees that place. When it
   * rejects nothing was stored.
   */
  readonly note?: (state: UploadState) => Promise<void>;
  /** The last writer never gave its lease back and may still write: what it does MUST NOT reach the bytes of this one. */
  readonly takenOver?: boolean;
}

/** A place for the bytes of blobs. */
export interface BlobStore {
  /**
   * Whether a key or a state has the form of this back end's own, without looking for its bytes. MUST NOT be true of what
   * another kind of back end has made.
   */
  recognizes(thing: StorageKey | UploadState): boolean;
  /**
   * A new place for an upload's bytes. MUST differ from the place of every earlier call, also for the same upload id (a
   * stalled writer may still write into the old one). Does no I/O that could fail for lack of room.
   */
  begin(uploadId: string): UploadState;
  /**
   * Opens the upload for appending behind its first `offset` bytes. Bytes beyond `offset` (left by a crash) MUST be gone
   * before the first write.
   * @throws ObjectSizeError when fewer than `offset` bytes are there
   * @throws ObjectMissingError when `offset` > 0 and nothing is there
   */
  openWriter(state: UploadState, offset: number, options?: WriterOptions): Promise<UploadWriter>;
  /**
   * Reads back the first `length` bytes of an unfinished upload; no bytes and no error for a `length` of 0. A yielded buffer is only lent: it may be reused as soon as
   * the next one is asked for.
   * @throws ObjectMissingError, ObjectSizeError, UploadUnreadableError as the first step of the iteration or later
   */
  readUpload(state: UploadState, length: number): AsyncIterable<Buffer>;
  /**
   * Turns an unfinished upload of exactly `size` bytes into an object. When it resolves the object MUST survive a crash.
   * MUST NOT replace an existing object. MUST be repeatable: called again with the same arguments after a lost answer it
   * returns the same key. `digest` is for naming only: nobody checks it here. An upload of 0 bytes that was never opened
   * for writing is committed as an empty object.
   * @throws ObjectSizeError when another number of bytes is there
   * @throws ObjectMissingError when nothing is there and `size` > 0
   */
  commit(state: UploadState, digest: Digest, size: number): Promise<StorageKey>;
  /** The key that `commit` gives, or has given, whatever the digest; null where it depends on the digest. */
  objectOf(state: UploadState): StorageKey | null;
  /** Forgets an unfinished upload and frees its bytes. Idempotent; an unknown state is not an error. MUST NOT touch a committed object. */
  abort(state: UploadState): Promise<void>;
  /**
   * Reads an object, or a range of it that lies within the object. Rejects before the first byte when the object is missing.
   * Yielded buffers are only lent: each may be reused as soon as the next one is asked for. Ending the iteration early MUST
   * release every handle. Reading goes no further ahead than a fixed small number of bytes (back-pressure).
   * @throws ObjectMissingError
   * @throws ObjectSizeError when the object ends before the range does
   */
  read(key: StorageKey, range: ByteRange): Promise<AsyncIterable<Buffer>>;
  /**
   * An address from which whoever has it may GET the object or any range of it, whatever becomes of their rights, until it
   * expires; null where there is none for this one. Looks for no bytes.
   */
  presign?(key: StorageKey): Promise<string | null>;
  /** Deletes an object, for good when it resolves. Idempotent; a missing object is not an error. */
  delete(key: StorageKey): Promise<void>;
  /** Every committed object, in no particular order. Objects that come or go meanwhile may or may not be listed. */
  listObjects(): AsyncIterable<StoredObject>;
  /** Every unfinished upload that has bytes, in no particular order. */
  listUploads(): AsyncIterable<StoredUpload>;
  /** Proves that the back end can be used: makes its folders, writes, reads and deletes a probe. Called once at start. @throws StorageUnusableError */
  start(): Promise<void>;
  /**
   * Whether it can be reached now; cheap enough to be asked every second. Gives up after so many milliseconds.
   * @throws StorageUnavailableError
   */
  ping(msMax: number): Promise<void>;
  /** Releases what the back end holds. */
  close(): Promise<void>;
}
