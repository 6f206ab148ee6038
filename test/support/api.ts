/**
 * Requests to /api/v1, each answer held against the OpenAPI document that the same server serves: an address, a status, a
 * media type or a field that is not declared there fails the test, whatever it asked for.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import supertest, { type Response, type Test } from 'supertest';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import type { Login } from './berth.ts';

/** Nobody, a name and password, a token, or a browser session over plain http (its secret). */
export type Who = undefined | Login | { readonly token: string } | { readonly session: string };

export interface Api {
  /** `path` is below /api/v1, and may have a query. The answer is the raw one: any status. */
  get(path: string): Test;
  head(path: string): Test;
  post(path: string, body?: unknown): Test;
  put(path: string, body?: unknown): Test;
  patch(path: string, body?: unknown): Test;
  delete(path: string, body?: unknown): Test;
}

const prefix = '/api/v1';

/** Reads the document first, once per server. */
export async function apiOf(url: string, who?: Who): Promise<Api> {
  const contract = await contractOf(url);
  const request = (method: Lowercase<string> & keyof Api, path: string, body?: unknown): Test => {
    const test = supertest(url)
      [method](prefix + path)
      .ok(() => true);
    if (who !== undefined) show(test, who);
    // `send` makes JSON of objects only; a test may want to send any value.
    if (body !== undefined) test.set('Content-Type', 'application/json').send(JSON.stringify(body));
    return test.expect((answer) => contract.check(method, prefix + path, answer));
  };
  return {
    get: (path) => request('get', path),
    head: (path) => request('head', path),
    post: (path, body) => request('post', path, body),
    put: (path, body) => request('put', path, body),
    patch: (path, body) => request('patch', path, body),
    delete: (path, body) => request('delete', path, body),
  };
}

function show(test: Test, who: NonNullable<Who>): void {
  if ('token' in who) test.auth(who.token, { type: 'bearer' });
  else if ('username' in who) test.auth(who.username, who.password);
  else test.set('Cookie', `berth_session=${who.session}`).set('X-CSRF-Token', csrfTokenOf(who.session));
}

/** Every page of a listing, from this path on. */
export async function itemsOf<Item>(api: Api, path: string): Promise<Item[]> {
  const items: Item[] = [];
  for (let next: string | undefined = path; next !== undefined;) {
    const answer: Response = await api.get(next);
    if (answer.status !== 200) throw new Error(`${answer.status} for ${next}: ${answer.text}`);
    items.push(...(answer.body as { items: Item[] }).items);
    if (items.length > 10_000) throw new Error('the pages do not end');
    const link = answer.headers['link'];
    next = link === undefined ? undefined : /^<(?:https?:\/\/[^/]+)?\/api\/v1([^>]+)>; rel="next"$/.exec(link)![1]!;
  }
  return items;
}

interface Contract {
  /** @throws Error when the answer is not one that the document declares */
  check(method: string, path: string, answer: Response): void;
}

const contracts = new Map<string, Promise<Contract>>();

function contractOf(url: string): Promise<Contract> {
  let contract = contracts.get(url);
  if (contract === undefined) {
    contract = readContract(url);
    contracts.set(url, contract);
  }
  return contract;
}

interface Parameter {
  readonly name?: string;
  readonly in?: string;
  readonly 'x-many-segments'?: true;
}
interface Answers {
  readonly $ref?: string;
  readonly content?: Readonly<Record<string, unknown>>;
}
interface DeclaredOperation {
  readonly parameters?: readonly Parameter[];
  readonly responses: Readonly<Record<string, Answers>>;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DeclaredOperation>>>>;
}

async function readContract(url: string): Promise<Contract> {
  const answer = await supertest(url).get(`${prefix}/openapi.json`).expect(200);
  const document = answer.body as Document;
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema(document, 'openapi');
  const validators = new Map<string, ValidateFunction>();
  const paths = Object.entries(document.paths).map(([template, operations]) => ({
    template,
    operations,
    pattern: patternOf(template, operations),
  }));
  // Of two templates that match, the one with fewer parameters is meant, as the server decides.
  paths.sort((a, b) => a.template.split('{').length - b.template.split('{').length);

  function validate(pointer: string, value: unknown, where: string): void {
    const validator = validators.get(pointer) ?? ajv.compile({ $ref: `openapi#${pointer}` });
    validators.set(pointer, validator);
    if (!validator(value))
      throw new Error(
        `${where}: the body is not what openapi.json declares: ${ajv.errorsText(validator.errors)}\n${JSON.stringify(value)}`,
      );
  }

  return {
    check(method, path, answer) {
      const { status } = answer;
      const where = `${method.toUpperCase()} ${path} -> ${status}`;
      const plain = path.split('?')[0]!;
      const found = paths.find(({ pattern }) => pattern.test(plain));
      const operation = found?.operations[method === 'head' ? 'get' : method];
      if (found === undefined || operation === undefined) {
        if (status !== (found === undefined ? 404 : 405))
          throw new Error(`${where}: openapi.json has no such operation`);
        return checkBody(answer, where, method, ['components', 'responses', 'Problem404']);
      }
      const declared = operation.responses[status];
      if (declared === undefined) throw new Error(`${where}: openapi.json does not declare the status: ${answer.text}`);
      const at =
        declared.$ref === undefined
          ? ['paths', found.template, method === 'head' ? 'get' : method, 'responses', String(status)]
          : declared.$ref.slice(2).split('/');
      checkBody(answer, where, method, at);
    },
  };

  function checkBody(answer: Response, where: string, method: string, at: readonly string[]): void {
    const type = answer.headers['content-type'] as string | undefined;
    const declared = at.reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], document) as Answers;
    const types = Object.keys(declared.content ?? {});
    if (type === undefined ? types.length > 0 : !types.includes(type))
      throw new Error(`${where}: the media type is ${type}, declared are: ${types.join(', ') || 'none'}`);
    if (type === undefined || method === 'head') return;
    const pointer = [...at, 'content', type, 'schema'].map(escapePointer).join('/');
    validate(
      `/${pointer}`,
      type.endsWith('/json') || type.endsWith('+json') ? JSON.parse(answer.text) : answer.text,
      where,
    );
  }
}

function escapePointer(key: string): string {
  return encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'));
}

function patternOf(template: string, operations: Readonly<Record<string, DeclaredOperation>>): RegExp {
  const many = new Set(
    Object.values(operations)
      .flatMap(({ parameters }) => parameters ?? [])
      .flatMap((parameter) => (parameter['x-many-segments'] === true ? parameter.name! : [])),
  );
  const parts = template.split(/\{(\w+)\}/).map((part, i) => {
    if (i % 2 === 0) return RegExp.escape(part);
    return many.has(part) ? '(?:(?!/-(?:/|$)).)+' : '[^/]+';
  });
  return new RegExp(`^${parts.join('')}$`);
}
