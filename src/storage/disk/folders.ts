/** Folders whose entries are durable: made on demand, synced together. */
import { dirname } from 'node:path';
import { fsync, makeFolder, open, close, readingFolder, withOpen } from './files.ts';
import { SharedRuns } from './shared.ts';

export class Folders {
  readonly #syncs = new SharedRuns((folder) => withOpen(folder, readingFolder, fsync));
  /** Folders known to be there for good; at most 256 for each digest algorithm, and their parents. */
  readonly #made = new Map<string, Promise<void>>();

  /** Makes every name in the folder that was there at the call survive a crash. */
  sync(folder: string): Promise<void> {
    return this.#syncs.ask(folder);
  }

  /** Makes the folder (its parent must be there), durably. Looks only once per folder, until `forget`. */
  ensure(folder: string): Promise<void> {
    let made = this.#made.get(folder);
    if (made === undefined) {
      made = this.#make(folder);
      this.#made.set(folder, made);
      made.catch(() => this.forget(folder));
    }
    return made;
  }

  /** To be called when a folder turns out to be gone: the next `ensure` makes it again. */
  forget(folder: string): void {
    this.#made.delete(folder);
  }

  async #make(folder: string): Promise<void> {
    try {
      await makeFolder(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      // EEXIST is also what a file in this place says; opening it as a folder tells (ENOTDIR).
      await close(await open(folder, readingFolder));
    }
    // Also when it was there already: the process that made it may have died, or not yet come, to its own sync.
    await this.sync(dirname(folder));
  }
}
