/** Blobs as files below one folder. `layout.ts` draws the tree. */
import { access, constants, opendir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Digest } from '../../oci/digest.ts';
import {
  isObjectKey,
  isUploadName,
  newUploadName,
  objectKey,
  parseObjectKey,
  recognizes,
  stateOf,
  uploadNameOf,
  uploadPath,
} from '../layout.ts';
import { ObjectMissingError, ObjectSizeError, StorageUnavailableError } from '../port.ts';
import type {
  BlobStore,
  ByteRange,
  StorageKey,
  StoredObject,
  StoredUpload,
  UploadState,
  UploadWriter,
} from '../port.ts';
import { fsync, look, making, orMissing, reading, rename, unlink, withOpen } from './files.ts';
import { Folders } from './folders.ts';
import { openRange } from './reader.ts';
import { proveUsable } from './start.ts';
import { DiskUploadWriter, openForAppending } from './writer.ts';

export class DiskBlobStore implements BlobStore {
  readonly #root: string;
  readonly #folders = new Folders();

  /** `root`: the folder that holds everything; `start` makes it. Several processes may use it at once. */
  constructor(root: string) {
    this.#root = root;
  }

  recognizes(thing: StorageKey | UploadState): boolean {
    return recognizes(thing);
  }

  begin(uploadId: string): UploadState {
    return stateOf(newUploadName(uploadId));
  }

  async openWriter(state: UploadState, offset: number): Promise<UploadWriter> {
    const path = this.#uploadPath(state);
    const fd = await openForAppending(path, offset);
    // Behind an offset of 0 no `finish` has vouched for the file's name, whoever made it.
    const syncName = offset === 0 ? () => this.#folders.sync(dirname(path)) : undefined;
    return new DiskUploadWriter(fd, offset, state, syncName);
  }

  async *readUpload(state: UploadState, length: number): AsyncGenerator<Buffer, undefined> {
    const path = this.#uploadPath(state);
    if (length > 0) yield* await openRange(path, { start: 0, length });
  }

  async commit(state: UploadState, digest: Digest, size: number): Promise<StorageKey> {
    const name = uploadNameOf(state);
    const key = objectKey(name, digest);
    const source = join(this.#root, uploadPath(name));
    const target = join(this.#root, key);
    const folder = dirname(target);
    try {
      await this.#place(source, target, size);
    } catch (error) {
      if (!(error instanceof ObjectMissingError)) throw error;
      // Either another commit of this upload was faster, or somebody has tidied the folder away: the second look tells.
      this.#folders.forget(folder);
      this.#folders.forget(dirname(folder));
      await this.#place(source, target, size);
    }
    // Also when the object was there already: the commit that put it there may have died before this line.
    await this.#folders.sync(folder);
    return key;
  }

  /** Brings the upload's file to its place, unless an earlier commit did. */
  async #place(source: string, target: string, size: number): Promise<void> {
    await this.#folders.ensure(dirname(dirname(target)));
    await this.#folders.ensure(dirname(target));
    // In this order: looked at the other way round, a commit between the two looks would show neither.
    const upload = await look(source);
    const object = await look(target);
    const found = object ?? upload;
    if (found !== undefined && found.size !== size) {
      throw new ObjectSizeError(`${object === undefined ? source : target} has ${found.size} bytes instead of ${size}`);
    }
    if (object !== undefined) return withOpen(target, reading, fsync);
    if (upload !== undefined) return rename(source, target);
    if (size > 0) throw new ObjectMissingError(`nothing is stored at ${source}`);
    return this.#makeEmpty(target);
  }

  async #makeEmpty(target: string): Promise<void> {
    try {
      await withOpen(target, making, fsync);
    } catch (error) {
      // Another commit of the same empty upload was faster.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }

  /** The key has the digest in it. */
  objectOf(): null {
    return null;
  }

  async abort(state: UploadState): Promise<void> {
    await orMissing(unlink(this.#uploadPath(state)));
  }

  async read(key: StorageKey, range: ByteRange): Promise<AsyncIterable<Buffer>> {
    return openRange(this.#objectPath(key), range);
  }

  async delete(key: StorageKey): Promise<void> {
    const path = this.#objectPath(key);
    await orMissing(unlink(path));
    // Also when nothing was there: the delete that took it may have died before this line.
    await orMissing(this.#folders.sync(dirname(path)));
  }

  async *listObjects(): AsyncGenerator<StoredObject, undefined> {
    for await (const algorithm of entries(join(this.#root, 'blobs'))) {
      for await (const fan of entries(join(this.#root, 'blobs', algorithm))) {
        const folder = `blobs/${algorithm}/${fan}`;
        for await (const name of entries(join(this.#root, folder))) {
          const key = `${folder}/${name}`;
          if (!isObjectKey(key)) continue;
          const stats = await look(join(this.#root, key));
          // The change time too: a rename sets it, so that an object is never older than its commit.
          if (stats !== undefined) yield { key, size: stats.size, modifiedAt: later(stats.mtime, stats.ctime) };
        }
      }
    }
  }

  async *listUploads(): AsyncGenerator<StoredUpload, undefined> {
    for await (const name of entries(join(this.#root, 'uploads'))) {
      if (!isUploadName(name)) continue;
      const stats = await look(join(this.#root, uploadPath(name)));
      if (stats !== undefined) yield { state: stateOf(name), modifiedAt: stats.mtime };
    }
  }

  /** @throws StorageUnusableError */
  start(): Promise<void> {
    return proveUsable(this, this.#root, this.#folders);
  }

  async ping(): Promise<void> {
    try {
      await access(this.#root, constants.R_OK | constants.W_OK);
    } catch (error) {
      throw new StorageUnavailableError(`${this.#root} cannot be reached`, { cause: error });
    }
  }

  async close(): Promise<void> {
    // Nothing is held between calls: readers and writers own their descriptors.
  }

  #uploadPath(state: UploadState): string {
    return join(this.#root, uploadPath(uploadNameOf(state)));
  }

  #objectPath(key: StorageKey): string {
    return join(this.#root, parseObjectKey(key));
  }
}

/** Names in a folder; none when it is missing or not a folder. */
async function* entries(folder: string): AsyncGenerator<string, undefined> {
  let opened;
  try {
    opened = await opendir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return;
    throw error;
  }
  for await (const entry of opened) yield entry.name;
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}
