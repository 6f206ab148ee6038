/** A connection to S3 for long answers. What comes is read straight into a buffer of its own, and goes on from there. */
import { connect, type Socket } from 'node:net';
import { freeBuffer } from '../free-buffer.ts';
import { StorageUnavailableError } from '../port.ts';
import { Arrival } from './arrival.ts';

export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly connectTimeoutMs: number;
  readonly bufferBytes: number;
  /** Told once, when the connection is no more, whoever ended it. */
  readonly onClose: () => void;
}

const headBytesMax = 64 * 1024;

/**
 * Node's client reads 64 KiB at a time, parses them, and copies them; here nothing is left but the system calls, and few of
 * them. Over TCP only: from TLS pieces may still come after a stop, over those that were not taken yet.
 */
export class DirectConnection {
  readonly #socket: Socket;
  readonly #buffer: Buffer;
  /** A piece of the buffer. While it waits, nothing is read. */
  #waiting: Buffer | undefined;
  #isIdle = false;
  readonly #arrival = new Arrival();

  constructor({ host, port, connectTimeoutMs, bufferBytes, onClose }: ConnectionOptions) {
    this.#buffer = Buffer.allocUnsafeSlow(bufferBytes);
    const onread = {
      buffer: this.#buffer,
      callback: (length: number): boolean => {
        // Nobody has asked for anything.
        if (this.#isIdle) this.destroy();
        this.#waiting = this.#buffer.subarray(0, length);
        this.#arrival.happen();
        return false;
      },
    };
    this.#socket = connect({ host, port, noDelay: true, onread });
    const late = setTimeout(() => this.#socket.destroy(new Error('S3 does not accept a connection')), connectTimeoutMs);
    this.#socket.once('connect', () => clearTimeout(late));
    this.#socket.once('close', () => {
      clearTimeout(late);
      this.#arrival.fail(new Error('S3 closed the connection'));
      // Nobody has a piece of it then. The garbage collector would take its time.
      if (this.#isIdle) freeBuffer(this.#buffer);
      onClose();
    });
    this.#socket.once('end', () => this.#arrival.fail(new Error('S3 ended the connection')));
    this.#socket.on('error', (error) => this.#arrival.fail(error));
    this.#socket.on('timeout', () => this.destroy());
  }

  get isBroken(): boolean {
    return this.#arrival.fault !== undefined;
  }

  /**
   * Sends a request without a body.
   * @returns the head of the answer, without its empty line; what follows is read with `next`
   * @throws StorageUnavailableError when there is none in time
   */
  async ask(request: string, timeoutMs: number): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    this.#isIdle = false;
    this.#socket.setTimeout(0);
    this.#socket.write(request, 'latin1');
    let head = Buffer.alloc(0);
    while (head.length < headBytesMax) {
      const piece = await this.next(deadline - performance.now());
      head = Buffer.concat([head, piece]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) continue;
      const rest = head.length - (end + 4);
      if (rest > 0) this.#waiting = piece.subarray(piece.length - rest);
      return head.toString('latin1', 0, end);
    }
    throw new StorageUnavailableError(`S3 answers with headers of more than ${headBytesMax} bytes`);
  }

  /**
   * What comes next, lent until the next call.
   * @throws StorageUnavailableError when nothing does, or not in time
   */
  async next(timeoutMs: number): Promise<Buffer> {
    if (this.#waiting === undefined && !this.isBroken) {
      this.#socket.resume();
      await this.#arrival.wait(timeoutMs, () => this.destroy());
    }
    const bytes = this.#waiting;
    if (bytes === undefined)
      throw new StorageUnavailableError('S3 broke off an answer', { cause: this.#arrival.fault });
    this.#waiting = undefined;
    return bytes;
  }

  /** Until it is asked again it is closed when S3 closes it, says something, or after so much time. */
  rest(msMax: number): void {
    this.#isIdle = true;
    if (this.#waiting !== undefined) return this.destroy();
    this.#socket.setTimeout(msMax);
    this.#socket.resume();
  }

  /** Whoever waits is told that the answer broke off. Idempotent. */
  destroy(): void {
    this.#arrival.fail(new Error('the connection was given up'));
    this.#socket.destroy();
  }
}
