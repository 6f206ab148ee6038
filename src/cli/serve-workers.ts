/** A Berth of several processes on one machine: this one has the database and the workers, each worker serves. */
import cluster, { type Worker } from 'node:cluster';
import { layFoundation, type RunningBerth } from '../app.ts';
import type { Config } from '../config/config.ts';
import { unlessAborted } from '../database/unless-aborted.ts';
import type { Logger } from '../telemetry/logger.ts';
import { isOurs, type Order, type ToPrimary, type ToWorker } from './serve-messages.ts';
import { ServingError } from './serving-error.ts';

/** A worker that ends by itself is started again, but not for ever: this many times within the time, and with growing pauses. */
const restartsMax = 5;
const restartsWithinMs = 60_000;
const firstPauseMs = 250;
/** What stopping may take beyond what the settings allow for; what takes longer is ended. */
const stopPatienceMs = 20_000;

/**
 * @param texts the settings once more, for the workers
 * @param giveUp ends the start early, with everything stopped again; must not be aborted afterwards
 * @throws ServingError when a worker cannot serve, with its reason; the signal's reason
 */
export async function startWithWorkers(
  config: Config,
  texts: Order['texts'],
  logger: Logger,
  giveUp: AbortSignal,
): Promise<RunningBerth> {
  // Workers take connections from the system themselves. What Node's other way has handed to a worker that is stopping at
  // that moment, or dying, is answered by nobody.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  const foundation = await layFoundation(config, logger, giveUp);
  const { shutdownDrainSeconds, shutdownGraceSeconds } = config.limits;
  const workers = createWorkers({
    order: { texts, connection: foundation.connection },
    logger,
    stopMsMax: (shutdownDrainSeconds + shutdownGraceSeconds) * 1000 + stopPatienceMs,
  });
  const stop = async (): Promise<void> => {
    await workers.stop();
    await foundation.stop();
  };
  try {
    const starting = Promise.all(Array.from({ length: config.workers }, () => workers.start()));
    const ports = await unlessAborted(giveUp, starting);
    if (config.rateLimits.store === 'memory')
      logger.warn(
        { workers: config.workers },
        'each worker counts limits for itself, so that more is let through; BERTH_RATE_LIMIT_STORE=postgres counts for all',
      );
    let stopped: Promise<void> | undefined;
    return {
      ...foundation,
      host: config.listen.host,
      port: ports[0]!,
      failed: Promise.race([foundation.failed, workers.failed]),
      stop: () => (stopped ??= stop()),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Workers {
  /** Starts one more, which from then on is kept running. @returns the port that it serves @throws ServingError */
  start(): Promise<number>;
  /** Resolves with the reason when they end so often that starting them again helps nobody. */
  readonly failed: Promise<string>;
  /** Lets all of them stop in good order. */
  stop(): Promise<void>;
}

function createWorkers(about: { order: Order; logger: Logger; stopMsMax: number }): Workers {
  const { order, logger, stopMsMax } = about;
  const failed = Promise.withResolvers<string>();
  const running = new Map<Worker, Promise<void>>();
  const pauses = new Set<NodeJS.Timeout>();
  let ends: number[] = [];
  let stopping = false;

  /** Resolves when it serves; from then on it is started again when it ends. */
  function start(): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const worker = cluster.fork();
    let serves = false;
    let reason: string | undefined;
    worker.on('message', (message) => {
      if (!isOurs<ToPrimary>(message)) return;
      if (message.berth === 'hello') send(worker, stopping ? { berth: 'stop' } : { berth: 'serve', order });
      if (message.berth === 'failed') ({ reason } = message);
      if (message.berth === 'serving') {
        serves = true;
        resolve(message.port);
      }
    });
    const ended = Promise.withResolvers<void>();
    worker.once('exit', (code, signal) => {
      running.delete(worker);
      ended.resolve();
      reason ??= `worker ${worker.process.pid} ended with ${signal === null ? `exit code ${code}` : `signal ${signal}`}`;
      if (serves) replace(reason);
      else reject(new ServingError(reason));
    });
    running.set(worker, ended.promise);
    return promise;
  }

  function replace(reason: string): void {
    if (stopping) return;
    ends = [...ends.filter((at) => at > Date.now() - restartsWithinMs), Date.now()];
    if (ends.length > restartsMax) {
      failed.resolve(`the workers end again and again, and the last time because ${reason}`);
      return;
    }
    logger.error({ reason }, 'a worker has ended, and is started again');
    const pause = setTimeout(
      () => {
        pauses.delete(pause);
        start().catch((error: unknown) => replace(error instanceof Error ? error.message : String(error)));
      },
      firstPauseMs * 2 ** (ends.length - 1),
    );
    pauses.add(pause);
  }

  return {
    start,
    failed: failed.promise,
    async stop() {
      stopping = true;
      for (const pause of pauses) clearTimeout(pause);
      for (const worker of running.keys()) send(worker, { berth: 'stop' });
      const late = setTimeout(() => {
        for (const worker of running.keys()) worker.process.kill('SIGKILL');
      }, stopMsMax);
      await Promise.all(running.values());
      clearTimeout(late);
    },
  };
}

/** To a worker that has just ended it is not sent. */
function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => undefined);
}
