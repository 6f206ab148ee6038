import type { Logger as RunnerLogger } from 'graphile-worker';
import type { Logger } from '../telemetry/logger.ts';

interface Meta {
  readonly failure?: boolean;
  readonly error?: unknown;
  readonly fatalError?: unknown;
  readonly job?: { readonly task_identifier: string; readonly attempts: number };
}

/**
 * What the runner says, in our log: its ordinary life at debug, a failing task as an error.
 * @param onFault told of what is wrong with the queue itself; not logged here
 */
export async function createRunnerLogger(logger: Logger, onFault: (error: unknown) => void): Promise<RunnerLogger> {
  const graphile = await import('graphile-worker');
  return new graphile.Logger(() => (level, message, meta: Meta) => {
    const error = meta.error ?? meta.fatalError;
    if (meta.failure === true) {
      const { task_identifier: task, attempts } = meta.job ?? {};
      logger.error({ err: error, task, attempts }, 'a background task failed; it is tried again');
    } else if (level === 'error' && error !== undefined) onFault(error);
    else if (level === 'warning') logger.warn({ from: 'graphile-worker' }, message);
    else if (level !== 'debug') logger.debug({ from: 'graphile-worker' }, message);
    else logger.trace({ from: 'graphile-worker' }, message);
  });
}
