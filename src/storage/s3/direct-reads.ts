/**
 * Long ranges of objects, asked for past the SDK and Node's client of HTTP. Only what S3 answers as it should is taken from
 * here; whatever else happens, the SDK is asked, which tries again and knows what errors mean.
 */
import type { ByteRange } from '../port.ts';
import { StorageUnavailableError } from '../port.ts';
import type { Answer } from './answer.ts';
import { lentBytes } from '../lent-buffers.ts';
import { DirectConnection } from './direct-connection.ts';

export interface DirectReadsOptions {
  readonly socketsMax: number;
  readonly connectTimeoutMs: number;
  /** For which an answer may stand still while somebody wants more of it. */
  readonly timeoutMs: number;
}

/**
 * The first few connections may read a whole socket's worth at once. In twelve runs of `npm run bench -- 'S3: 512 MiB GET'` that
 * was 0.7 to 1.4 times docker-registry's rate (median 1.1), in three with 1 MiB 0.9 to 1.0 times; through the SDK 0.5 to 0.6.
 */
const largeBufferBytes = 4 * 1024 * 1024;
const largeBuffersMax = 4;
const idleMax = 4;
/** The next layer of an image is asked for sooner; and the buffer is worth more to others. */
const idleMsMax = 1000;

export class DirectReads {
  readonly #options: DirectReadsOptions;
  readonly #open = new Set<DirectConnection>();
  #idle: DirectConnection[] = [];
  /** Whether a range was ever answered in another way than the one known here: the server will go on so. */
  #isOtherwise = false;

  constructor(options: DirectReadsOptions) {
    this.#options = options;
  }

  /**
   * @param address that is signed, of `http:`; always of the same server
   * @param timeoutMs until the answer begins
   * @returns undefined when S3 answers anything else than these bytes, nothing in time, or has enough connections
   */
  async get(address: URL, range: ByteRange, timeoutMs: number): Promise<Answer | undefined> {
    const connection = this.#isOtherwise ? undefined : this.#take(address);
    if (connection === undefined) return undefined;
    try {
      const head = await connection.ask(requestOf(address, range), timeoutMs);
      if (isRange(head, range)) return this.#answer(connection, range.length, /^connection: *close/im.test(head));
      this.#isOtherwise = /^HTTP\/\S+ 2/.test(head) && !isPlainPart(head);
    } catch (error) {
      if (!(error instanceof StorageUnavailableError)) throw error;
    }
    connection.destroy();
    return undefined;
  }

  close(): void {
    for (const connection of this.#open) connection.destroy();
  }

  #take({ hostname, port }: URL): DirectConnection | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) if (!idle.isBroken) return idle;
    if (this.#open.size >= this.#options.socketsMax) return undefined;
    const connection = new DirectConnection({
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port: Number(port || 80),
      connectTimeoutMs: this.#options.connectTimeoutMs,
      bufferBytes: this.#open.size < largeBuffersMax ? largeBufferBytes : lentBytes,
      onClose: () => {
        this.#open.delete(connection);
        this.#idle = this.#idle.filter((idle) => idle !== connection);
      },
    });
    this.#open.add(connection);
    return connection;
  }

  #answer(connection: DirectConnection, length: number, isLast: boolean): Answer {
    let left = length;
    let isOver = false;
    const finish = (): void => {
      isOver = true;
      if (isLast || this.#idle.length >= idleMax) return connection.destroy();
      connection.rest(idleMsMax);
      this.#idle.push(connection);
    };
    return {
      length,
      next: async () => {
        if (left === 0) {
          if (!isOver) finish();
          return undefined;
        }
        const bytes = await connection.next(this.#options.timeoutMs);
        if (bytes.length > left) throw new StorageUnavailableError('S3 sends more than it said');
        left -= bytes.length;
        return bytes;
      },
      destroy() {
        // From then on it may serve another answer.
        if (!isOver) connection.destroy();
        isOver = true;
      },
    };
  }
}

function requestOf({ pathname, search, host }: URL, { start, length }: ByteRange): string {
  const range = `bytes=${start}-${start + length - 1}`;
  return `GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nAccept-Encoding: identity\r\nRange: ${range}\r\n\r\n`;
}

/** Whether these bytes follow, and all of them. */
function isRange(head: string, { start, length }: ByteRange): boolean {
  const last = start + length - 1;
  return (
    isPlainPart(head) &&
    new RegExp(`^content-range: *bytes ${start}-${last}/`, 'im').test(head) &&
    new RegExp(`^content-length: *${length} *$`, 'im').test(head)
  );
}

/** A part of the object, byte by byte. */
const isPlainPart = (head: string): boolean =>
  head.startsWith('HTTP/1.1 206 ') && !/^(transfer|content)-encoding:/im.test(head);
