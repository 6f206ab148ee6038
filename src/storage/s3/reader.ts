/** Reads a range of one object, and goes on where an answer broke off. */
import { borrow, giveBack, lentBytes } from '../lent-buffers.ts';
import { ObjectMissingError, ObjectSizeError, StorageUnavailableError } from '../port.ts';
import type { ByteRange } from '../port.ts';
import type { Body, Bucket } from './bucket.ts';
import { Chunks } from './chunks.ts';

/** Answers in a row that bring not a single byte. */
const emptyAnswersMax = 3;
/** Up to this size memory is made for it. */
const smallBytes = 64 * 1024;

/**
 * Asks for the range; its bytes come as they are asked for. The caller iterates, or calls `return()` on the iterator: either
 * frees the connection.
 * @throws ObjectMissingError, ObjectSizeError
 */
export async function openRange(
  bucket: Bucket,
  key: string,
  range: ByteRange,
  timeoutMs: number,
): Promise<AsyncIterableIterator<Buffer>> {
  if (range.length === 0) return nothingOf(bucket, key, range.start);
  return new RangeReader(bucket, key, range, timeoutMs, await ask(bucket, key, range));
}

async function ask(bucket: Bucket, key: string, range: ByteRange): Promise<Body> {
  const body = await bucket.get(key, range);
  if (body.length === range.length) return body;
  body.stream.destroy();
  throw new ObjectSizeError(`${key} ends before byte ${range.start + range.length}`);
}

async function nothingOf(bucket: Bucket, key: string, start: number): Promise<AsyncIterableIterator<Buffer>> {
  const size = await bucket.sizeOf(key);
  if (size === undefined) throw new ObjectMissingError(`S3 has nothing at ${key}`);
  if (size < start) throw new ObjectSizeError(`${key} ends before byte ${start}`);
  return (async function* (): AsyncGenerator<Buffer, undefined> {})();
}

/** Not an async generator: the `finally` of one that was never started does not run on `return()`. */
class RangeReader implements AsyncIterableIterator<Buffer> {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #end: number;
  readonly #timeoutMs: number;
  #position: number;
  #chunks: Chunks;
  #emptyAnswers = 0;
  #lent: Buffer | undefined;
  #isClosed = false;

  constructor(bucket: Bucket, key: string, range: ByteRange, timeoutMs: number, { stream }: Body) {
    this.#bucket = bucket;
    this.#key = key;
    this.#position = range.start;
    this.#end = range.start + range.length;
    this.#timeoutMs = timeoutMs;
    this.#chunks = new Chunks(stream, timeoutMs);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    for (;;) {
      if (this.#isClosed || this.#position === this.#end) return this.#finish();
      // Asking for more gave the lent buffer back.
      this.#lent ??= this.#buffer();
      const length = await this.#read(this.#lent);
      if (this.#isClosed) return this.return();
      if (length === 0) continue;
      this.#position += length;
      this.#emptyAnswers = 0;
      return { done: false, value: this.#lent.subarray(0, length) };
    }
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#isClosed = true;
    // A consumer that leaves early may have its last buffer still on the way out: no other reader gets that one.
    this.#lent = undefined;
    // An answer that was read to its end has given its connection back; any other one would keep it for ever.
    this.#chunks.destroy();
    return { done: true, value: undefined };
  }

  #buffer(): Buffer {
    const left = this.#end - this.#position;
    return left > smallBytes ? borrow() : Buffer.allocUnsafeSlow(left);
  }

  #finish(): Promise<IteratorResult<Buffer, undefined>> {
    if (this.#lent?.length === lentBytes) giveBack(this.#lent);
    return this.return();
  }

  /** @returns bytes; 0 where another answer had to be begun. @throws StorageUnavailableError */
  async #read(target: Buffer): Promise<number> {
    try {
      const length = await this.#chunks.readInto(target);
      if (length > 0) return length;
    } catch (error) {
      if (!(error instanceof StorageUnavailableError) || this.#emptyAnswers === emptyAnswersMax) throw error;
    }
    if (this.#isClosed) return 0;
    this.#emptyAnswers += 1;
    if (this.#emptyAnswers > emptyAnswersMax) throw new StorageUnavailableError(`S3 sends nothing of ${this.#key}`);
    // What an object has at a place never changes, so the rest of an answer may come with another one.
    this.#chunks.destroy();
    const rest = { start: this.#position, length: this.#end - this.#position };
    this.#chunks = new Chunks((await ask(this.#bucket, this.#key, rest)).stream, this.#timeoutMs);
    return 0;
  }
}
