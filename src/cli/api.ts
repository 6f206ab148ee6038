/** `berth api`: any operation of /api/v1, for what has no command of its own. */
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { createClient } from './remote/client.ts';
import { run } from './remote/command.ts';
import { addConnectionOptions, connect, type ConnectionChoices } from './remote/connection.ts';
import { createPrinter, toJson, visible } from './remote/output.ts';
import { UsageError } from './usage-error.ts';

interface ApiOptions extends ConnectionChoices {
  readonly list?: true;
  readonly paginate?: true;
  readonly include?: true;
  readonly ifMatch?: string;
  readonly idempotencyKey?: string;
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

export function apiCommand(): Command {
  const command = new Command('api')
    .description('Ask a running Berth anything that /api/v1 can do, or list what that is.')
    .argument('[method]', methods.join(', '))
    .argument('[path]', 'behind /api/v1, with its query')
    .argument('[json]', 'the body; - reads it from the standard input, which a body with a password in it must do')
    .option('--list', 'print every operation (also: no arguments at all)')
    .option('--paginate', 'follow a listing to its end, and print one entry a line')
    .option('--include', 'print the headers of the answer first, on stderr: the ETag is there')
    .option('--if-match <etag>', 'change it only if this is still its ETag')
    .option('--idempotency-key <key>', 'a random text: who repeats a request with it makes nothing twice');
  return addConnectionOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  berth api
  berth api GET /namespaces/acme
  berth api GET '/audit?outcome=denied' --paginate
  berth api PATCH /namespaces/acme '{"description": "Anvils"}'
  berth api POST /users - < user.json`,
    )
    .action((method: string | undefined, path: string | undefined, body: string | undefined, options: ApiOptions) => {
      if (options.list || method === undefined) return run(() => list(options));
      return run(() => ask(method.toUpperCase(), path, body, options));
    });
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly summary: string }>>>>;
}

async function list(options: ApiOptions): Promise<void> {
  // Everybody may read what there is.
  const api = createClient(await connect(loadConfig(), { ...options, anonymous: true }));
  const { body } = await api.send<Document>('GET', '/openapi.json');
  async function* operations() {
    for (const [path, of] of Object.entries(body.paths))
      for (const [method, { summary }] of Object.entries(of))
        yield { method: method.toUpperCase(), path: withoutPrefix(path), summary };
  }
  await createPrinter(false).list(operations(), {
    method: ({ method }) => method,
    path: ({ path }) => path,
    summary: ({ summary }) => summary,
  });
}

async function ask(method: string, path: string | undefined, json: string | undefined, options: ApiOptions) {
  if (!methods.includes(method)) throw new UsageError(`${method} is no method; there are ${methods.join(', ')}`);
  if (path === undefined) throw new UsageError(`say what to ${method}: berth api prints every path`);
  const api = createClient(await connect(loadConfig(), options));
  if (options.paginate) {
    if (method !== 'GET') throw new UsageError('--paginate goes with GET');
    for await (const item of api.items(withoutPrefix(path))) process.stdout.write(`${toJson(item, false)}\n`);
    return;
  }
  const body = await readBody(json, options);
  const headers = {
    ...(options.ifMatch !== undefined && { 'If-Match': options.ifMatch }),
    ...(options.idempotencyKey !== undefined && { 'Idempotency-Key': options.idempotencyKey }),
  };
  const answer = await api.open(method, withoutPrefix(path), { body, headers });
  if (options.include) process.stderr.write(headersOf(answer.rawHeaders));
  if (!/[/+]json$/.test(answer.headers['content-type'] ?? '')) return api.passOn(answer, process.stdout);
  const shown = await api.readJson(answer);
  if (shown !== undefined) process.stdout.write(`${toJson(shown, process.stdout.isTTY)}\n`);
}

/** People copy paths from everywhere, and type what an URL would have escaped. */
function withoutPrefix(path: string): string {
  const below = path.replace(/^\/?(api\/v1(?=[/?]|$))?\/?/, '/');
  return below.replaceAll(/[^\u0021-\u007e]/gu, encodeURIComponent);
}

const headersOf = (raw: readonly string[]): string =>
  `${raw.map((text, position) => visible(text) + (position % 2 === 0 ? ': ' : '\n')).join('')}\n`;

async function readBody(json: string | undefined, options: ConnectionChoices): Promise<unknown> {
  if (json === undefined) return undefined;
  if (json === '-' && (options.passwordStdin || options.tokenStdin))
    throw new UsageError('the standard input cannot be both the body and a secret; put the secret in a --token-file');
  let body: unknown;
  try {
    body = JSON.parse(json === '-' ? await text(process.stdin) : json);
  } catch {
    // What is wrong with it may be its password.
    throw new UsageError(
      `the body is no JSON${json === '-' ? '' : '; put it in single quotes, or - for the standard input'}`,
    );
  }
  if (json !== '-') refuseSecrets(body);
  return body;
}

const secretFields = ['password', 'newPassword', 'token', 'code'];

/** @throws UsageError: whoever put a secret into an argument does not do so twice */
function refuseSecrets(body: unknown): void {
  const secret = secretFields.find((name) => typeof (body as Record<string, unknown> | null)?.[name] === 'string');
  if (secret !== undefined)
    throw new UsageError(
      `a ${secret} in an argument stands in the process list and in the history; put - instead, and the body on the standard input`,
    );
}
