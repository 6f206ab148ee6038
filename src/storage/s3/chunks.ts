/** The body of an answer, chunk by chunk as the socket gave them: a stream's own iterator would copy them together. */
import { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { freeBuffer } from '../free-buffer.ts';
import { StorageUnavailableError } from '../port.ts';

/** With so many bytes waiting, S3 is made to wait. */
const waitingBytesMax = 256 * 1024;

export class Chunks {
  readonly #stream: Readable;
  readonly #timeoutMs: number;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #hasEnded = false;
  #fault: unknown;
  #wake: (() => void) | undefined;

  /** Takes the stream over. @param timeoutMs for which it may stand still while somebody wants more of it */
  constructor(stream: Readable, timeoutMs: number) {
    this.#stream = stream;
    this.#timeoutMs = timeoutMs;
    stream.on('data', (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
      if (this.#waitingBytes >= waitingBytesMax) stream.pause();
      this.#wake?.();
    });
    stream.once('end', () => {
      this.#hasEnded = true;
      this.#wake?.();
    });
    stream.on('error', (error) => this.#fail(error));
    stream.once('close', () => this.#fail(new Error('the answer broke off')));
    if (stream instanceof IncomingMessage) freeWhatIsRead(stream);
  }

  /** The next one, for good; undefined at the end. One call at a time. @throws StorageUnavailableError when it breaks off or stands still */
  async next(): Promise<Buffer | undefined> {
    if (this.#waiting.length === 0 && !this.#hasEnded && this.#fault === undefined) await this.#come();
    const chunk = this.#waiting.shift();
    if (chunk !== undefined) {
      this.#waitingBytes -= chunk.length;
      if (this.#waitingBytes < waitingBytesMax / 2 && this.#stream.isPaused()) this.#stream.resume();
      return chunk;
    }
    if (this.#hasEnded) return undefined;
    throw new StorageUnavailableError('S3 broke off an answer', { cause: this.#fault });
  }

  /** Frees the connection; whoever waits is told that the answer broke off. */
  destroy(): void {
    this.#stream.destroy();
    this.#fail(new Error('nobody wants the rest of the answer'));
  }

  async #come(): Promise<void> {
    const stall = setTimeout(() => this.#stream.destroy(new Error('S3 stands still')), this.#timeoutMs);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    clearTimeout(stall);
  }

  #fail(error: unknown): void {
    this.#fault ??= error;
    this.#wake?.();
  }
}

/**
 * Node copies each chunk out of what its socket has read, and leaves that to the garbage collector: some 60 MB until it looks.
 * We are told of it after Node was, and no longer than this answer lasts, since another request would begin to listen after us.
 */
function freeWhatIsRead(answer: IncomingMessage): void {
  const { socket } = answer;
  socket.on('data', freeBuffer);
  answer.once('end', () => socket.off('data', freeBuffer));
}
