/** What an orchestrator asks: is the process alive, can it serve. */
import { Router } from 'express';

export interface OpsRouterParts {
  /** Rejects when the registry cannot serve: the database does not answer. */
  readonly checkReady: () => Promise<void>;
  /** Whether the process is on its way out. */
  readonly stopping: () => boolean;
}

export function createOpsRouter({ checkReady, stopping }: OpsRouterParts): Router {
  const router = Router();
  router.get('/healthz', (_req, res) => {
    res.type('text/plain').send('ok\n');
  });
  router.get('/readyz', async (_req, res) => {
    const problem = stopping()
      ? 'stopping'
      : await checkReady().then(
          () => null,
          () => 'the database does not answer',
        );
    res
      .status(problem === null ? 200 : 503)
      .set(problem === null ? {} : { 'Retry-After': '5' })
      .type('text/plain')
      .send(`${problem ?? 'ready'}\n`);
  });
  return router;
}
