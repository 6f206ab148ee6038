/** What an operation of /api/v1 is: a declaration from which routing, checks, transactions and OpenAPI follow. */
import { z } from 'zod';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import type { ApiCaller } from './caller.ts';
import type { PageKey } from './pages.ts';
import { parseTemplate, type PathTemplate } from './template.ts';

/** What a handler knows of its request. All of `params`, `query` and `body` has passed its schema. */
export interface Call<
  Params = unknown,
  Query = unknown,
  Body = unknown,
  Prepared = unknown,
  Caller = ApiCaller | null,
> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  /** The caller for the audit log. */
  readonly actor: Actor;
  /** The pool for an operation that reads; for others the one transaction that holds everything they do. */
  readonly queryer: Queryer;
  /** What `prepare` returned. */
  readonly prepared: Prepared;
  readonly request: RequestFacts;
  /**
   * To be called by every operation with `edits`, once it has locked what it edits.
   * @param current what the GET of the same thing would send now, or its `version` where it gives one
   * @throws ApiError `preconditionFailed` when `If-Match` names something else
   */
  readonly checkIfMatch: (current: unknown) => void;
}

/** What `prepare` knows: everything but the transaction. Its `queryer` is the pool. */
export type PrepareCall<Params, Query, Body, Caller> = Omit<
  Call<Params, Query, Body, unknown, Caller>,
  'prepared' | 'checkIfMatch'
>;

export interface RequestFacts {
  /** Whether there is an `If-Match` header: of a deletion that must have been looked at before, say. */
  readonly conditional: boolean;
  /** Whether the request came by https; the session cookie depends on it. */
  readonly secure: boolean;
  /** What addresses in answers begin with: an origin, or nothing. */
  readonly origin: string;
  /** The secret of the browser session that the request belongs to; null for all others. */
  readonly sessionSecret: string | null;
}

/** Bodies by status; null for an answer without one. Problems need not be declared. */
export type Answers = Readonly<Partial<Record<200 | 201 | 202 | 204, z.ZodType | null>>>;

export interface AnswerParts {
  /** The key behind which the next page begins; the `Link` header is made of it. */
  readonly next?: PageKey | undefined;
  /** What the entity tag is made of, where the body holds things that do not count (times of last use). */
  readonly version?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** `Set-Cookie` headers (cookies.ts). */
  readonly cookies?: readonly string[];
  readonly stream?: AnswerStream;
}

export interface Answer extends AnswerParts {
  readonly status: number;
  readonly body?: unknown;
}

/** A 200 that is a file: sent as it is made, never as a whole in memory. Only for operations that declare `streams`. */
export interface AnswerStream {
  readonly type: string;
  /** Asked for the first piece before anything is sent, so what fails by then is a problem like any other. */
  readonly pieces: AsyncIterable<string>;
}

/** The status is a parameter of its own: of a status deep in a type that is still being inferred TypeScript sees only `number`. */
type AnswerOf<A extends Answers, Status extends keyof A> = AnswerParts & {
  readonly status: Status;
} & (A[Status] extends z.ZodType ? { readonly body: z.input<A[Status]> } : { readonly body?: undefined });

type Output<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;
type CallerOf<Access> = Access extends 'signed-in' ? ApiCaller : ApiCaller | null;

interface Declaration {
  /** Unique; OpenAPI's `operationId`, and the name in logs. Idempotency keys belong to it. */
  readonly id: string;
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** Below /api/v1 (template.ts). */
  readonly path: string;
  /** One line in the imperative. */
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  /** What a token limited to parts of the API must have been made for; null asks nothing (the token's grants decide, say). */
  readonly apiScope: string | null;
  /**
   * `reads` has no effects. The others run in one transaction, which may be tried again, so their handlers have no effects
   * but its statements; `creates` also takes an `Idempotency-Key`.
   */
  readonly effect: 'reads' | 'changes' | 'creates';
  /** Whether it changes something that a GET shows with an entity tag: then `If-Match` is honoured, or even required. */
  readonly edits?: 'ifMatchAllowed' | 'ifMatchRequired';
  /** It may touch very much at once: its statements may take longer than those of other requests. */
  readonly patient?: true;
  /** What is the same for everybody may be kept by caches, if they ask each time. All else is never stored. */
  readonly cache?: 'public';
  /** The media types of a 200 that is a stream of text; its schema is null then. */
  readonly streams?: readonly string[];
}

export interface OperationSpec<
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodType | undefined,
  A extends Answers,
  Status extends keyof A,
  Prepared,
  Access extends 'anyone' | 'signed-in',
> extends Declaration {
  readonly access: Access;
  /** Strict objects; `params` has exactly the names of the path. */
  readonly params?: Params;
  readonly query?: Query;
  readonly body?: Body;
  readonly answers: A;
  /** Slow work (argon2) that must not hold a transaction open. Runs before it, once, also when a key's first answer is sent again. */
  prepare?(call: PrepareCall<Output<Params>, Output<Query>, Output<Body>, CallerOf<Access>>): Promise<Prepared>;
  handler(
    call: Call<Output<Params>, Output<Query>, Output<Body>, Prepared, CallerOf<Access>>,
  ): Promise<AnswerOf<A, Status>>;
}

/** An operation whose types were checked at its declaration. */
export interface Operation extends Declaration {
  readonly access: 'anyone' | 'signed-in';
  readonly template: PathTemplate;
  readonly params: z.ZodObject | undefined;
  readonly query: z.ZodObject | undefined;
  readonly body: z.ZodType | undefined;
  readonly answers: Answers;
  prepare?(call: Omit<Call, 'prepared' | 'checkIfMatch'>): Promise<unknown>;
  handler(call: Call): Promise<Answer>;
}

/** @throws TypeError when the declaration contradicts itself */
export function defineOperation<
  const A extends Answers,
  const Status extends keyof A,
  Access extends 'anyone' | 'signed-in',
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
  Prepared = undefined,
>(spec: OperationSpec<Params, Query, Body, A, Status, Prepared, Access>): Operation {
  const template = parseTemplate(spec.path);
  const declared = Object.keys(spec.params?.shape ?? {});
  if (declared.toSorted().join() !== template.names.toSorted().join())
    throw new TypeError(`${spec.id}: params are ${declared.join()}, but the path is ${spec.path}`);
  if ((spec.method === 'get') !== (spec.effect === 'reads'))
    throw new TypeError(`${spec.id}: GET reads, and whatever reads is a GET`);
  if (spec.streams !== undefined && spec.effect !== 'reads')
    throw new TypeError(`${spec.id}: only what reads can stream`);
  if (spec.edits !== undefined && spec.effect !== 'changes')
    throw new TypeError(`${spec.id}: only what changes something can edit it`);
  for (const schema of [spec.params, spec.query]) {
    if (schema !== undefined && !(schema.def.catchall instanceof z.ZodNever))
      throw new TypeError(`${spec.id}: params and query must be strict objects`);
  }
  return { ...spec, template, params: spec.params, query: spec.query, body: spec.body } as Operation;
}
