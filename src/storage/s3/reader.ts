/** Reads a range of one object, and goes on where an answer broke off. */
import { ObjectMissingError, ObjectSizeError, StorageUnavailableError } from '../port.ts';
import type { ByteRange } from '../port.ts';
import type { Answer } from './answer.ts';
import type { Bucket } from './bucket.ts';

/** Answers in a row that bring not a single byte. */
const emptyAnswersMax = 3;

/**
 * Asks for the range; its bytes come as they are asked for. The caller iterates, or calls `return()` on the iterator: either
 * frees the connection.
 * @throws ObjectMissingError, ObjectSizeError
 */
export async function openRange(bucket: Bucket, key: string, range: ByteRange): Promise<AsyncIterableIterator<Buffer>> {
  if (range.length === 0) return nothingOf(bucket, key, range.start);
  return new RangeReader(bucket, key, range, await ask(bucket, key, range));
}

async function ask(bucket: Bucket, key: string, range: ByteRange): Promise<Answer> {
  const answer = await bucket.get(key, range);
  if (answer.length === range.length) return answer;
  answer.destroy();
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
  #position: number;
  #answer: Answer;
  #emptyAnswers = 0;
  #isClosed = false;

  constructor(bucket: Bucket, key: string, range: ByteRange, answer: Answer) {
    this.#bucket = bucket;
    this.#key = key;
    this.#position = range.start;
    this.#end = range.start + range.length;
    this.#answer = answer;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    while (!this.#isClosed) {
      try {
        const bytes = await this.#answer.next();
        // A consumer that has left does not want them.
        if (bytes === undefined || this.#isClosed) break;
        this.#position += bytes.length;
        this.#emptyAnswers = 0;
        return { done: false, value: bytes };
      } catch (error) {
        if (this.#isClosed) break;
        await this.#askForTheRest(error);
      }
    }
    return this.return();
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.#isClosed = true;
    this.#answer.destroy();
    return { done: true, value: undefined };
  }

  /** What an object has at a place never changes, so the rest of an answer may come with another one. */
  async #askForTheRest(error: unknown): Promise<void> {
    this.#answer.destroy();
    if (!(error instanceof StorageUnavailableError) || this.#emptyAnswers === emptyAnswersMax) throw error;
    this.#emptyAnswers += 1;
    const rest = { start: this.#position, length: this.#end - this.#position };
    this.#answer = await ask(this.#bucket, this.#key, rest);
    // Its consumer may have left meanwhile.
    if (this.#isClosed) this.#answer.destroy();
  }
}
