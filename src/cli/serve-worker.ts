/** One of several processes that share an address. It does what its primary says, and does not outlive it: see `node:cluster`. */
import { once } from 'node:events';
import { inspect } from 'node:util';
import { startServing } from '../app.ts';
import { parseConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { explain } from './failure.ts';
import { collectEarly } from './heap.ts';
import { hearSignals } from './signals.ts';
import { isOurs, type Order, type ToPrimary, type ToWorker } from './serve-messages.ts';

/** Serves until told to stop. What keeps it from that is told to the primary, and ends the process. */
export async function serveAsWorker(): Promise<void> {
  const ordered = Promise.withResolvers<Order | undefined>();
  const stopping = new AbortController();
  const stop = (): void => {
    ordered.resolve(undefined);
    stopping.abort();
  };
  process.on('message', (message) => {
    if (!isOurs<ToWorker>(message)) return;
    if (message.berth === 'serve') ordered.resolve(message.order);
    else stop();
  });
  // Ctrl-C reaches every process of a terminal, and the primary says in good order what follows from it.
  hearSignals((name) => name === 'SIGTERM' && stop());
  await tell({ berth: 'hello' });
  try {
    const order = await ordered.promise;
    if (order !== undefined) await serve(order, stopping.signal);
    // Without its primary a worker ends, whatever else is open.
    process.disconnect!();
  } catch (error) {
    await tell({ berth: 'failed', reason: explain(error) ?? inspect(error) });
    process.exit(1);
  }
}

async function serve({ texts, connection }: Order, stop: AbortSignal): Promise<void> {
  const config = parseConfig(texts);
  const logger = createLogger(config.log).child({ worker: process.pid });
  const serving = await startServing(config, logger, connection, stop).catch((error: unknown) => {
    if (!stop.aborted) throw error;
  });
  if (serving === undefined) return;
  collectEarly();
  await tell({ berth: 'serving', port: serving.port });
  if (!stop.aborted) await once(stop, 'abort');
  await serving.stop();
}

/** Resolves when it is on its way. A primary that is gone hears nothing, and this process is about to end. */
const tell = (message: ToPrimary): Promise<void> =>
  new Promise((resolve) => void process.send!(message, undefined, undefined, () => resolve()));
