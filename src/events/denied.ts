/**
 * Denied attempts, written to the audit log behind the answers. An attempt is heard at once and written with the next batch;
 * no answer waits for it, and a flood of them takes neither much memory, nor the database, nor the disk: what is over the
 * bounds is counted. What a process has not written when it is killed (a second's worth) is lost; a change, in contrast,
 * has its row in its own transaction.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseUnavailableError, type Queryer } from '../database/pool.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Actor } from './actor.ts';
import { auditRow, type AuditEntry } from './audit.ts';
import { insertAuditRows, type NewAuditRow } from './sql/audit.ts';

/** `before` and `after` are for changes; `after` of a denied attempt says how often, where that was more than once. */
export type DeniedAttempt = Omit<AuditEntry, 'outcome' | 'before' | 'after'>;

export interface DeniedRecorder {
  /** Never throws and never waits. */
  record(actor: Actor, attempt: DeniedAttempt): void;
  /** Writes what is still to be written; what cannot be is counted in the log. Idempotent. Nothing is recorded afterwards. */
  stop(): Promise<void>;
}

export interface DeniedRecorderOptions {
  /** Between two batches. */
  readonly pauseMs?: number;
  /** For how long attempts that equal one that was written are only counted. */
  readonly countedMs?: number;
}

/** Rows of one batch: with the pause, a flood that lasts a whole day writes 1.7 million, less than a gigabyte of the usual ones. */
const batchRows = 20;
/** Attempts that wait to be written, and, apart, written ones whose like is counted: two to three KB each in the worst case. */
const waitingMax = 1000;
const countedMax = 1000;
const pauseMsDefault = 1000;
const countedMsDefault = 60_000;

/** Equal attempts: same credential, same account, same address, same action, same target. */
interface Attempt {
  readonly key: string;
  readonly row: NewAuditRow;
  /** Not yet written. */
  times: number;
  /** When the first of them was. */
  since: number;
}

const nobody: Actor = {
  credentialId: null,
  userId: null,
  name: 'berth',
  address: null,
  client: null,
  requestId: null,
};

export function createDeniedRecorder(
  database: Queryer,
  logger: Pick<Logger, 'warn'>,
  { pauseMs = pauseMsDefault, countedMs = countedMsDefault }: DeniedRecorderOptions = {},
): DeniedRecorder {
  const waiting = new Map<string, Attempt>();
  /** In the order in which their time ends. */
  const counted = new Map<string, Attempt & { readonly until: number }>();
  let overflowed = 0;
  let failing = false;
  let working: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;
  const stopping = new AbortController();

  function wait(attempt: Attempt): void {
    if (waiting.size < waitingMax) waiting.set(attempt.key, attempt);
    else overflowed += attempt.times;
  }

  /** Those whose time has ended, or who are too many, make room; what was counted of them is written. */
  function endCounting(isOver: (until: number) => boolean): void {
    for (const [key, attempt] of counted) {
      if (!isOver(attempt.until) && counted.size <= countedMax) break;
      counted.delete(key);
      if (attempt.times > 0) wait(attempt);
    }
  }

  async function writeBatch(): Promise<void> {
    const batch = [...waiting.values()].slice(0, batchRows).map((attempt) => ({ attempt, times: attempt.times }));
    const rows = batch.map(({ attempt, times }) => rowOf(attempt, times));
    const lost = overflowed;
    if (lost > 0) rows.push(overflowRow(lost));
    if (rows.length === 0) return;
    try {
      await insertAuditRows(database, rows);
      overflowed -= lost;
      failing = false;
    } catch (error) {
      // Once, and not every second until the database is back.
      if (!failing) logger.warn({ err: error }, 'denied attempts cannot be written to the audit log at the moment');
      failing = true;
      // They stay for the next batch, unless the fault may be theirs: then they would stay for ever, and others behind them.
      if (!(error instanceof DatabaseUnavailableError)) {
        for (const { attempt } of batch) waiting.delete(attempt.key);
        overflowed += batch.reduce((sum, { attempt }) => sum + attempt.times, 0);
      }
      throw error;
    }
    const now = performance.now();
    for (const { attempt, times } of batch) {
      waiting.delete(attempt.key);
      counted.set(attempt.key, { ...attempt, times: attempt.times - times, since: now, until: now + countedMs });
    }
  }

  async function work(): Promise<void> {
    while (!stopping.signal.aborted && waiting.size + counted.size + overflowed > 0) {
      await writeBatch().catch(() => undefined);
      await delay(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => undefined);
      const now = performance.now();
      endCounting((until) => until <= now);
    }
    working = undefined;
  }

  async function finish(): Promise<void> {
    await working;
    endCounting(() => true);
    try {
      while (waiting.size + overflowed > 0) await writeBatch();
    } catch {
      const count = [...waiting.values()].reduce((sum, { times }) => sum + times, overflowed);
      logger.warn({ count }, 'denied attempts were not written to the audit log and are lost');
    }
  }

  return {
    record(actor, attempt) {
      if (stopping.signal.aborted) return;
      const row = auditRow(actor, { ...attempt, outcome: 'denied' });
      const key = JSON.stringify([row.credentialId, row.userId, row.actorName, row.address, row.action, row.target]);
      const known = waiting.get(key) ?? counted.get(key);
      if (known === undefined) wait({ key, row, times: 1, since: performance.now() });
      else {
        if (known.times === 0) known.since = performance.now();
        known.times += 1;
      }
      working ??= work();
    },
    stop() {
      stopping.abort();
      stopped ??= finish();
      return stopped;
    },
  };
}

const rowOf = ({ row, since }: Attempt, times: number): NewAuditRow => ({
  ...row,
  after: times > 1 ? JSON.stringify({ times }) : null,
  ageMs: performance.now() - since,
});

const overflowRow = (times: number): NewAuditRow =>
  auditRow(nobody, { action: 'audit.overflow', target: 'denied attempts', after: { times }, outcome: 'denied' });
