/** A server with operations made for tests: things with names, in a table of their own. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import { UnauthorizedError } from '../../src/access/errors.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import type { ApiCaller, AuthenticateApi } from '../../src/http/api/caller.ts';
import { clearSessionCookie, setSessionCookie } from '../../src/http/api/cookies.ts';
import { defineOperation, type Operation } from '../../src/http/api/operation.ts';
import { cutPage, pageQuery, pageSchema } from '../../src/http/api/pages.ts';
import { createApiRouter } from '../../src/http/api/router.ts';
import type { Denied } from '../../src/http/api/run.ts';
import { createExpress } from '../../src/http/express.ts';
import { createOrigins } from '../../src/http/origin.ts';
import { ApiError } from '../../src/oci/problem.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createTestDatabase } from './database.ts';

export interface ApiServer {
  readonly url: string;
  readonly port: number;
  readonly database: Database;
  readonly logs: readonly Record<string, unknown>[];
  /** What `onDenied` was told. */
  readonly denied: Denied[];
  stop(): Promise<void>;
}

export const bodyBytesMax = 4096;

/** Tokens and session secrets that count here, and whose they are. */
const tokens: Readonly<Record<string, ApiCaller>> = {
  alice: caller(101, 'alice'),
  'alice-again': caller(102, 'alice'),
  bob: caller(201, 'bob'),
  limited: { ...caller(103, 'alice'), apiScopes: ['others'] },
};
const sessions: Readonly<Record<string, ApiCaller>> = { session_of_alice: caller(104, 'alice') };

function caller(credentialId: number, name: string): ApiCaller {
  return {
    caller: { credentialId, kid: null, scopes: null },
    subject: {
      credentialId,
      kind: 'token',
      credentialName: null,
      user: { id: 1, name, admin: false },
      robot: null,
      grants: null,
    },
    apiScopes: null,
  };
}

const authenticateApi: AuthenticateApi = async ({ authorization, sessionSecret }) => {
  if (authorization === undefined) return sessions[sessionSecret ?? ''] ?? null;
  const known = tokens[authorization.replace('Bearer ', '')];
  if (known === undefined) throw new UnauthorizedError({ message: 'this token is not one of ours' });
  return known;
};

/** @param settings of how the server is reached */
export async function startApiServer(
  settings: { publicUrl?: string; operations?: readonly Operation[]; onDenied?: () => Promise<void> } = {},
): Promise<ApiServer> {
  const facts = await createTestDatabase();
  const database = createDatabase({ connection: facts.connection, poolSize: 8, hotLanes: 1 });
  await database.query('CREATE TABLE things (name text COLLATE "C" PRIMARY KEY, note text NOT NULL)');
  const logs: Record<string, unknown>[] = [];
  const logger = createLogger(
    { level: 'debug', format: 'json' },
    { write: (line) => void logs.push(JSON.parse(line)) },
  );
  const denied: Denied[] = [];
  const router = createApiRouter({
    operations: settings.operations ?? thingOperations,
    database,
    authenticateApi,
    origins: createOrigins({
      publicUrl: settings.publicUrl === undefined ? undefined : new URL(settings.publicUrl),
      trustedProxies: { includes: () => false },
    }),
    logger,
    bodyBytesMax,
    onDenied: async (attempt) => {
      denied.push(attempt);
      await settings.onDenied?.();
    },
  });
  const server = createServer(createExpress([router], logger)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    database,
    logs,
    denied,
    async stop() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
      await database.close();
      await facts.drop();
    },
  };
}

interface ThingRow {
  readonly name: string;
  readonly note: string;
}

const thing = z.strictObject({ name: z.string(), note: z.string() }).meta({ id: 'Thing' });
const params = z.strictObject({ name: z.string() });
const common = { tags: ['things'], access: 'signed-in', apiScope: 'things' } as const;

const unknownThing = (): ApiError => new ApiError('notFound', 'there is no such thing, or you may not see it');

const list = defineOperation({
  ...common,
  id: 'listThings',
  method: 'get',
  path: '/things',
  summary: 'List things',
  effect: 'reads',
  query: z.strictObject({ ...pageQuery(z.tuple([z.string()])), note: z.string().optional() }),
  answers: { 200: pageSchema(thing) },
  async handler({ query, queryer }) {
    const rows = await queryer.query<ThingRow>(
      'SELECT name, note FROM things WHERE name > $1 AND ($2::text IS NULL OR note = $2) ORDER BY name LIMIT $3',
      [query.cursor?.[0] ?? '', query.note ?? null, query.limit + 1],
    );
    const { items, next } = cutPage(rows, query.limit, (row) => [row.name]);
    return { status: 200, body: { items: [...items] }, next };
  },
});

const create = defineOperation({
  ...common,
  id: 'createThing',
  method: 'post',
  path: '/things',
  summary: 'Make a thing',
  effect: 'creates',
  body: z.strictObject({
    name: z.string().min(1).max(20),
    note: z.string().optional(),
    tags: z.array(z.strictObject({ key: z.string().max(5) })).optional(),
  }),
  answers: { 201: z.strictObject({ ...thing.shape, secret: z.string() }) },
  prepare: async () => `once-${randomUUID()}`,
  async handler({ body: { name, note = '' }, queryer, prepared: secret }) {
    const made = await queryer.query(
      'INSERT INTO things (name, note) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1',
      [name, note],
    );
    if (made.length === 0) throw new ApiError('conflict', 'there is already such a thing');
    if (note === 'forbidden') throw new ApiError('forbidden', 'nobody may write this');
    if (note === 'broken') throw new Error('the detail of a failure');
    return { status: 201, body: { name, note, secret }, headers: { Location: `/api/v1/things/${name}` } };
  },
});

const get = defineOperation({
  ...common,
  id: 'getThing',
  method: 'get',
  path: '/things/{name}',
  summary: 'Look at a thing',
  effect: 'reads',
  params,
  answers: { 200: thing },
  async handler({ params: { name }, queryer }) {
    const [row] = await queryer.query<ThingRow>('SELECT name, note FROM things WHERE name = $1', [name]);
    if (row === undefined) throw unknownThing();
    return { status: 200, body: row };
  },
});

const change = defineOperation({
  ...common,
  id: 'changeThing',
  method: 'patch',
  path: '/things/{name}',
  summary: 'Change a thing',
  effect: 'changes',
  edits: 'ifMatchAllowed',
  params,
  body: z.strictObject({ note: z.string() }),
  answers: { 200: thing },
  async handler({ params: { name }, body, queryer, checkIfMatch }) {
    const [row] = await queryer.query<ThingRow>('SELECT name, note FROM things WHERE name = $1 FOR UPDATE', [name]);
    if (row === undefined) throw unknownThing();
    // In another order than where it is read: the same all the same.
    if (body.note !== 'unchecked') checkIfMatch({ note: row.note, name: row.name });
    await queryer.query('UPDATE things SET note = $2 WHERE name = $1', [name, body.note]);
    return { status: 200, body: { note: body.note, name } };
  },
});

const remove = defineOperation({
  ...common,
  id: 'deleteThing',
  method: 'delete',
  path: '/things/{name}',
  summary: 'Delete a thing',
  effect: 'changes',
  edits: 'ifMatchRequired',
  params,
  answers: { 204: null },
  async handler({ params: { name }, queryer, checkIfMatch }) {
    const [row] = await queryer.query<ThingRow>('SELECT name, note FROM things WHERE name = $1 FOR UPDATE', [name]);
    if (row === undefined) throw unknownThing();
    checkIfMatch(row);
    await queryer.query('DELETE FROM things WHERE name = $1', [name]);
    return { status: 204 };
  },
});

const sample = defineOperation({
  ...common,
  id: 'getSample',
  method: 'get',
  path: '/things/sample',
  summary: 'Look at the sample',
  effect: 'reads',
  answers: { 200: thing },
  handler: async () => ({ status: 200, body: { name: 'sample', note: '' } }),
});

const echo = z.strictObject({ name: z.string(), part: z.string().optional() });

const place = defineOperation({
  ...common,
  id: 'getPlace',
  method: 'get',
  path: '/places/{name+}/-',
  summary: 'Look at a place',
  effect: 'reads',
  params,
  answers: { 200: echo },
  handler: async ({ params: { name } }) => ({ status: 200, body: { name } }),
});

const part = defineOperation({
  ...common,
  id: 'getPart',
  method: 'get',
  path: '/places/{name+}/-/parts/{part}',
  summary: 'Look at a part of a place',
  effect: 'reads',
  params: z.strictObject({ name: z.string(), part: z.string() }),
  answers: { 200: echo },
  handler: async ({ params: { name, part: asked } }) => ({ status: 200, body: { name, part: asked } }),
});

const wrong = defineOperation({
  ...common,
  id: 'getWrong',
  method: 'get',
  path: '/wrong',
  summary: 'Get what is not declared',
  effect: 'reads',
  answers: { 200: thing },
  handler: async () => {
    const body = { name: 'wrong', note: '', secret: 'nobody declared me' };
    return { status: 200, body };
  },
});

const signIn = defineOperation({
  id: 'signIn',
  method: 'post',
  path: '/session',
  summary: 'Sign in',
  tags: ['session'],
  access: 'anyone',
  apiScope: null,
  effect: 'creates',
  answers: { 201: z.strictObject({ nonce: z.string(), was: z.string().nullable() }) },
  handler: async ({ request: { secure }, caller: was }) => ({
    status: 201,
    body: { nonce: randomUUID(), was: was?.subject.user?.name ?? null },
    cookies: [setSessionCookie('session_of_alice', { secure, maxAgeSeconds: 60 })],
  }),
});

const signOut = defineOperation({
  id: 'signOut',
  method: 'delete',
  path: '/session',
  summary: 'Sign out',
  tags: ['session'],
  access: 'signed-in',
  apiScope: null,
  effect: 'changes',
  answers: { 204: null },
  handler: async ({ request: { secure } }) => ({ status: 204, cookies: [clearSessionCookie(secure)] }),
});

const thingOperations: readonly Operation[] = [
  list,
  create,
  get,
  change,
  remove,
  sample,
  place,
  part,
  wrong,
  signIn,
  signOut,
];
