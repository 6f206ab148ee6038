/** Appends to one unfinished upload: parts while bytes come; what is left as a last part, a tail, or the object itself. */
import type { UploadState, UploadWriter, WriterOptions } from '../port.ts';
import type { Bucket } from './bucket.ts';
import { bytesIn, evenOut, type Filled } from './filled.ts';
import { keyOf } from './keys.ts';
import type { TailName } from './keys.ts';
import { MultipartSender } from './multipart.ts';
import { partBytesMin } from './options.ts';
import type { Holder, PartBuffers } from './part-buffers.ts';
import { tailBytesOf, toUploadState } from './state.ts';
import type { S3State } from './state.ts';
import type { Tails } from './tails.ts';

/** From so many parts on, none is sent before it is full: S3 does not take any number of them. */
const shortPartsMax = 1000;
/** An upload that stands still, or fills its buffer slowly, gives it up after this when others wait for one. */
const idleMsMax = 1000;
const heldMsMax = 5000;

export interface WriterParts {
  readonly bucket: Bucket;
  readonly buffers: PartBuffers;
  readonly tails: Tails;
  readonly partBytes: number;
  readonly equalParts: boolean;
}

/**
 * What waits is in up to two buffers: `#ready` is full and `#filling` takes what comes. The first is sent when there is enough
 * for a part behind it, so that what is left in the end is never too short for one; or at once, when memory is wanted.
 */
export class S3UploadWriter implements UploadWriter, Holder {
  readonly #with: WriterParts;
  /** What is recorded, cut to the offset that this writer begins at. */
  readonly #before: S3State;
  readonly #note: WriterOptions['note'];
  readonly #abort = new AbortController();
  readonly #sender: MultipartSender;
  #ready: Filled | undefined;
  #filling: Filled | undefined;
  /** An object with the first of the bytes that wait; where no buffer holds them, with all. */
  #tail: { readonly name: TailName; readonly length: number } | undefined;
  /** Tails that this writer made and that no state will name. */
  readonly #dropped: TailName[] = [];
  #changed = false;
  /** The latest step; `close` waits for it. */
  #step: Promise<unknown> = Promise.resolve();
  #isBusy = false;
  #fault: unknown;
  #closing: Promise<void> | undefined;

  /** @param before its tail is read when there is something to write, or by `open` */
  constructor(parts: WriterParts, before: S3State, options: WriterOptions = {}) {
    this.#with = parts;
    this.#before = before;
    this.#note = options.note;
    this.#sender = new MultipartSender(parts.bucket, before, this.#abort.signal, options);
    const length = tailBytesOf(before);
    if (before.tail !== undefined && length > 0) this.#tail = { name: before.tail, length };
    parts.buffers.join(this);
  }

  /** @throws ObjectMissingError, ObjectSizeError when the tail is not there */
  async open(): Promise<void> {
    if (this.#tail !== undefined) await this.#do(() => this.#roomy());
  }

  write(buffers: readonly Buffer[]): Promise<void> {
    return this.#do(async () => {
      for (const bytes of buffers) await this.#append(bytes);
    });
  }

  async finish(options: { readonly committing?: boolean } = {}): Promise<UploadState> {
    try {
      return toUploadState(await this.#do(() => this.#end(options.committing === true)));
    } finally {
      await this.close();
    }
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#letGo());
  }

  hurry(): void {
    this.#sendWhatMay();
  }

  giveWay(): void {
    const filling = this.#filling;
    if (filling === undefined || this.#ready !== undefined || this.#isBusy || this.#closing !== undefined) return;
    const now = Date.now();
    if (now - filling.grownAt < idleMsMax && now - filling.since < heldMsMax) return;
    // Where it fails, the next step says so.
    this.#do(() => this.#moveToTail()).catch(() => undefined);
  }

  /** One step of the writer's life after the other. After a failed one there are no more: which bytes S3 has is then unknown. */
  #do<T>(step: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(new Error('the upload writer is closed'));
    const done = this.#step.then(async () => {
      if (this.#fault !== undefined) throw this.#fault as Error;
      this.#isBusy = true;
      try {
        this.#sender.throwIfFailed();
        return await step();
      } catch (error) {
        this.#fault = error;
        throw error;
      } finally {
        this.#isBusy = false;
      }
    });
    this.#step = done.catch(() => undefined);
    return done;
  }

  async #append(bytes: Buffer): Promise<void> {
    if (bytes.length > 0 && this.#before.whole === true) throw new Error('the upload has been made an object');
    for (let at = 0; at < bytes.length;) {
      const filling = await this.#roomy();
      const end = Math.min(bytes.length, at + this.#with.partBytes - filling.length);
      filling.length += bytes.copy(filling.buffer, filling.length, at, end);
      filling.grownAt = Date.now();
      at = end;
      this.#changed = true;
      this.#sendWhatMay();
    }
  }

  /** The buffer with room in it behind everything that waits. */
  async #roomy(): Promise<Filled> {
    const { buffers, partBytes } = this.#with;
    for (;;) {
      this.#sender.throwIfFailed();
      if (this.#filling !== undefined && this.#filling.length < partBytes) return this.#filling;
      if (this.#filling !== undefined && this.#ready !== undefined) {
        await this.#sender.free();
        this.#sendWhatMay();
      } else if (this.#filling !== undefined) {
        this.#ready = this.#filling;
        this.#filling = undefined;
      } else {
        const buffer = buffers.takeNow() ?? (await buffers.take(this.#abort.signal));
        await this.#begin(buffer);
      }
    }
  }

  /** Takes a buffer into use, with the bytes that only the tail has. */
  async #begin(buffer: Buffer): Promise<void> {
    const length = this.#ready === undefined ? (this.#tail?.length ?? 0) : 0;
    try {
      if (length > buffer.length) throw new Error('the upload was begun with larger parts than are set now');
      if (length > 0)
        await this.#with.tails.readInto(buffer.subarray(0, length), this.#before.upload, this.#tail!.name);
    } catch (error) {
      this.#with.buffers.give(buffer);
      throw error;
    }
    const now = Date.now();
    this.#filling = { buffer, length, since: now, grownAt: now };
  }

  #sendWhatMay(): void {
    if (this.#closing !== undefined || this.#fault !== undefined || this.#sender.hasFailed) return;
    const { areWanted } = this.#with.buffers;
    const isLongEnough = (this.#filling?.length ?? 0) >= partBytesMin;
    if (this.#ready !== undefined && this.#sender.isFree && (isLongEnough || areWanted)) this.#sendReady();
    if (this.#ready === undefined && this.#sender.isFree && isLongEnough && this.#mayBeShort && areWanted)
      this.#sendFilling();
  }

  get #mayBeShort(): boolean {
    return !this.#with.equalParts && this.#sender.count < shortPartsMax;
  }

  #sendReady(): void {
    const ready = this.#ready;
    this.#ready = undefined;
    if (ready !== undefined) this.#send(ready);
  }

  #sendFilling(): void {
    const filling = this.#filling;
    this.#filling = undefined;
    if (filling !== undefined) this.#send(filling);
  }

  #send(filled: Filled): void {
    this.#dropTail();
    this.#sender.send(bytesIn(filled), () => {
      this.#with.buffers.give(filled.buffer);
      this.#sendWhatMay();
    });
  }

  /** Its bytes have gone another way. */
  #dropTail(): void {
    if (this.#tail !== undefined && this.#tail.name !== this.#before.tail) this.#dropped.push(this.#tail.name);
    this.#tail = undefined;
  }

  /** Stores what waits in one buffer as a tail, and gives the buffer back. */
  async #moveToTail(): Promise<void> {
    const filling = this.#filling;
    this.#filling = undefined;
    if (filling === undefined) return;
    const { tails, buffers } = this.#with;
    try {
      if (filling.length === (this.#tail?.length ?? 0)) return;
      const bytes = bytesIn(filling);
      // Where memory is short, it is not for what can be read again.
      const options = { signal: this.#abort.signal, remember: !buffers.areWanted };
      const name = await tails.write(this.#before.upload, this.#sender.bytes, bytes, options);
      this.#dropTail();
      this.#tail = { name, length: bytes.length };
    } finally {
      buffers.give(filling.buffer);
    }
  }

  async #end(committing: boolean): Promise<S3State> {
    if (!this.#changed) return this.#before;
    if (this.#ready !== undefined && this.#filling !== undefined && !this.#with.equalParts) {
      if (evenOut(this.#ready, this.#filling, committing) === 'joined') {
        this.#with.buffers.give(this.#filling.buffer);
        this.#filling = undefined;
      }
    }
    const only = this.#ready === undefined ? this.#filling : this.#filling === undefined ? this.#ready : undefined;
    if (committing && !this.#sender.hasBegun && only !== undefined) return this.#putWhole(only);
    await this.#sender.free();
    this.#sendReady();
    await this.#sender.free();
    if (committing || ((this.#filling?.length ?? 0) >= partBytesMin && this.#mayBeShort)) this.#sendFilling();
    await this.#moveToTail();
    const sent = await this.#sender.parts();
    const size = this.#sender.bytes + (this.#tail?.length ?? 0);
    return { ...sent, size, ...(await this.#tailsAfter()) };
  }

  /** All bytes of a small upload go to their final place in one request. */
  async #putWhole(filled: Filled): Promise<S3State> {
    const { bucket, buffers } = this.#with;
    const { upload } = this.#before;
    this.#ready = this.#filling = undefined;
    const { length: size } = filled;
    try {
      const whole = { upload, size, parts: [], whole: true } as const;
      // What was recorded before names the place already.
      if (this.#before.size === 0) await this.#note?.(toUploadState({ upload, size: 0, parts: [] }));
      const key = keyOf(upload);
      const options = { ifAbsent: true, signal: this.#abort.signal };
      // An answer may be lost, and the SDK ask again.
      if (!(await bucket.put(key, bytesIn(filled), options)) && (await bucket.sizeOf(key)) !== size)
        throw new Error(`${key} has other bytes than its upload`);
      this.#dropTail();
      return { ...whole, ...(await this.#tailsAfter()) };
    } finally {
      buffers.give(filled.buffer);
    }
  }

  /** The tails that a new state names; those that none names any more are deleted. */
  async #tailsAfter(): Promise<Pick<S3State, 'upload' | 'tail' | 'stale'>> {
    const { upload, tail: before, stale } = this.#before;
    await this.#with.tails.deleteSome(upload, [...this.#dropped, stale]);
    const tail = this.#tail?.name;
    return {
      upload,
      ...(tail !== undefined && { tail }),
      ...(before !== undefined && before !== tail && { stale: before }),
    };
  }

  async #letGo(): Promise<void> {
    this.#abort.abort(new Error('the upload writer is closed'));
    await this.#step;
    await this.#sender.settled();
    const { buffers } = this.#with;
    buffers.leave(this);
    for (const filled of [this.#ready, this.#filling]) if (filled !== undefined) buffers.give(filled.buffer);
    this.#ready = this.#filling = undefined;
  }
}
