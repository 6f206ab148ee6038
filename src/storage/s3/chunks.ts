/** The body of an answer, as the socket gives it: a stream's own iterator would allocate it once more. */
import { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { freeBuffer } from '../free-buffer.ts';
import { StorageUnavailableError } from '../port.ts';

/** With so many bytes waiting, S3 is made to wait. */
const waitingBytesMax = 512 * 1024;

export class Chunks {
  readonly #stream: Readable;
  readonly #timeoutMs: number;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Bytes of the first that waits. */
  #copied = 0;
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

  /**
   * Copies what has come into the front of a buffer. One call at a time.
   * @returns bytes, 0 at the end
   * @throws StorageUnavailableError when it breaks off or stands still
   */
  async readInto(target: Buffer): Promise<number> {
    if (this.#waiting.length === 0 && !this.#hasEnded && this.#fault === undefined) await this.#come();
    // One turn of the event loop: what the socket has already comes meanwhile, and goes on in one long write.
    if (!this.#hasEnded && this.#fault === undefined) await setImmediate();
    let at = 0;
    for (let chunk = this.#waiting[0]; chunk !== undefined && at < target.length; chunk = this.#waiting[0]) {
      const copied = chunk.copy(target, at, this.#copied);
      at += copied;
      this.#copied += copied;
      if (this.#copied === chunk.length) this.#drop(chunk);
    }
    if (at > 0 || this.#hasEnded) return at;
    throw new StorageUnavailableError('S3 broke off an answer', { cause: this.#fault });
  }

  #drop(chunk: Buffer): void {
    this.#waiting.shift();
    this.#copied = 0;
    this.#waitingBytes -= chunk.length;
    // The garbage collector would let hundreds of these pile up.
    freeBuffer(chunk);
    if (this.#waitingBytes < waitingBytesMax / 2 && this.#stream.isPaused()) this.#stream.resume();
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
