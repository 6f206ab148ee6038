/** What is done in the background, and when. A task may run in several processes at once, and be ended anywhere. */
import type { Sweep, Swept } from '../registry/sweep.ts';
import type { Logger } from '../telemetry/logger.ts';

export interface Task {
  /** As it stands in the queue: never to be given another meaning, for an older Berth may run beside this one. */
  readonly name: string;
  /** Minute, hour, day, month, weekday, in UTC. */
  readonly schedule: string;
  /** Ends early when the signal says so. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

export interface TaskParts {
  readonly sweep: Sweep;
  /** @returns how many rows of the audit log are gone */
  readonly expireAudit: (signal: AbortSignal) => Promise<number>;
  readonly logger: Logger;
}

export function createTasks({ sweep, expireAudit, logger }: TaskParts): readonly Task[] {
  const sweeping =
    (freed: string, work: (signal: AbortSignal) => Promise<Swept>): Task['run'] =>
    async (signal) => {
      const { done, failed, failure } = await work(signal);
      if (done > 0) logger.info({ count: done }, `${freed} were swept`);
      if (failed > 0)
        logger.warn({ count: failed, err: failure }, `${freed} could not be swept; a later run tries again`);
    };
  return [
    {
      name: 'sweep-expired-uploads',
      schedule: '*/5 * * * *',
      run: sweeping('expired uploads', (signal) => sweep.expiredUploads(signal)),
    },
    {
      name: 'sweep-abandoned-uploads',
      schedule: '17 * * * *',
      run: sweeping('bytes of abandoned uploads', (signal) => sweep.abandonedUploads(signal)),
    },
    {
      name: 'delete-objects',
      schedule: '*/2 * * * *',
      run: sweeping('objects that nothing names', (signal) => sweep.queuedDeletions(signal)),
    },
    {
      name: 'expire-audit-log',
      schedule: '41 * * * *',
      async run(signal) {
        const count = await expireAudit(signal);
        if (count > 0) logger.info({ count }, 'rows of the audit log were older than it keeps them, and are gone');
      },
    },
  ];
}
