/** What S3 answers to a GET. */
import { StorageUnavailableError } from '../port.ts';

export interface Answer {
  /** Bytes that S3 says it will send. */
  readonly length: number;
  /**
   * The next of them, lent until the next call; undefined when they were all, and what held them is then free for others. One
   * call at a time.
   * @throws StorageUnavailableError when the answer breaks off or stands still
   */
  next(): Promise<Buffer | undefined>;
  /** Frees the connection of an answer that nobody wants the rest of. Whoever waits is told that it broke off. Idempotent. */
  destroy(): void;
}

/** Reads all of an answer into the front of a buffer, as far as there is room. @throws StorageUnavailableError */
export async function readInto(target: Buffer, answer: Answer): Promise<void> {
  let at = 0;
  for (;;) {
    const bytes = await answer.next();
    if (bytes === undefined) break;
    at += bytes.copy(target, at);
  }
  if (at < Math.min(answer.length, target.length))
    throw new StorageUnavailableError(`S3 sent ${at} of ${answer.length} bytes`);
}
