/** What is done in the background, and when. A task may run in several processes at once, and be ended anywhere. */
import type { Sweep, Swept } from '../registry/sweep.ts';
import type { Logger } from '../telemetry/logger.ts';
import { createAnswerTasks, type AnswerParts } from './answer-requests.ts';
import { createSendMail, type MailSettings } from './send-mail.ts';

export interface Task {
  /** As it stands in the queue: never to be given another meaning, for an older Berth may run beside this one. */
  readonly name: string;
  /** Minute, hour, day, month, weekday, in UTC. Absent: only when somebody asks. */
  readonly schedule?: string;
  /** Ends early when the signal says so. A failure is tried again, and logged; so its error must not hold a secret. */
  readonly run: (signal: AbortSignal, job: Job) => Promise<void>;
}

/** What was put into the queue. */
export interface Job {
  /** JSON that nobody has checked: an older or newer Berth may have queued it. */
  readonly payload: unknown;
  /** Whether a failure now would leave it in the queue for good, tried no more. */
  readonly lastTry: boolean;
}

export interface TaskParts {
  readonly sweep: Sweep;
  /** @returns how many rows of the audit log are gone */
  readonly expireAudit: (signal: AbortSignal) => Promise<number>;
  /** @returns how many rows are gone */
  readonly sweepRateLimits: (signal: AbortSignal) => Promise<number>;
  /** Keys of requests that are not sent again any more. @returns how many are gone */
  readonly sweepIdempotencyKeys: () => Promise<number>;
  readonly tendSigningKeys: () => Promise<{ readonly rotated: boolean; readonly forgotten: number }>;
  /** @returns how many rows are gone */
  readonly sweepLinksAndSessions: (signal: AbortSignal) => Promise<number>;
  /** What is answered by mail; waits for a process that has a mail server. */
  readonly requests: AnswerParts;
  /** Undefined: mails wait in the queue for a process that has a mail server. */
  readonly mail: MailSettings | undefined;
  readonly logger: Logger;
}

export function createTasks(parts: TaskParts): readonly Task[] {
  const { sweep, expireAudit, sweepRateLimits, sweepIdempotencyKeys, tendSigningKeys, mail, logger } = parts;
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
    {
      name: 'sweep-rate-limits',
      schedule: '*/10 * * * *',
      async run(signal) {
        const count = await sweepRateLimits(signal);
        if (count > 0) logger.debug({ count }, 'counters of rate limits were over, and are gone');
      },
    },
    {
      name: 'sweep-idempotency-keys',
      schedule: '29 * * * *',
      async run() {
        const count = await sweepIdempotencyKeys();
        if (count > 0) logger.debug({ count }, 'idempotency keys have expired, and are gone');
      },
    },
    {
      name: 'tend-signing-keys',
      schedule: '23 3 * * *',
      async run() {
        const { rotated, forgotten } = await tendSigningKeys();
        if (rotated) logger.info('a new key signs access tokens from now on');
        if (forgotten > 0) logger.info({ count: forgotten }, 'signing keys whose last token is dead were forgotten');
      },
    },
    {
      name: 'sweep-links-and-sessions',
      schedule: '53 * * * *',
      async run(signal) {
        const count = await parts.sweepLinksAndSessions(signal);
        if (count > 0) logger.debug({ count }, 'links and sessions were over, and are gone');
      },
    },
    ...(mail === undefined ? [] : [createSendMail(mail, logger), ...createAnswerTasks(parts.requests)]),
  ];
}
