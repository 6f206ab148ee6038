/** The data plane's front door: finds the handler, answers errors, writes the log line. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { errorTable, RegistryError } from '../../oci/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Origins } from '../origin.ts';
import { deleteBlob, getBlob } from './blobs.ts';
import type { DataPlane } from './data-plane.ts';
import { answerOf, toRegistryErrors } from './errors.ts';
import { ClientGoneError, send, type Exchange } from './exchange.ts';
import { getBase, listCatalog, listReferrers, listTags } from './listings.ts';
import { deleteManifest, getManifest, putManifest } from './manifests.ts';
import { parseRoute, type Route, type RouteKind } from './routes.ts';
import { appendToUpload, cancelUpload, completeUpload, startUpload, uploadStatus } from './uploads.ts';

type Handler<Kind extends RouteKind> = (
  plane: DataPlane,
  exchange: Exchange,
  route: Extract<Route, { kind: Kind }>,
) => Promise<void>;
type Methods<Kind extends RouteKind> = Readonly<Record<string, Handler<Kind>>>;

/** Which methods each route takes. */
const handlers: { readonly [Kind in RouteKind]: Methods<Kind> } = {
  base: { GET: getBase, HEAD: getBase },
  catalog: { GET: listCatalog, HEAD: listCatalog },
  tags: { GET: listTags, HEAD: listTags },
  referrers: { GET: listReferrers, HEAD: listReferrers },
  uploads: { POST: startUpload },
  upload: { GET: uploadStatus, HEAD: uploadStatus, PATCH: appendToUpload, PUT: completeUpload, DELETE: cancelUpload },
  blob: { GET: getBlob, HEAD: getBlob, DELETE: deleteBlob },
  manifest: { GET: getManifest, HEAD: getManifest, PUT: putManifest, DELETE: deleteManifest },
};

export interface DataPlaneOptions {
  readonly plane: DataPlane;
  readonly origins: Origins;
  readonly logger: Logger;
  /** The path of the token end-point, and the name that tokens are issued for. */
  readonly tokenPath: string;
  readonly service: string;
}

/** Answers every request below `/v2/`. */
export type OciHandler = (req: IncomingMessage, res: ServerResponse) => Promise<void>;

export function createOciHandler({ plane, origins, logger, tokenPath, service }: DataPlaneOptions): OciHandler {
  async function answerError(exchange: Exchange, error: unknown): Promise<void> {
    const { req, res, requestId } = exchange;
    const errors = toRegistryErrors(error);
    const about = { requestId, method: req.method, url: req.url, client: origins.client(req) };
    if (res.headersSent) {
      // The status is gone; only an abrupt end tells the client that the body is not whole.
      res.destroy();
      if (!(error instanceof ClientGoneError)) logger.error({ ...about, err: error }, 'the answer broke off');
      return;
    }
    if (error instanceof ClientGoneError || req.errored !== null) {
      logger.info(about, 'the client left');
      res.destroy();
      return;
    }
    const answer = answerOf(errors, `${origins.absolute(req)}${tokenPath}`, service);
    const codes = errors.map(({ kind }) => errorTable[kind].code);
    if (answer.status >= 500)
      logger.error({ ...about, status: answer.status, err: errors[0]!.cause ?? error }, 'a request failed');
    else
      logger[levelOf(req)](
        { ...about, status: answer.status, codes, reason: errors[0]!.message },
        'a request was refused',
      );
    send(exchange, answer.status, { 'Content-Type': 'application/json', ...answer.headers }, answer.body);
  }

  return async (req, res) => {
    const url = req.url ?? '/';
    const at = url.indexOf('?');
    const exchange: Exchange = {
      req,
      res,
      query: at < 0 ? '' : url.slice(at + 1),
      origin: () => origins.prefix(req),
      requestId: randomUUID(),
      address: () => origins.client(req),
    };
    try {
      const route = parseRoute(at < 0 ? url : url.slice(0, at));
      const methods = handlers[route.kind] as Methods<RouteKind>;
      const handler = Object.hasOwn(methods, req.method!) ? methods[req.method!] : undefined;
      if (handler === undefined) {
        const allow = Object.keys(methods).join(', ');
        res.setHeader('Allow', allow);
        throw new RegistryError('methodNotAllowed', { message: `this address takes ${allow}, not ${req.method}` });
      }
      await handler(plane, exchange, route as never);
      logAnswer(exchange);
    } catch (error) {
      await answerError(exchange, error).catch((failure: unknown) => {
        logger.error({ requestId: exchange.requestId, err: failure }, 'an error could not be answered');
        res.destroy();
      });
    }
  };

  function logAnswer({ req, res, requestId }: Exchange): void {
    const level = levelOf(req);
    if (!logger.isLevelEnabled(level)) return;
    const about = { requestId, method: req.method, url: req.url, client: origins.client(req) };
    logger[level]({ ...about, status: res.statusCode }, 'answered');
  }
}

/** A line for each change and each attempt at one. Reads are too many to be read, and clients begin with a 401 or 404 as a matter of course. */
function levelOf(req: IncomingMessage): 'debug' | 'info' {
  return req.method === 'GET' || req.method === 'HEAD' ? 'debug' : 'info';
}
