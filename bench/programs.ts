/** Programs that run for the benchmark and must not outlive it. */
import type { ChildProcess } from 'node:child_process';

const children = new Set<ChildProcess>();

/** Ends this program when the benchmark ends before it. */
export function running(child: ChildProcess): void {
  children.add(child);
  child.once('close', () => children.delete(child));
}

export function endPrograms(): void {
  for (const child of children) child.kill('SIGKILL');
}
