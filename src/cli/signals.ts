/**
 * SIGTERM and Ctrl-C. The first process of a container is not ended by a signal that it has no ear for, so this is the first
 * thing that a command loads, before it is known which command it is: what comes meanwhile is kept for whoever knows what to do.
 */
import { constants } from 'node:os';

export type StopSignal = 'SIGTERM' | 'SIGINT';
type Listener = (name: StopSignal) => void;

/** A terminal's Ctrl-C and what npm forwards of it arrive within moments; a second one after that is a person's. */
const secondSignalMs = 1000;

const kept: StopSignal[] = [];
let listener: Listener = (name) => void kept.push(name);
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => listener(name));

/** Every signal goes to this listener alone from now on, beginning with those that came before. */
export function hearSignals(next: Listener): void {
  listener = next;
  for (const name of kept.splice(0)) next(name);
}

/** For a command that can be ended at any moment: ends it as if nobody had heard the signal. */
export function endAtSignals(): void {
  hearSignals((name) => {
    process.removeAllListeners(name);
    process.kill(process.pid, name);
    // Still here, as the first process of a container.
    process.exit(128 + constants.signals[name]);
  });
}

/** Resolves at the first signal. Whoever insists is heard: the process then ends at once. */
export function untilSignalled(): Promise<undefined> {
  return new Promise((resolve) => {
    let firstAt: number | undefined;
    hearSignals(() => {
      if (firstAt === undefined) firstAt = Date.now();
      else if (Date.now() - firstAt > secondSignalMs) process.exit(130);
      resolve(undefined);
    });
  });
}
