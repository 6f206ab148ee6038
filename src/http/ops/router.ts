/** What an orchestrator asks: is the process alive, can it serve. */
import { setTimeout as delay } from 'node:timers/promises';
import { Router } from 'express';

export interface OpsRouterParts {
  /** Rejects while the database does not answer. */
  readonly checkDatabase: () => Promise<void>;
  /** Rejects while the bytes of blobs cannot be reached. */
  readonly checkStorage: () => Promise<void>;
  /** Whether the process is on its way out. */
  readonly stopping: () => boolean;
  /** Told what a check failed with, once for each time that something goes away. */
  readonly onAway: (dependency: Dependency, error: unknown) => void;
}

export type Dependency = 'database' | 'storage';

/** After this a check counts as failed. Orchestrators wait a second or a few, and then ask again. */
export const checkMsMax = 3000;
const retryAfterSeconds = 5;

export function createOpsRouter({ checkDatabase, checkStorage, stopping, onAway }: OpsRouterParts): Router {
  const database = createCheck(checkDatabase, (error) => onAway('database', error));
  const storage = createCheck(checkStorage, (error) => onAway('storage', error));
  const router = Router();
  router.get('/healthz', (_req, res) => {
    res.type('text/plain').send('ok\n');
  });
  router.get('/readyz', async (_req, res) => {
    res.set('Cache-Control', 'no-store');
    if (stopping()) return void res.status(503).json({ status: 'stopping' });
    // Both at once: who asks waits no longer for two that are silent than for one.
    const [ofDatabase, ofStorage] = await Promise.all([database(), storage()]);
    const answers = { database: ofDatabase, storage: ofStorage };
    const ready = ofDatabase === 'ok' && ofStorage === 'ok';
    if (!ready) res.status(503).set('Retry-After', String(retryAfterSeconds));
    res.json({ status: ready ? 'ready' : 'unavailable', ...answers });
  });
  return router;
}

/**
 * Asks once at a time, however many want to know: whoever comes meanwhile gets the same answer, and a dependency that does not
 * answer holds one question. Why it failed is for the log only.
 */
function createCheck(
  check: () => Promise<void>,
  onAway: (error: unknown) => void,
): () => Promise<'ok' | 'unavailable'> {
  let away = false;
  let asked: Promise<'ok' | 'unavailable'> | undefined;
  async function ask(): Promise<'ok' | 'unavailable'> {
    try {
      await check();
      away = false;
      return 'ok';
    } catch (error) {
      if (!away) onAway(error);
      away = true;
      return 'unavailable';
    } finally {
      asked = undefined;
    }
  }
  return async () => {
    const overdue = new AbortController();
    const late = delay(checkMsMax, 'unavailable' as const, { signal: overdue.signal });
    // Ended, when it has not been needed.
    late.catch(() => undefined);
    try {
      return await Promise.race([(asked ??= ask()), late]);
    } finally {
      overdue.abort();
    }
  };
}
