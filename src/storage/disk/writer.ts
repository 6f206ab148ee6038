/** Appends to the file of one unfinished upload. */
import { ObjectSizeError } from '../port.ts';
import type { UploadState, UploadWriter } from '../port.ts';
import { close, fdatasync, open, sizeOfOpen, truncate, writeFully, writing, writingFromStart } from './files.ts';

/** So many bytes after the last one began, another sync begins behind the writes: the sync at the end then finds little left. */
const earlySyncBytes = 32 * 1024 * 1024;

/** Opens the file at `path` for appending behind its first `offset` bytes and cuts off what lies beyond. */
export async function openForAppending(path: string, offset: number): Promise<number> {
  if (offset === 0) return open(path, writingFromStart);
  const fd = await open(path, writing);
  try {
    const size = await sizeOfOpen(fd);
    if (size < offset) throw new ObjectSizeError(`${path} has ${size} bytes, fewer than the ${offset} promised`);
    if (size > offset) await truncate(fd, offset);
    return fd;
  } catch (error) {
    await close(fd);
    throw error;
  }
}

export class DiskUploadWriter implements UploadWriter {
  readonly #fd: number;
  readonly #state: UploadState;
  readonly #syncName: (() => Promise<void>) | undefined;
  #position: number;
  #unsyncedBytes = 0;
  #earlySync: Promise<void> | undefined;
  /** What the latest call is doing; `close` waits for it, for a closed descriptor's number soon belongs to another file. */
  #step: Promise<void> = Promise.resolve();
  #fault: unknown;
  #closing: Promise<void> | undefined;

  /** `fd` becomes the writer's own. `syncName` makes the file's name durable; left out when an earlier `finish` did. */
  constructor(fd: number, offset: number, state: UploadState, syncName?: () => Promise<void>) {
    this.#fd = fd;
    this.#position = offset;
    this.#state = state;
    this.#syncName = syncName;
  }

  write(buffers: readonly Buffer[]): Promise<void> {
    return this.#do(async () => {
      const written = await writeFully(this.#fd, buffers, this.#position);
      this.#position += written;
      this.#unsyncedBytes += written;
      if (this.#unsyncedBytes >= earlySyncBytes && this.#earlySync === undefined) this.#beginEarlySync();
    });
  }

  async finish(options: { readonly committing?: boolean } = {}): Promise<UploadState> {
    try {
      await this.#do(async () => {
        await this.#earlySync;
        if (this.#fault !== undefined) throw this.#fault;
        const syncName = options.committing === true ? undefined : this.#syncName;
        await Promise.all([fdatasync(this.#fd), syncName?.()]);
      });
      return this.#state;
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#letGo());
  }

  /** One step of the writer's life. After a failed one there are no more: which bytes the disk has is then unknown. */
  #do(step: () => Promise<void>): Promise<void> {
    if (this.#fault !== undefined) return Promise.reject(this.#fault);
    if (this.#closing !== undefined) return Promise.reject(new Error('the upload writer is closed'));
    return (this.#step = step().catch((error: unknown) => {
      this.#fault ??= error;
      throw error;
    }));
  }

  #beginEarlySync(): void {
    this.#unsyncedBytes = 0;
    this.#earlySync = fdatasync(this.#fd)
      .catch((error: unknown) => {
        // The system reports a lost write once: kept here, so that no later sync of the same file can seem to succeed.
        this.#fault ??= error;
      })
      .finally(() => {
        this.#earlySync = undefined;
      });
  }

  async #letGo(): Promise<void> {
    await Promise.allSettled([this.#step, this.#earlySync]);
    // What close could still report is of no use: after `finish` the bytes are safe, without it nothing was promised.
    await close(this.#fd).catch(() => undefined);
  }
}
