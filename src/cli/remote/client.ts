/** Requests of the command to /api/v1 of a running Berth. */
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { urlToHttpOptions } from 'node:url';
import { UsageError } from '../usage-error.ts';
import { readVersion } from '../version.ts';
import type { Connection } from './connection.ts';
import { visible } from './output.ts';
import { problemErrorOf, ProblemError, unreachable, UnreachableError } from './errors.ts';

const prefix = '/api/v1';
const idleTimeoutMs = 60_000;
/** The longest answer that is read whole. */
const answerBytesMax = 64 * 1024 * 1024;

export interface Answer<Body = unknown> {
  readonly headers: IncomingHttpHeaders;
  /** Undefined where there is none. */
  readonly body: Body;
}

interface Sent {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

type Query = Readonly<Record<string, string | undefined>>;

export interface ApiClient {
  /** One request. `path` is below /api/v1. @throws ProblemError, UnreachableError */
  send<Body = unknown>(method: string, path: string, sent?: Sent): Promise<Answer<Body>>;
  /** Every entry of a listing, page by page. @throws ProblemError, UnreachableError */
  items<Item>(path: string, query?: Query): AsyncGenerator<Item>;
  /** One request whose answer is read by whoever asked. @throws ProblemError, UnreachableError */
  open(method: string, path: string, sent?: Sent): Promise<IncomingMessage>;
  /** The answer's JSON; undefined where there is none. @throws UnreachableError when it does not arrive whole */
  readJson(answer: IncomingMessage): Promise<unknown>;
  /** Passes the answer on as it comes. @throws UnreachableError when it does not arrive whole */
  passOn(answer: IncomingMessage, to: Writable): Promise<void>;
}

export function createClient({ server, authorization, tls }: Connection): ApiClient {
  const { origin } = server;

  async function open(method: string, path: string, { body, headers }: Sent = {}): Promise<IncomingMessage> {
    const bytes = body === undefined ? undefined : JSON.stringify(body);
    const all = {
      Accept: 'application/json, */*',
      'User-Agent': `berth/${readVersion()}`,
      ...(authorization !== undefined && { Authorization: authorization }),
      ...(bytes !== undefined && {
        'Content-Type': 'application/json',
        'Content-Length': String(Buffer.byteLength(bytes)),
      }),
      ...headers,
    };
    try {
      // The path as it is: an URL object would make another one of `..`.
      const address = { ...urlToHttpOptions(server), method, path: prefix + path };
      const answer = await exchange({ ...address, ...tls, headers: all }, bytes);
      await refuse(answer);
      return answer;
    } catch (error) {
      throw expected(error) ? error : unreachable(origin, error);
    }
  }

  /** @throws ProblemError, UnreachableError for whatever is no success */
  async function refuse(answer: IncomingMessage): Promise<void> {
    const { statusCode = 0, headers } = answer;
    if (statusCode >= 200 && statusCode < 300) return;
    if (statusCode >= 300 && statusCode < 400 && statusCode !== 304)
      throw new UnreachableError(
        `${origin} sends us on to ${visible(String(headers.location))}; name the right one with --server`,
      );
    const problem = problemErrorOf(parse(await read(answer)));
    if (problem !== undefined) throw problem;
    throw noBerth(`it answers ${statusCode}`);
  }

  const noBerth = (why: string): UnreachableError =>
    new UnreachableError(`what answers at ${origin} is no Berth, or something stands before it: ${why}`);

  async function read(answer: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > answerBytesMax) break;
        chunks.push(chunk);
      }
    } catch (error) {
      throw unreachable(origin, error);
    }
    if (size > answerBytesMax) throw noBerth(`its answer has more than ${answerBytesMax} bytes`);
    return Buffer.concat(chunks).toString('utf8');
  }

  async function send<Body>(method: string, path: string, sent?: Sent): Promise<Answer<Body>> {
    const answer = await open(method, path, sent);
    return { headers: answer.headers, body: (await readJson(answer)) as Body };
  }

  async function readJson(answer: IncomingMessage): Promise<unknown> {
    const text = await read(answer);
    const body = parse(text);
    if (text !== '' && body === undefined) throw noBerth('its answer is no JSON');
    return body;
  }

  async function* items<Item>(path: string, query: Query = {}): AsyncGenerator<Item> {
    for (let next: string | undefined = withQuery(path, query); next !== undefined;) {
      const { headers, body }: Answer = await send('GET', next);
      const page = (body as { items?: unknown } | undefined)?.items;
      if (!Array.isArray(page)) throw new UsageError(`${path} is no listing`);
      yield* page as Item[];
      next = nextPage(headers, server);
    }
  }

  async function passOn(answer: IncomingMessage, to: Writable): Promise<void> {
    try {
      await pipeline(answer, to, { end: to !== process.stdout });
    } catch (error) {
      throw error === answer.errored ? unreachable(origin, error) : error;
    }
  }

  return { send, items, open, readJson, passOn };
}

const expected = (error: unknown): boolean => error instanceof ProblemError || error instanceof UnreachableError;

/** @returns the answer as soon as its headers are there */
async function exchange(options: RequestOptions, body: string | undefined): Promise<IncomingMessage> {
  const outgoing = (options.protocol === 'https:' ? httpsRequest : httpRequest)({ ...options, timeout: idleTimeoutMs });
  outgoing.on('timeout', () => outgoing.destroy(new Error(`nothing came for ${idleTimeoutMs / 1000} seconds`)));
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  // From here on the answer says what breaks.
  outgoing.on('error', () => undefined);
  return answer;
}

/** Below /api/v1; of the next page's address only the path is followed: the credentials stay where they were meant for. */
function nextPage({ link }: IncomingHttpHeaders, server: URL): string | undefined {
  const address = /<([^>]+)>; rel="next"/.exec(String(link))?.[1];
  if (address === undefined) return undefined;
  const { pathname, search } = new URL(address, server);
  return pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length) + search : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The path with these parameters behind it; those that it has, and those that are undefined, are left as they are. */
export function withQuery(path: string, query: Query): string {
  const [, bare, search] = /^([^?]*)\??(.*)$/s.exec(path)!;
  const parameters = new URLSearchParams(search);
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && !parameters.has(name)) parameters.set(name, value);
  return parameters.size === 0 ? path : `${bare}?${parameters.toString()}`;
}

/** A path with values in it, each one segment, whatever characters it has. @throws UsageError for what is no name */
export function path(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return String.raw({ raw: parts }, ...values.map(segment));
}

/** The path of a repository; its slashes stay slashes. @throws UsageError for what is no name */
export const repositoryPath = (name: string): string => `/repositories/${name.split('/').map(segment).join('/')}/-`;

function segment(value: string): string {
  if (['', '.', '..'].includes(value)) throw new UsageError(`${JSON.stringify(value)} is no name`);
  return encodeURIComponent(value);
}
