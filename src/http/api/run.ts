/** Runs one operation: who calls, may they ask at all, what do they ask; then the handler, in its transaction. */
import type { Request } from 'express';
import { checkIdempotencyKey, onceOnly } from '../../access/idempotency.ts';
import { UnauthorizedError } from '../../access/errors.ts';
import type { Database, Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { ApiError } from '../../oci/problem.ts';
import { singleHeader } from '../oci/exchange.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Origins } from '../origin.ts';
import { actorFor, type ApiCaller, type AuthenticateApi, type ShownCredentials } from './caller.ts';
import { readSessionCookie } from './cookies.ts';
import { checkCsrfToken, checkOrigin } from './csrf.ts';
import { canonicalJson, checkIfMatch } from './etag.ts';
import type { Call, Operation } from './operation.ts';
import { problemOf } from './problem.ts';
import { sendingOf, type Sending } from './sending.ts';
import { readInput, type Input } from './validate.ts';

export interface RunnerParts {
  readonly database: Database;
  readonly authenticateApi: AuthenticateApi;
  readonly origins: Origins;
  readonly bodyBytesMax: number;
  /**
   * Told of every attempt of a known caller to change what it may not, or may not see (401, 403, 404), after its transaction
   * was rolled back and before the answer.
   */
  readonly onDenied: (denied: Denied) => Promise<void>;
  readonly logger: Logger;
}

export interface Denied {
  readonly actor: Actor;
  readonly caller: ApiCaller;
  readonly operation: Operation;
  /** As the operation's schema made them; undefined when the request was refused before it was read. */
  readonly params: unknown;
  readonly error: unknown;
}

const deniedStatuses = [401, 403, 404];

/** What is known of a request before its operation runs. */
interface Situation {
  readonly shown: ShownCredentials;
  readonly caller: ApiCaller | null;
  readonly actor: Actor;
  readonly secure: boolean;
}

export type Runner = (operation: Operation, req: Request, requestId: string | null) => Promise<Sending>;

/** @returns a runner, which throws whatever refuses the request */
export function createRunner(parts: RunnerParts): Runner {
  const { database, origins } = parts;

  async function situationOf(req: Request, requestId: string | null): Promise<Situation> {
    const secure = origins.absolute(req).startsWith('https:');
    const { authorization } = req.headers;
    const shown: ShownCredentials = {
      authorization,
      sessionSecret: authorization === undefined ? readSessionCookie(req.headers.cookie, secure) : null,
      address: origins.client(req),
      client: req.headers['user-agent'] ?? null,
    };
    const caller = await parts.authenticateApi(shown);
    return { shown, caller, actor: actorFor(caller, shown, requestId), secure };
  }

  async function run(operation: Operation, req: Request, { shown, caller, actor, secure }: Situation, input: Input) {
    const ifMatch = conditionOf(operation, req.headers['if-match']);
    const base = {
      ...input,
      caller,
      actor,
      request: {
        conditional: ifMatch !== undefined,
        secure,
        origin: origins.prefix(req),
        sessionSecret: caller === null ? null : shown.sessionSecret,
      },
    };
    const prepared = await operation.prepare?.({ ...base, queryer: database });
    const handle = async (queryer: Queryer): Promise<Sending> => {
      let checked = ifMatch === undefined;
      const call: Call = {
        ...base,
        queryer,
        prepared,
        checkIfMatch(current) {
          checkIfMatch(ifMatch, current);
          checked = true;
        },
      };
      const answer = await operation.handler(call);
      if (!checked) throw new Error(`${operation.id} did not check If-Match`);
      return sendingOf(operation, req, base.request.origin, answer);
    };
    if (operation.effect === 'reads') return handle(database);
    const changed = operation.patient === true ? database.patient : database;
    const key = operation.effect === 'creates' ? singleHeader(req, 'idempotency-key') : undefined;
    // Whoever is nobody has no keys of their own: theirs would be everybody's.
    if (key === undefined || caller === null) return changed.transaction(handle);
    const request = {
      credentialId: caller.caller.credentialId,
      operation: operation.id,
      key: checkIdempotencyKey(key),
      asked: canonicalJson({ path: req.path, query: input.query, body: input.body }),
    };
    return changed.transaction(async (queryer) => {
      const { answer, replayed } = await onceOnly(queryer, request, async () => JSON.stringify(await handle(queryer)));
      const sending = JSON.parse(answer) as Sending;
      return replayed ? { ...sending, headers: { ...sending.headers, 'Idempotency-Replayed': 'true' } } : sending;
    });
  }

  /** The refusal stands, whether or not it can be told. */
  async function tell(denied: Denied): Promise<void> {
    try {
      await parts.onDenied(denied);
    } catch (error) {
      parts.logger.error({ requestId: denied.actor.requestId, err: error }, 'a denied attempt could not be recorded');
    }
  }

  return async (operation, req, requestId) => {
    const situation = await situationOf(req, requestId);
    const { caller, actor } = situation;
    let input: Input | undefined;
    try {
      admit(operation, req, situation, origins);
      input = await readInput(operation, req, req.params as Record<string, string>, parts.bodyBytesMax);
      return await run(operation, req, situation, input);
    } catch (error) {
      if (caller !== null && operation.effect !== 'reads' && deniedStatuses.includes(problemOf(error).problem.status))
        await tell({ actor, caller, operation, params: input?.params, error });
      throw error;
    }
  };
}

/** Whether this caller may ask for this operation at all, whatever it is asked to do. @throws UnauthorizedError, ApiError `forbidden` */
function admit(operation: Operation, req: Request, { shown, caller }: Situation, origins: Origins): void {
  if (operation.access === 'signed-in' && caller === null) throw new UnauthorizedError();
  // Also where nobody is signed in: another site's page must not sign its visitor in as somebody else.
  if (operation.effect !== 'reads' && shown.authorization === undefined) {
    const ownOrigin = new URL(origins.absolute(req)).origin;
    const secFetchSite = singleHeader(req, 'sec-fetch-site');
    checkOrigin({ origin: singleHeader(req, 'origin'), secFetchSite, ownOrigin });
    if (caller !== null && shown.sessionSecret !== null)
      checkCsrfToken(shown.sessionSecret, singleHeader(req, 'x-csrf-token'));
  }
  if (operation.effect !== 'reads' && caller !== null && caller.caller.scopes !== null)
    throw new UnauthorizedError({
      error: 'insufficient_scope',
      message:
        'an access token of the registry changes nothing here; use a password, a session or a personal access token',
    });
  const { apiScope } = operation;
  const scopes = caller?.apiScopes ?? null;
  if (apiScope !== null && scopes !== null && !scopes.includes(apiScope))
    throw new ApiError('forbidden', `this token was not made for the API scope ${apiScope}`, {
      next: `Make a token with the API scope ${apiScope}.`,
    });
}

/** A condition that nobody would look at must not seem to hold. */
function conditionOf(operation: Operation, header: string | undefined): string | undefined {
  if (header !== undefined && operation.effect !== 'reads' && operation.edits === undefined)
    throw new ApiError('invalid', 'this operation knows no If-Match', {
      errors: [{ path: 'header.If-Match', message: 'must not be there' }],
    });
  if (header === undefined && operation.edits === 'ifMatchRequired')
    throw new ApiError('preconditionRequired', 'this change needs an If-Match header');
  return operation.edits === undefined ? undefined : header;
}
