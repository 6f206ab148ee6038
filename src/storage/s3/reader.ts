/** Reads a range of one object, and goes on where an answer broke off. */
import { ObjectMissingError, ObjectSizeError, StorageUnavailableError } from '../port.ts';
import type { ByteRange } from '../port.ts';
import type { Body, Bucket } from './bucket.ts';

/** Answers in a row that bring not a single byte. */
const emptyAnswersMax = 3;

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
  #body: Body;
  #chunks: AsyncIterator<Buffer>;
  #emptyAnswers = 0;
  #isClosed = false;

  constructor(bucket: Bucket, key: string, range: ByteRange, timeoutMs: number, body: Body) {
    this.#bucket = bucket;
    this.#key = key;
    this.#position = range.start;
    this.#end = range.start + range.length;
    this.#timeoutMs = timeoutMs;
    this.#body = body;
    this.#chunks = this.#iterate(body);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    for (;;) {
      if (this.#isClosed || this.#position === this.#end) return this.return();
      const chunk = await this.#nextChunk().catch((error: unknown) => this.#reopen(error));
      if (this.#isClosed) return this.return();
      if (chunk === undefined) continue;
      this.#position += chunk.length;
      this.#emptyAnswers = 0;
      return { done: false, value: chunk };
    }
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#isClosed = true;
    // An answer that was read to its end gives its connection back; any other one would keep it for ever.
    this.#body.stream.destroy();
    return { done: true, value: undefined };
  }

  #iterate({ stream }: Body): AsyncIterator<Buffer> {
    return stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** @throws when the answer breaks off, or stands still */
  async #nextChunk(): Promise<Buffer> {
    const { stream } = this.#body;
    const stall = setTimeout(() => stream.destroy(new Error('S3 stands still')), this.#timeoutMs);
    try {
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Error('the answer ended early');
      return value;
    } finally {
      clearTimeout(stall);
    }
  }

  /** What an object has at a place never changes, so the rest of an answer may come with another one. */
  async #reopen(cause: unknown): Promise<undefined> {
    if (this.#isClosed) return;
    this.#emptyAnswers += 1;
    this.#body.stream.destroy();
    if (this.#emptyAnswers > emptyAnswersMax) {
      this.#isClosed = true;
      throw new StorageUnavailableError(`S3 breaks off its answers (GetObject ${this.#key})`, { cause });
    }
    const rest = { start: this.#position, length: this.#end - this.#position };
    this.#body = await ask(this.#bucket, this.#key, rest);
    this.#chunks = this.#iterate(this.#body);
    // Left while it was being asked for.
    if (this.#isClosed) this.#body.stream.destroy();
  }
}
