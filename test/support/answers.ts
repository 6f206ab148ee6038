/** What tests say about answers again and again. */
import { expect } from 'vitest';
import type { Response } from 'supertest';
import type { ErrorCode } from '../../src/oci/errors.ts';
import type { Client } from './client.ts';

interface ErrorBody {
  readonly errors: readonly { readonly code: string; readonly message: string; readonly detail?: unknown }[];
}

/**
 * Expects this status and only errors of this code, in the form of
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
 * @returns the errors
 */
export function expectErrors(answer: Response, status: number, code: ErrorCode): ErrorBody['errors'] {
  const { errors } = answer.body as ErrorBody;
  expect({ status: answer.status, codes: [...new Set(errors?.map((error) => error.code))] }, answer.text).toEqual({
    status,
    codes: [code],
  });
  expect(answer.headers['content-type']).toBe('application/json');
  for (const { message } of errors) expect(message).toMatch(/\w/);
  return errors;
}

/** The path and query of an address in an answer, absolute or relative. */
export function pathOf(address: string | undefined): string {
  if (address === undefined) throw new Error('the answer has no address');
  const { pathname, search } = new URL(address, 'http://relative.invalid');
  return pathname + search;
}

/** The page behind this one, as its `Link` header names it; undefined at the end. */
export function nextPageOf(answer: Response): string | undefined {
  const link = answer.headers['link'];
  if (link === undefined) return undefined;
  const match = /^<([^>]+)>; rel="next"$/.exec(link);
  if (match === null) throw new Error(`not a link to the next page: ${link}`);
  return pathOf(match[1]);
}

/** Every page of a listing, from this address on. */
export async function pagesOf(client: Client, path: string): Promise<Response[]> {
  const pages: Response[] = [];
  for (let next: string | undefined = path; next !== undefined; next = nextPageOf(pages.at(-1)!)) {
    if (pages.length > 1000) throw new Error('the pages do not end');
    pages.push(await client.request('get', next));
  }
  return pages;
}

/** GETs bytes of any content type. */
export async function getBytes(
  client: Client,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response & { readonly body: Buffer }> {
  return client.request('get', path).set(headers).responseType('blob');
}
