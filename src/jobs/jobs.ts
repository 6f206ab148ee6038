/**
 * The background runner: graphile-worker, with its queue in the schema `graphile_worker` of the same database. Any number of
 * processes may run it; each scheduled job is done by one of them.
 */
import { addAbortListener, EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Task as RunnerTask } from 'graphile-worker';
import { defaultLimits, type DatabaseLimits } from '../database/pool.ts';
import { createServers, type Connection } from '../database/servers.ts';
import { createWorkerPool, type WorkerPool } from '../database/worker-pool.ts';
import type { Logger } from '../telemetry/logger.ts';
import { freeJobsOfDeadRunners, markAlive, type Asked } from './dead-runners.ts';
import { createRunnerLogger } from './runner-log.ts';
import type { Task } from './tasks.ts';

export interface JobsParts {
  /** Past any pooler that gives out connections for single transactions: nobody could listen on those. */
  readonly connection: Connection;
  readonly tasks: readonly Task[];
  readonly logger: Logger;
  /** Of the queue's own statements; those of the tasks have their own. */
  readonly limits?: Pick<DatabaseLimits, 'connectMs' | 'statementMs'>;
  /** What running tasks may take to end. */
  readonly shutdownGraceSeconds: number;
}

export interface Jobs {
  /** Takes no more jobs and lets running ones end, for at most the grace. What they leave undone is done by a later run. Idempotent. */
  stop(): Promise<void>;
}

const schema = 'graphile_worker';
const clientName = 'berth jobs';
/** Between two looks for jobs whose time has come. New ones are told by the database at once. */
const pollMs = 10_000;
/** So that somebody who waits for a mail does not wait for a long sweep. */
const jobsAtOnce = 2;
/** Before the runner is started again after a fault, and twice as long after each start that fails, up to a limit. */
const firstPauseMs = 1000;
const pauseMsMax = 30_000;

/** Brings the queue's schema to what this Berth needs; needs the right to create a schema once. Any number may do so at once. */
export async function migrateJobs(connection: Connection, logger: Logger): Promise<void> {
  const { runMigrations } = await import('graphile-worker');
  const server = await createServers(connection, defaultLimits.connectMs).find();
  const connections = createWorkerPool(server, {
    name: clientName,
    connectMs: defaultLimits.connectMs,
    statementMs: 0,
  });
  try {
    await runMigrations({
      pgPool: connections.pool,
      schema,
      logger: await createRunnerLogger(logger, () => undefined),
    });
  } finally {
    await connections.close();
  }
}

/**
 * Runs the tasks by their schedule, and whenever somebody adds one of them to the queue, until `stop`. Ends no process:
 * whatever is wrong with the database or the queue is logged once, and the runner is started again until that works.
 */
export function startJobs(parts: JobsParts): Jobs {
  const { connection, tasks, logger, limits = defaultLimits, shutdownGraceSeconds } = parts;
  const { connectMs, statementMs } = limits;
  const stopping = new AbortController();
  const servers = createServers(connection, connectMs);
  let connections: WorkerPool | undefined;
  /** Names of lives that ended with a fault. For hours nobody else would look at the jobs that they could not give back, or never heard they got. */
  const dead = new Set<string>();
  let faults = 0;
  const onStarted = (): void => {
    if (faults > 0) logger.info('background work goes on');
    faults = 0;
  };

  async function keepRunning(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        const server = await servers.find();
        if (stopping.signal.aborted) return;
        // Anew with each life: after a fault the old ones may lead to a server that is no more the right one.
        connections = createWorkerPool(server, { name: clientName, connectMs, statementMs });
        if (dead.size > 0) await connections.pool.query(`SELECT ${schema}.force_unlock_workers($1)`, [[...dead]]);
        dead.clear();
        const onNamed = (name: string): void => void dead.add(name);
        await runUntil(stopping.signal, { connections, tasks, logger, onStarted, onNamed });
      } catch (error) {
        if (faults === 0) logger.error({ err: error }, 'background work pauses; it goes on when the database lets it');
        const pauseMs = Math.min(firstPauseMs * 2 ** faults, pauseMsMax);
        faults += 1;
        await connections?.close();
        await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  }

  const ended = keepRunning();
  let stopped: Promise<void> | undefined;
  async function stop(): Promise<void> {
    stopping.abort();
    await Promise.race([ended, delay(shutdownGraceSeconds * 1000, undefined, { ref: false })]);
    await connections?.close();
  }
  return { stop: () => (stopped ??= stop()) };
}

interface RunParts {
  readonly connections: WorkerPool;
  readonly tasks: readonly Task[];
  readonly logger: Logger;
  /** Told when the queue has answered. */
  readonly onStarted: () => void;
  /** Told under which name it takes jobs. */
  readonly onNamed: (name: string) => void;
}

/**
 * One life of the runner. Its own ways to go on after a fault keep timers that nobody can end, and cannot finish a job while
 * the database is away; so the first fault of the queue ends it. A failing task is none: it is tried again by the queue.
 * @throws what ended it, unless that was the signal
 */
async function runUntil(signal: AbortSignal, parts: RunParts): Promise<void> {
  const { connections, logger, onStarted, onNamed } = parts;
  const tasks = [...parts.tasks, freeingTask(connections, logger)];
  const { parseCronItems, run } = await import('graphile-worker');
  const over = Promise.withResolvers<void>();
  over.promise.catch(() => undefined);
  const events = new EventEmitter();
  events.on('worker:getJob:error', ({ error }: { error: unknown }) => over.reject(error));
  events.on('pool:create', ({ workerPool }: { workerPool: { id: string } }) => onNamed(workerPool.id));
  events.on('pool:listen:success', ({ workerPool, client }: { workerPool: { id: string }; client: Asked }) => {
    markAlive(client, workerPool.id).catch(over.reject);
  });
  events.once('worker:getJob:empty', onStarted);
  events.once('job:start', onStarted);
  const runner = await run({
    pgPool: connections.pool,
    schema,
    events,
    logger: await createRunnerLogger(logger, over.reject),
    noHandleSignals: true,
    concurrency: jobsAtOnce,
    pollInterval: pollMs,
    // Without a batch of their own (of one), a failure to finish a job would be heard by nobody and end the process.
    preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    taskList: Object.fromEntries(tasks.map(({ name, run: work }) => [name, taskOf(work, signal)])),
    parsedCronItems: parseCronItems(
      tasks.flatMap(({ name, schedule }) => (schedule === undefined ? [] : [cronItem(name, schedule)])),
    ),
  });
  void runner.promise.then(() => over.reject(new Error('the background runner ended by itself')), over.reject);
  using _listener = addAbortListener(signal, () => over.resolve());
  try {
    await over.promise;
  } finally {
    // Rejects where the runner has begun to stop by itself; either way it has ended when its promise says so.
    await runner.stop().catch(() => undefined);
    await runner.promise.catch(() => undefined);
  }
}

/** What each of them does for the others. */
const freeingTask = ({ pool }: WorkerPool, logger: Logger): Task => ({
  name: 'free-jobs',
  schedule: '* * * * *',
  async run() {
    const count = await freeJobsOfDeadRunners(pool, schema);
    if (count > 0) logger.warn({ count }, 'processes ended in the middle of background work; it is done again');
  },
});

function taskOf(work: Task['run'], signal: AbortSignal): RunnerTask {
  return (payload, { job }) => work(signal, { payload, lastTry: job.attempts >= job.max_attempts });
}

/** One job of each kind waits at most. No named queue: a process that dies would keep it locked for hours. */
function cronItem(task: string, match: string) {
  return {
    task,
    match,
    identifier: task,
    options: { jobKey: task, jobKeyMode: 'replace' as const, backfillPeriod: 0 },
  };
}
