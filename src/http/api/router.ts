/** `/api/v1`: the one router of all operations. */
import { Router, type NextFunction, type Request, type Response } from 'express';
import { RegistryError } from '../../oci/errors.ts';
import { ClientGoneError } from '../oci/exchange.ts';
import { describeApi, openApiOperation } from './openapi.ts';
import type { Operation } from './operation.ts';
import { sendProblem } from './problem.ts';
import { createRunner, type RunnerParts } from './run.ts';
import { send } from './sending.ts';
import { apiPrefix, compareTemplates } from './template.ts';

export interface ApiRouterParts extends RunnerParts {
  readonly operations: readonly Operation[];
}

/** @throws TypeError when two operations have one id, or one method and path */
export function createApiRouter(parts: ApiRouterParts): Router {
  const { logger } = parts;
  const operations: Operation[] = [...parts.operations];
  operations.push(openApiOperation(() => describeApi(operations)));
  const run = createRunner(parts);
  const router = Router();

  for (const { template, methods } of groupByPath(operations)) {
    const allow = [...methods.keys()].flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ');
    router.all(template.pattern, async (req: Request, res: Response) => {
      const operation = methods.get(req.method === 'HEAD' ? 'GET' : req.method);
      if (operation === undefined) {
        res.set('Allow', allow);
        throw new RegistryError('methodNotAllowed', { message: `this address takes ${allow}, not ${req.method}` });
      }
      res.locals['operation'] = operation.id;
      await send(req, res, await run(operation, req, res.get('X-Request-Id') ?? null));
      log(req, res);
    });
  }
  router.use(apiPrefix, () => {
    throw new RegistryError('routeUnknown', { message: 'no such address in the API' });
  });
  router.use(apiPrefix, (error: unknown, req: Request, res: Response, next: NextFunction) => {
    if (error instanceof ClientGoneError) return void res.destroy();
    if (res.headersSent) return next(error);
    sendProblem(error, req, res);
    log(req, res, error);
  });

  /** A line for each change and each attempt at one. Never the path or query: an address may hold what is secret. */
  function log(req: Request, res: Response, error?: unknown): void {
    const level = req.method === 'GET' || req.method === 'HEAD' ? 'debug' : 'info';
    const about = {
      requestId: res.get('X-Request-Id'),
      method: req.method,
      operation: (res.locals['operation'] as string | undefined) ?? null,
      client: parts.origins.client(req),
      status: res.statusCode,
    };
    if (error === undefined) logger[level](about, 'answered');
    // What is our fault is logged with its cause by http/express.ts.
    else if (res.statusCode < 500)
      logger[level]({ ...about, reason: error instanceof Error ? error.message : '' }, 'a request was refused');
  }
  return router;
}

/** Paths with their operations by method; of two paths that match the same request the more literal one comes first. */
function groupByPath(operations: readonly Operation[]) {
  const ids = new Set<string>();
  const groups = new Map<string, { template: Operation['template']; methods: Map<string, Operation> }>();
  for (const operation of operations) {
    const { id, template } = operation;
    const method = operation.method.toUpperCase();
    const group = groups.get(template.text) ?? { template, methods: new Map<string, Operation>() };
    if (ids.has(id)) throw new TypeError(`two operations are called ${id}`);
    if (group.methods.has(method)) throw new TypeError(`two operations are ${method} ${template.text}`);
    ids.add(id);
    groups.set(template.text, group);
    group.methods.set(method, operation);
  }
  return [...groups.values()].toSorted((a, b) => compareTemplates(a.template, b.template));
}
