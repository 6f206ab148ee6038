/** Upload sessions, step by step. */
import type { Response, Test } from 'supertest';
import { pathOf } from './answers.ts';
import type { Client } from './client.ts';

/** Opens a session. @returns its path, to be used with any client */
export async function openUpload(client: Client, name: string, query = ''): Promise<string> {
  const answer = await client.request('post', `/v2/${name}/blobs/uploads/${query}`);
  if (answer.status !== 202) throw new Error(`no upload session: ${answer.status} ${answer.text}`);
  return pathOf(answer.headers['location']);
}

/** Sends a chunk; with `start` it says where it belongs. */
export function sendChunk(client: Client, session: string, bytes: Buffer, start?: number): Test {
  const request = client.request('patch', session).set('Content-Type', 'application/octet-stream');
  return withRange(request, bytes, start).send(bytes);
}

/** Closes a session, with a last chunk or without. */
export function closeUpload(client: Client, session: string, digest: string, bytes?: Buffer, start?: number): Test {
  const request = client.request('put', `${session}${session.includes('?') ? '&' : '?'}digest=${digest}`);
  if (bytes === undefined) return request;
  return withRange(request.set('Content-Type', 'application/octet-stream'), bytes, start).send(bytes);
}

function withRange(request: Test, bytes: Buffer, start: number | undefined): Test {
  return start === undefined ? request : request.set('Content-Range', `${start}-${start + bytes.length - 1}`);
}

/** A body whose length is not announced, in these pieces. */
export async function sendStream(
  url: string,
  login: { readonly username: string; readonly password: string },
  method: 'PATCH' | 'PUT' | 'POST',
  path: string,
  pieces: readonly Buffer[],
  contentType = 'application/octet-stream',
): Promise<globalThis.Response> {
  return fetch(new URL(path, url), {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`,
      'content-type': contentType,
    },
    body: ReadableStream.from(pieces),
    duplex: 'half',
  });
}

/** Where a session stands: the value of its `Range` header. */
export async function rangeOf(client: Client, session: string): Promise<string | undefined> {
  const answer: Response = await client.request('get', session);
  return answer.headers['range'];
}
