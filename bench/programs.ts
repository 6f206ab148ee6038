/** Programs that run for the benchmark and must not outlive it. */
import type { ChildProcess } from 'node:child_process';

const children = new Set<ChildProcess>();
let ended = false;

/** Ends this program when the benchmark ends before it, or has ended already. */
export function running(child: ChildProcess): void {
  if (ended) child.kill('SIGKILL');
  children.add(child);
  child.once('close', () => children.delete(child));
}

export function endPrograms(): void {
  ended = true;
  for (const child of children) child.kill('SIGKILL');
}
