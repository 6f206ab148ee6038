/** The memory for parts on their way to S3: one allowance for all uploads of a process, so that many cost no more than a few. */

/** An upload that may hold buffers. */
export interface Holder {
  /** Somebody waits for a buffer: what can be sent is to be sent now. Must not throw. */
  hurry(): void;
  /** They still wait: a buffer that fills slowly is to be emptied by other means. Must not throw. */
  giveWay(): void;
}

/** Between two looks at who holds what, while somebody waits. */
const lookMs = 250;
/** Unused for so long, the memory is given back. */
const idleMs = 30_000;

export class PartBuffers {
  readonly #bufferBytes: number;
  readonly #buffersMax: number;
  readonly #holders = new Set<Holder>();
  readonly #waiting: ((buffer: Buffer) => void)[] = [];
  #idle: Buffer[] = [];
  #made = 0;
  #looking: NodeJS.Timeout | undefined;
  #forgetting: NodeJS.Timeout | undefined;

  constructor(options: { readonly bufferBytes: number; readonly buffersMax: number }) {
    this.#bufferBytes = options.bufferBytes;
    this.#buffersMax = options.buffersMax;
  }

  /** Whether somebody waits. */
  get areWanted(): boolean {
    return this.#waiting.length > 0;
  }

  join(holder: Holder): void {
    this.#holders.add(holder);
  }

  leave(holder: Holder): void {
    this.#holders.delete(holder);
  }

  /** Undefined where that would mean to wait. */
  takeNow(): Buffer | undefined {
    return this.areWanted ? undefined : this.#free();
  }

  /** In the order of the calls. @throws the signal's reason */
  take(signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted();
    const now = this.takeNow();
    if (now !== undefined) return Promise.resolve(now);
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const onAbort = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(got), 1);
      this.#stopLooking();
      reject(signal.reason as Error);
    };
    const got = (buffer: Buffer): void => {
      signal.removeEventListener('abort', onAbort);
      resolve(buffer);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiting.push(got);
    this.#looking ??= setInterval(() => this.#look(), lookMs).unref();
    for (const holder of this.#holders) holder.hurry();
    return promise;
  }

  /** Back from its holder, who does not touch it again. */
  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#stopLooking();
      return next(buffer);
    }
    this.#idle.push(buffer);
    if (this.#forgetting === undefined) this.#forgetting = setTimeout(() => this.#forget(), idleMs).unref();
    else this.#forgetting.refresh();
  }

  #free(): Buffer | undefined {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#made === this.#buffersMax) return undefined;
    this.#made += 1;
    return Buffer.allocUnsafeSlow(this.#bufferBytes);
  }

  #look(): void {
    for (const holder of this.#holders) {
      holder.hurry();
      holder.giveWay();
    }
  }

  #stopLooking(): void {
    if (this.areWanted) return;
    clearInterval(this.#looking);
    this.#looking = undefined;
  }

  #forget(): void {
    this.#made -= this.#idle.length;
    this.#idle = [];
  }
}
