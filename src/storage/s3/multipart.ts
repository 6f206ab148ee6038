/** The parts of one upload on their way to S3, some at a time. */
import type { WriterOptions } from '../port.ts';
import type { Bucket } from './bucket.ts';
import { keyOf } from './keys.ts';
import { partNumberMax } from './options.ts';
import { partBytesOf, toUploadState } from './state.ts';
import type { Part, S3State } from './state.ts';

const inFlightMax = 3;
/** A writer who was never told to stop may still send some parts under the numbers that come next. */
const numbersLeftToOldWriter = 16;

export class MultipartSender {
  readonly #bucket: Bucket;
  readonly #before: S3State;
  readonly #note: WriterOptions['note'];
  readonly #signal: AbortSignal;
  readonly #arrived: Part[];
  readonly #inFlight = new Set<Promise<void>>();
  #nextNumber: number;
  #sentBytes: number;
  #id: Promise<string> | undefined;
  #fault: unknown;

  /** @param before goes on behind its parts */
  constructor(bucket: Bucket, before: S3State, signal: AbortSignal, { note, takenOver }: WriterOptions) {
    this.#bucket = bucket;
    this.#before = before;
    this.#note = note;
    this.#signal = signal;
    this.#arrived = [...before.parts];
    this.#sentBytes = partBytesOf(before.parts);
    const last = before.parts.at(-1)?.n ?? 0;
    // Nor is it known which numbers parts have that do not count any more.
    const isDisputed = takenOver === true || (before.multipart !== undefined && last === 0);
    this.#nextNumber = last + 1 + (isDisputed ? numbersLeftToOldWriter : 0);
    if (before.multipart !== undefined) this.#id = Promise.resolve(before.multipart);
  }

  /** Bytes in parts, those on their way too. */
  get bytes(): number {
    return this.#sentBytes;
  }

  get count(): number {
    return this.#arrived.length + this.#inFlight.size;
  }

  /** Whether another part can go at once. */
  get isFree(): boolean {
    return this.#inFlight.size < inFlightMax;
  }

  get hasBegun(): boolean {
    return this.#id !== undefined;
  }

  get hasFailed(): boolean {
    return this.#fault !== undefined;
  }

  throwIfFailed(): void {
    if (this.#fault !== undefined) throw this.#fault as Error;
  }

  /** Sends a part behind all others. `arrived` is called when its bytes are not needed any more, whether S3 has them or not. */
  send(body: Buffer, arrived: () => void): void {
    const n = this.#nextNumber;
    this.#nextNumber += 1;
    this.#sentBytes += body.length;
    const sent = this.#sendPart(n, body)
      .catch((error: unknown) => {
        this.#fault ??= error;
      })
      .finally(() => {
        this.#inFlight.delete(sent);
        arrived();
      });
    this.#inFlight.add(sent);
  }

  /** Until another part can go. @throws what has gone wrong with an earlier one */
  async free(): Promise<void> {
    while (!this.isFree) await Promise.race(this.#inFlight);
    this.throwIfFailed();
  }

  /** Until nothing is on its way. Never rejects. */
  async settled(): Promise<void> {
    await Promise.all(this.#inFlight);
  }

  /** What S3 has. To be asked when nothing is on its way. @throws what has gone wrong */
  async parts(): Promise<Pick<S3State, 'multipart' | 'parts'>> {
    await this.settled();
    this.throwIfFailed();
    const multipart = await this.#id;
    return {
      parts: this.#arrived.toSorted((a, b) => a.n - b.n),
      ...(multipart !== undefined && { multipart }),
    };
  }

  async #sendPart(n: number, body: Buffer): Promise<void> {
    if (n > partNumberMax) throw new Error(`an upload to S3 has at most ${partNumberMax} parts`);
    const multipart = await (this.#id ??= this.#create());
    const key = keyOf(this.#before.upload);
    this.#arrived.push(await this.#bucket.uploadPart(key, multipart, { n, body }, this.#signal));
  }

  /**
   * Not every server lists multipart uploads, so one is noted before it has a byte; and its name before that, by which a server
   * that lists them finds it, should its id never be heard.
   */
  async #create(): Promise<string> {
    const { upload } = this.#before;
    const place = { upload, size: 0, parts: [] };
    await this.#note?.(toUploadState(place));
    this.#signal.throwIfAborted();
    // Not given up half-way: nobody would learn its id.
    const multipart = await this.#bucket.createMultipart(keyOf(upload));
    try {
      this.#signal.throwIfAborted();
      await this.#note?.(toUploadState({ ...place, multipart }));
    } catch (error) {
      await this.#bucket.abortMultipart(keyOf(upload), multipart).catch(() => undefined);
      throw error;
    }
    return multipart;
  }
}
