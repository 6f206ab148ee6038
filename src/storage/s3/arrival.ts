/** What somebody waits for who reads an answer: more of it, or a fault. One waits at a time. */
export class Arrival {
  #fault: unknown;
  #wake: (() => void) | undefined;

  /** What went wrong first. */
  get fault(): unknown {
    return this.#fault;
  }

  /** Until something has come, or gone wrong. @param onStall called when neither happens in time; it is to make something go wrong */
  async wait(timeoutMs: number, onStall: () => void): Promise<void> {
    const stall = setTimeout(onStall, timeoutMs);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    clearTimeout(stall);
  }

  /** Something has come. */
  happen(): void {
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#fault ??= error;
    this.#wake?.();
  }
}
