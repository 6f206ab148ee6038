/** Errors that nobody hears. In a server each of them would be its end. */
import { setImmediate as nextTurn } from 'node:timers/promises';

const events = ['uncaughtException', 'unhandledRejection'] as const;

/** Does the work, and tells which errors had no listener meanwhile: rejected promises, and `error` events. */
export async function unheardDuring(work: () => Promise<unknown>): Promise<unknown[]> {
  const unheard: unknown[] = [];
  const hear = (error: unknown): void => void unheard.push(error);
  for (const event of events) process.on(event, hear);
  try {
    await work();
    // A rejection counts as unheard when the turn in which it happened is over.
    await nextTurn();
    return unheard;
  } finally {
    for (const event of events) process.off(event, hear);
  }
}
