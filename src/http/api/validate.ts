/** Reads what a request asks for, and refuses what its operation does not declare: all problems in one answer. */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { isKeepable } from '../../oci/fields.ts';
import { JsonError, parseStrictJson } from '../../oci/json.ts';
import { ApiError, type FieldError } from '../../oci/problem.ts';
import { quote } from '../../oci/quote.ts';
import { readBody } from '../oci/body.ts';
import type { Operation } from './operation.ts';

const jsonDepthMax = 32;
const errorsMax = 20;

export interface Input {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

/**
 * @param params as the path holds them, decoded
 * @throws ApiError `invalid` or `unsupportedMediaType`, RegistryError `bodyTooLarge`, ClientGoneError, and what schemas throw themselves
 */
export async function readInput(
  operation: Operation,
  req: IncomingMessage,
  params: Readonly<Record<string, string>>,
  bodyBytesMax: number,
): Promise<Input> {
  const body = operation.effect === 'reads' ? undefined : await readJson(operation, req, bodyBytesMax);
  const query = queryOf(req.url ?? '');
  const errors: FieldError[] = [];
  const input = {
    params: check(operation.params, params, 'path', errors),
    query: check(operation.query, query, 'query', errors),
    body: operation.body === undefined ? undefined : check(operation.body, body, 'body', errors),
  };
  if (errors.length === 0) return input;
  const listed = errors.slice(0, errorsMax);
  const detail = listed.map(({ path, message }) => `${path}: ${message}`).join('; ');
  const more = errors.length - listed.length;
  throw new ApiError('invalid', more === 0 ? detail : `${detail}; and ${more} more`, { errors: listed });
}

async function readJson(operation: Operation, req: IncomingMessage, bodyBytesMax: number): Promise<unknown> {
  const bytes = await readBody(req, bodyBytesMax, 'bodyTooLarge');
  if (bytes.length === 0) return undefined;
  if (operation.body === undefined)
    throw new ApiError('invalid', 'this operation takes no body', {
      errors: [{ path: 'body', message: 'must be empty' }],
    });
  const encoding = req.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' || !isJson(req.headers['content-type']))
    throw new ApiError(
      'unsupportedMediaType',
      'the body must be application/json in UTF-8, without a content encoding',
    );
  try {
    return parseStrictJson(bytes, { depthMax: jsonDepthMax });
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new ApiError('invalid', `the body is not valid JSON: ${error.message}`, {
      errors: [{ path: 'body', message: error.message }],
    });
  }
}

function isJson(contentType: string | undefined): boolean {
  return /^application\/json *(?:; *charset="?utf-8"? *)?$/i.test(contentType ?? '');
}

/** A parameter that is there twice becomes an array, which only a schema for several values takes. */
function queryOf(url: string): Record<string, string | string[]> {
  const query = Object.create(null) as Record<string, string | string[]>;
  const at = url.indexOf('?');
  for (const [name, value] of new URLSearchParams(at < 0 ? '' : url.slice(at + 1))) {
    const before = query[name];
    query[name] = before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value];
  }
  return query;
}

const noFields = z.strictObject({});

function check(schema: z.ZodType | undefined, value: unknown, place: string, errors: FieldError[]): unknown {
  const result = (schema ?? noFields).safeParse(value);
  // Schemas look at shapes; no text at all may hold what PostgreSQL could not keep.
  const found = unkeepable(value, place);
  if (found !== undefined) errors.push({ path: found, message: 'must be text without NUL or half surrogate pairs' });
  if (result.success) return result.data;
  errors.push(...result.error.issues.flatMap((issue) => fieldErrors(issue, place)));
  return undefined;
}

function fieldErrors(issue: z.core.$ZodIssue, place: string): FieldError[] {
  const path = [place, ...issue.path.map(String)].join('.');
  if (issue.code !== 'unrecognized_keys') return [{ path, message: issue.message }];
  return issue.keys.map((key) => ({ path, message: `${quote(key)} is not known here` }));
}

/** Where the first string is that PostgreSQL could not keep; schemas look only at the fields that they know. */
function unkeepable(value: unknown, path: string): string | undefined {
  if (typeof value === 'string') return isKeepable(value) ? undefined : path;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, each] of Object.entries(value)) {
    if (!isKeepable(key)) return path;
    const found = unkeepable(each, `${path}.${key.slice(0, 64)}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
