/** An answer to the SDK. Its body is taken as the socket gives it: a stream's own iterator would allocate it once more. */
import { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { freeBuffer } from '../free-buffer.ts';
import { borrow, giveBack, lentBytes } from '../lent-buffers.ts';
import { StorageUnavailableError } from '../port.ts';
import type { Answer } from './answer.ts';
import { Arrival } from './arrival.ts';

/** With so many bytes waiting, S3 is made to wait. */
const waitingBytesMax = 512 * 1024;
/** Up to this length memory is made for an answer. */
const smallBytes = 64 * 1024;

export class StreamedAnswer implements Answer {
  readonly length: number;
  readonly #stream: Readable;
  readonly #timeoutMs: number;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Bytes of the first that waits. */
  #copied = 0;
  #left: number;
  #lent: Buffer | undefined;
  #hasEnded = false;
  #isFinished = false;
  readonly #arrival = new Arrival();

  /** Takes the stream over. @param timeoutMs for which it may stand still while somebody wants more of it */
  constructor(stream: Readable, length: number, timeoutMs: number) {
    this.#stream = stream;
    this.length = length;
    this.#left = length;
    this.#timeoutMs = timeoutMs;
    stream.on('data', (chunk: Buffer) => {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
      if (this.#waitingBytes >= waitingBytesMax) stream.pause();
      this.#arrival.happen();
    });
    stream.once('end', () => {
      this.#hasEnded = true;
      this.#arrival.happen();
    });
    stream.on('error', (error) => this.#arrival.fail(error));
    stream.once('close', () => this.#arrival.fail(new Error('the answer broke off')));
    if (stream instanceof IncomingMessage) freeWhatIsRead(stream);
  }

  async next(): Promise<Buffer | undefined> {
    if (this.#left === 0) return this.#finish();
    if (this.#waiting.length === 0 && !this.#isOver) await this.#come();
    // One turn of the event loop: what the socket has already comes meanwhile, and goes on in one long write.
    if (!this.#isOver) await setImmediate();
    this.#lent ??= this.length > smallBytes ? borrow() : Buffer.allocUnsafeSlow(this.length);
    const length = this.#take(this.#lent);
    if (length === 0) throw new StorageUnavailableError('S3 broke off an answer', { cause: this.#arrival.fault });
    this.#left -= length;
    return this.#lent.subarray(0, length);
  }

  destroy(): void {
    if (this.#isFinished) return;
    // Bytes that were lent may still be on their way out: no other reader gets that buffer.
    this.#lent = undefined;
    this.#stream.destroy();
    this.#arrival.fail(new Error('nobody wants the rest of the answer'));
  }

  get #isOver(): boolean {
    return this.#hasEnded || this.#arrival.fault !== undefined;
  }

  /** Copies what has come. @returns bytes */
  #take(target: Buffer): number {
    let at = 0;
    for (let chunk = this.#waiting[0]; chunk !== undefined && at < target.length; chunk = this.#waiting[0]) {
      const copied = chunk.copy(target, at, this.#copied);
      at += copied;
      this.#copied += copied;
      if (this.#copied === chunk.length) this.#drop(chunk);
    }
    return Math.min(at, this.#left);
  }

  #drop(chunk: Buffer): void {
    this.#waiting.shift();
    this.#copied = 0;
    this.#waitingBytes -= chunk.length;
    // The garbage collector would let hundreds of these pile up.
    freeBuffer(chunk);
    if (this.#waitingBytes < waitingBytesMax / 2 && this.#stream.isPaused()) this.#stream.resume();
  }

  #come(): Promise<void> {
    return this.#arrival.wait(this.#timeoutMs, () => this.#stream.destroy(new Error('S3 stands still')));
  }

  #finish(): undefined {
    if (this.#lent?.length === lentBytes) giveBack(this.#lent);
    this.#lent = undefined;
    // All has come: the stream ends by itself, and keeps its connection for the next request.
    this.#isFinished = true;
    this.#stream.resume();
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
