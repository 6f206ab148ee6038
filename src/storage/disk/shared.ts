/**
 * Runs that many callers share. Whoever asks is answered by a run that began after the question: the first begins one at
 * once; all who ask while it is under way share the next one, because what they changed may have come too late for this one.
 */
export class SharedRuns {
  readonly #run: (subject: string) => Promise<void>;
  readonly #current = new Map<string, { readonly running: Promise<void>; next: Promise<void> | undefined }>();

  constructor(run: (subject: string) => Promise<void>) {
    this.#run = run;
  }

  /** Resolves when a run for `subject` that began at or after this call has succeeded; rejects when that run failed. */
  ask(subject: string): Promise<void> {
    const current = this.#current.get(subject);
    if (current === undefined) return this.#begin(subject);
    const begin = () => this.#begin(subject);
    return (current.next ??= current.running.then(begin, begin));
  }

  #begin(subject: string): Promise<void> {
    const entry = { running: this.#run(subject), next: undefined };
    this.#current.set(subject, entry);
    const settled = () => {
      if (entry.next === undefined) this.#current.delete(subject);
    };
    // Registered before any `next`, so it has run when that one begins.
    entry.running.then(settled, settled);
    return entry.running;
  }
}
