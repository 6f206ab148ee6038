/** Reads a range of one file with two buffers in turn: one is with the consumer while the next is being filled. */
import { borrow, giveBack, lentBytes } from '../lent-buffers.ts';
import { ObjectSizeError } from '../port.ts';
import type { ByteRange } from '../port.ts';
import { close, open, readFully, reading, sizeOfOpen } from './files.ts';

/** Up to this size one read is all, into memory of its own, and nothing stays open. */
const smallBytes = 64 * 1024;

/**
 * Opens the file and sees that it holds the range; the first byte is read when asked for. The caller iterates, or calls
 * `return()` on the iterator: either closes the file.
 */
export async function openRange(path: string, range: ByteRange): Promise<AsyncIterableIterator<Buffer>> {
  const fd = await open(path, reading);
  let handedOver = false;
  try {
    if (range.length <= smallBytes) return oneBuffer(await readSmall(fd, path, range));
    const size = await sizeOfOpen(fd);
    if (size < range.start + range.length) throw tooShort(path, range);
    handedOver = true;
    return new RangeReader(fd, path, range);
  } finally {
    if (!handedOver) await close(fd);
  }
}

async function readSmall(fd: number, path: string, range: ByteRange): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(range.length);
  if ((await readFully(fd, buffer, range.start)) < range.length) throw tooShort(path, range);
  return buffer;
}

async function* oneBuffer(buffer: Buffer): AsyncGenerator<Buffer, undefined> {
  if (buffer.length > 0) yield buffer;
}

function tooShort(path: string, range: ByteRange): ObjectSizeError {
  return new ObjectSizeError(`${path} ends before byte ${range.start + range.length}`);
}

/** Bytes in, or on their way into, the front of one of the two buffers. */
interface Filling {
  readonly buffer: Buffer;
  readonly length: number;
  readonly filled: Promise<void>;
}

/**
 * Not an async generator: the `finally` of one that was never started does not run on `return()`. One `next` at a time, as
 * `for await` does it.
 */
class RangeReader implements AsyncIterableIterator<Buffer> {
  readonly #fd: number;
  readonly #path: string;
  readonly #range: ByteRange;
  /** Bytes of the range whose reading has begun. */
  #begun = 0;
  #ahead: Filling | undefined;
  #lent: Buffer | undefined;
  #closing: Promise<void> | undefined;

  constructor(fd: number, path: string, range: ByteRange) {
    this.#fd = fd;
    this.#path = path;
    this.#range = range;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    const current = this.#closing === undefined ? (this.#ahead ??= this.#readAhead()) : undefined;
    if (current === undefined) return this.#end();
    try {
      await current.filled;
    } catch (error) {
      await this.#close();
      throw error;
    }
    if (this.#closing !== undefined) return this.#end();
    // Asking for more gave the lent buffer back: it takes the bytes after these.
    const free = this.#lent;
    this.#lent = current.buffer;
    this.#ahead = this.#readAhead(free);
    return { done: false, value: current.buffer.subarray(0, current.length) };
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    // A consumer that leaves early may have its last buffer still on the way out (a socket that is being torn down):
    // no other reader gets that one, the garbage collector does.
    this.#lent = undefined;
    return this.#end();
  }

  async #end(): Promise<IteratorResult<Buffer, undefined>> {
    await this.#close();
    return { done: true, value: undefined };
  }

  #readAhead(free?: Buffer): Filling | undefined {
    const length = Math.min(lentBytes, this.#range.length - this.#begun);
    if (length === 0) {
      if (free !== undefined) giveBack(free);
      return undefined;
    }
    const buffer = free ?? borrow();
    const filled = this.#fill(buffer.subarray(0, length), this.#range.start + this.#begun);
    // Nobody may be asking when it fails; whoever asks next still learns of it.
    filled.catch(() => undefined);
    this.#begun += length;
    return { buffer, length, filled };
  }

  async #fill(part: Buffer, position: number): Promise<void> {
    if ((await readFully(this.#fd, part, position)) < part.length) throw tooShort(this.#path, this.#range);
  }

  #close(): Promise<void> {
    return (this.#closing ??= this.#letGo());
  }

  async #letGo(): Promise<void> {
    const ahead = this.#ahead;
    // The system may still be writing into that buffer, and reading from this descriptor.
    if (ahead !== undefined) await Promise.allSettled([ahead.filled]);
    await close(this.#fd);
    for (const buffer of [ahead?.buffer, this.#lent]) if (buffer !== undefined) giveBack(buffer);
    this.#ahead = this.#lent = undefined;
  }
}
