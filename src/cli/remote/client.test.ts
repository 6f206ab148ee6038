/** What a Berth would never answer, and what it must not be told. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { afterEach, describe, expect, test } from 'vitest';
import { parseConfig } from '../../config/load.ts';
import { createClient, path, repositoryPath, withQuery, type ApiClient } from './client.ts';
import { connect } from './connection.ts';
import { ProblemError, UnreachableError } from './errors.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

type Handler = (req: IncomingMessage, res: ServerResponse) => void;

async function serve(handler: Handler): Promise<string> {
  const server = createServer(handler).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** The client of whoever set this server's address, and an administrator's password. */
async function clientOf(host: string): Promise<ApiClient> {
  const config = parseConfig({ BERTH_LISTEN: host, BERTH_ADMIN_PASSWORD: 'correct horse battery' });
  return createClient(await connect(config, {}));
}

const answering = (status: number, headers: Record<string, string>, body: string): Promise<ApiClient> =>
  serve((_, res) => res.writeHead(status, headers).end(body)).then(clientOf);

describe('an answer', () => {
  test.each([
    [
      'is a web page of somebody else',
      502,
      { 'content-type': 'text/html' },
      '<h1>Bad Gateway</h1>',
      /is no Berth.*502/,
    ],
    ['is a page where JSON should be', 200, { 'content-type': 'text/html' }, '<h1>Hello</h1>', /is no Berth/],
    [
      'sends us elsewhere',
      308,
      { location: 'https://other.invalid/\u009b' },
      '',
      /sends us on to https:\/\/other.*--server/,
    ],
    ['is empty, and an error', 500, {}, '', /is no Berth.*500/],
  ])('that %s is no failure without words', async (_, status, headers, body, message) => {
    const client = await answering(status, headers, body);
    const failed = client.send('GET', '/namespaces');
    await expect(failed).rejects.toThrow(UnreachableError);
    await expect(failed).rejects.toThrow(message);
  });

  test('with a problem says all of it, and obeys none of it', async () => {
    const problem = {
      title: 'the request is not valid',
      detail: 'body.name\u001b[2J',
      next: 'Correct it.',
      requestId: 'r-1',
      errors: [{ path: 'body.name', message: 'is too long' }],
    };
    const client = await answering(400, { 'content-type': 'application/problem+json' }, JSON.stringify(problem));
    const error = await client.send('POST', '/namespaces', { body: {} }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ProblemError);
    expect((error as Error).message.split('\n')).toEqual([
      'the request is not valid: body.name?[2J',
      '  body.name is too long',
      '  Correct it.',
      '  (request r-1)',
    ]);
  });

  test.each(['send', 'passOn'] as const)('that breaks off is never taken for a whole one (%s)', async (way) => {
    const host = await serve((_, res) => {
      res.writeHead(200, { 'content-length': '100' }).write('{}');
      setImmediate(() => res.destroy());
    });
    const client = await clientOf(host);
    const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
    const asked =
      way === 'send'
        ? client.send('GET', '/x')
        : client.open('GET', '/x').then((answer) => client.passOn(answer, sink));
    await expect(asked).rejects.toThrow(UnreachableError);
  });

  test('names a next page elsewhere: the path is followed, the credentials stay here', async () => {
    const elsewhere: string[] = [];
    const other = await serve((req, res) => {
      elsewhere.push(req.url!);
      res.end('{"items":[]}');
    });
    const asked: string[] = [];
    const host = await serve((req, res) => {
      asked.push(req.url!);
      const next = `<http://${other}/api/v1/things?cursor=2>; rel="next"`;
      if (asked.length === 1) res.setHeader('Link', next);
      res.end(JSON.stringify({ items: [asked.length] }));
    });
    const items = await Array.fromAsync((await clientOf(host)).items('/things?limit=1'));
    expect(items).toEqual([1, 2]);
    expect(asked).toEqual(['/api/v1/things?limit=1', '/api/v1/things?cursor=2']);
    expect(elsewhere).toEqual([]);
  });
});

describe('a path', () => {
  test('keeps every name in its place', () => {
    expect(path`/namespaces/${'a/b?c#d é'}/members/${'x'}`).toBe('/namespaces/a%2Fb%3Fc%23d%20%C3%A9/members/x');
    expect(repositoryPath('acme/web/app')).toBe('/repositories/acme/web/app/-');
  });

  test.each(['', '.', '..'])('has no room for %j', (name) => {
    expect(() => path`/namespaces/acme/members/${name}`).toThrow('is no name');
    expect(() => repositoryPath(`acme/${name}`)).toThrow('is no name');
  });

  test('gets the parameters that it lacks', () => {
    expect(withQuery('/audit', { who: undefined })).toBe('/audit');
    expect(withQuery('/audit?limit=1', { limit: '100', who: 'a&b' })).toBe('/audit?limit=1&who=a%26b');
  });
});
