/** The tails of unfinished uploads: objects for bytes that are too few for a part. */
import { LRUCache } from 'lru-cache';
import { ObjectSizeError } from '../port.ts';
import { freeBuffer } from '../free-buffer.ts';
import type { UploadName } from '../layout.ts';
import { readInto } from './answer.ts';
import type { Bucket } from './bucket.ts';
import { newTailName, parseTailKey, tailKey, tailsOf } from './keys.ts';
import type { TailName } from './keys.ts';

/** What this process wrote lately need not be read again by the next request. */
const rememberedBytesMax = 8 * 1024 * 1024;

export class Tails {
  readonly #bucket: Bucket;
  readonly #remembered = new LRUCache<string, Buffer>({
    maxSize: rememberedBytesMax,
    sizeCalculation: ({ length }) => length,
    dispose: freeBuffer,
  });

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /** Stores bytes that lie `offset` bytes into the upload, under a name of their own. */
  async write(
    upload: UploadName,
    offset: number,
    bytes: Buffer,
    { signal, remember }: { readonly signal: AbortSignal; readonly remember: boolean },
  ): Promise<TailName> {
    const tail = newTailName(offset);
    const key = tailKey(upload, tail);
    await this.#bucket.put(key, bytes, { signal });
    if (remember && bytes.length <= rememberedBytesMax) {
      const copy = Buffer.allocUnsafeSlow(bytes.length);
      bytes.copy(copy);
      this.#remembered.set(key, copy);
    }
    return tail;
  }

  /**
   * Reads the first bytes of a tail, enough to fill the buffer.
   * @throws ObjectMissingError; ObjectSizeError when it has fewer
   */
  async readInto(target: Buffer, upload: UploadName, tail: TailName): Promise<void> {
    if (target.length === 0) return;
    const key = tailKey(upload, tail);
    const known = this.#remembered.get(key);
    if (known !== undefined && known.length >= target.length) {
      known.copy(target);
      return;
    }
    const answer = await this.#bucket.get(key, { start: 0, length: target.length });
    if (answer.length !== target.length) {
      answer.destroy();
      throw new ObjectSizeError(`${key} has ${answer.length} bytes, fewer than the ${target.length} promised`);
    }
    await readInto(target, answer);
  }

  /** Tidies up; what cannot be deleted now is found by a listing later. */
  async deleteSome(upload: UploadName, tails: readonly (TailName | undefined)[]): Promise<void> {
    await Promise.all(
      tails.map(async (tail) => {
        if (tail === undefined) return;
        this.#remembered.delete(tailKey(upload, tail));
        await this.#bucket.delete(tailKey(upload, tail)).catch(() => undefined);
      }),
    );
  }

  /** Deletes every tail of an upload, whoever wrote it. */
  async deleteAll(upload: UploadName): Promise<void> {
    for await (const { key } of this.#bucket.list(tailsOf(upload))) {
      if (parseTailKey(key) === undefined) continue;
      this.#remembered.delete(key);
      await this.#bucket.delete(key);
    }
  }
}
