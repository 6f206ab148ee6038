/** Everything beside the data plane, on Express. */
import { randomUUID } from 'node:crypto';
import express, { type Express, type NextFunction, type Request, type Response, type Router } from 'express';
import type { Logger } from '../telemetry/logger.ts';

export function createExpress(routers: readonly Router[], logger: Logger): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // Repeated parameters become arrays, nothing more: nobody needs nested objects from a query.
  app.set('query parser', 'simple');
  app.use((_req: Request, res: Response, next: NextFunction) => {
    res.set({
      'X-Request-Id': randomUUID(),
      'X-Content-Type-Options': 'nosniff',
      'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    });
    res.on('finish', () => {
      const failure: unknown = res.locals['failure'];
      if (failure !== undefined) logger.error({ requestId: res.get('X-Request-Id'), err: failure }, 'a request failed');
    });
    next();
  });
  for (const router of routers) app.use(router);
  app.use((req: Request, res: Response) => {
    res
      .status(404)
      .type('text/plain')
      .send(`Nothing here. The registry API is below /v2/ (asked for: ${req.method} ${req.path.slice(0, 200)})\n`);
  });
  app.use((error: unknown, _req: Request, res: Response, next: NextFunction) => {
    logger.error({ requestId: res.get('X-Request-Id'), err: error }, 'a request failed');
    if (res.headersSent) return next(error);
    res.status(500).type('text/plain').send('Something went wrong; the log says more under the request id.\n');
  });
  return app;
}
