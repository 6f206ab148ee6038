/** Two Berths as processes of their own on one PostgreSQL and one bucket, and nginx, which sends requests to either. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { spawnBerth, type BerthProcess, type Login } from './berth.ts';
import { createTestDatabase } from './database.ts';
import { until, type Answer } from './faults.ts';
import { startNginx } from './nginx.ts';
import { freePort } from './ports.ts';
import { startS3Server } from './s3-server.ts';
import { temporaryFolder } from './tools.ts';

export interface Asked {
  readonly method?: string;
  readonly body?: Buffer | object;
  readonly headers?: Readonly<Record<string, string>>;
  /** A name and its password, or a token; default: the administrator. Null: nobody. */
  readonly who?: Login | { readonly bearer: string } | null;
  /** The client's address, as nginx sees it: any of 127.0.0.0/8. */
  readonly from?: string;
}

export interface Pair {
  readonly berths: readonly [BerthProcess, BerthProcess];
  /** What both said while they started. */
  readonly starts: readonly (readonly Record<string, unknown>[])[];
  readonly database: Database;
  /** Of nginx. */
  readonly url: string;
  readonly admin: Login;
  /** One request to nginx, on a connection of its own. */
  ask(path: string, asked?: Asked): Promise<Answer>;
  /**
   * Asks until each of the two has written a line into its log that is like this one.
   * @param line fields, compared as text; `url` and `reason` are looked for within the field
   * @returns all answers
   */
  untilBoth(line: Readonly<Record<string, string | number>>, ask: (i: number) => Promise<Answer>): Promise<Answer[]>;
  stop(): Promise<void>;
}

/** @param settings beside those of the database and the bucket. Both start at once, on a database without any table */
export async function startPair(settings: Readonly<Record<string, string>>): Promise<Pair> {
  const bucket = 'pair';
  const [facts, s3, port, folders] = await Promise.all([
    createTestDatabase({ migrated: false }),
    startS3Server(),
    freePort('127.0.0.2'),
    Promise.all([temporaryFolder('pair'), temporaryFolder('pair')]),
  ]);
  await s3.makeBucket(bucket);
  const lines: Record<string, unknown>[][] = [[], []];
  // As replicas they have one public address: one port, at addresses of which nobody else is given any.
  const berths = await Promise.all(
    ['127.0.0.2', '127.0.0.3'].map(async (host, i) => {
      const berth = await spawnBerth({
        ...s3.settings(bucket),
        BERTH_DATABASE_URL: facts.url,
        BERTH_DATA_DIR: folders[i]!.folder,
        BERTH_LISTEN: `${host}:${port}`,
        BERTH_PUBLIC_URL: `http://hub.example:${port}`,
        BERTH_TRUSTED_PROXIES: '127.0.0.1',
        BERTH_LOG_LEVEL: 'debug',
        ...settings,
      });
      return { ...berth, url: `http://${host}:${port}` };
    }),
  );
  const starts = berths.map(({ stderr }) => stderr.flatMap(parse));
  for (const [i, { child }] of berths.entries())
    createInterface({ input: child.stderr! }).on('line', (line) => void lines[i]!.push(...parse(line)));
  const nginx = await startNginx(berths.map(({ url }) => new URL(url).host));
  const database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  const { admin } = berths[0]!;

  const ask: Pair['ask'] = async (target, { method = 'GET', body, headers = {}, who = admin, from } = {}) => {
    const bytes = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
    const type = Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/json';
    const sent = request(new URL(target, nginx.url), {
      method,
      agent: false,
      ...(from !== undefined && { localAddress: from }),
      headers: {
        ...(who !== null && { authorization: authorizationOf(who) }),
        ...(bytes !== undefined && { 'content-type': type, 'content-length': bytes.length }),
        ...headers,
      },
    });
    sent.end(bytes);
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    const answered = new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]));
    return { status: answer.statusCode!, headers: answered, body: await buffer(answer) };
  };

  return {
    berths: berths as [BerthProcess, BerthProcess],
    starts,
    database,
    url: nginx.url,
    admin,
    ask,
    async untilBoth(line, askAgain) {
      const from = lines.map(({ length }) => length);
      const answers: Answer[] = [];
      await until(async () => {
        answers.push(await askAgain(answers.length));
        return lines.every((said, i) => said.slice(from[i]).some((each) => isLike(each, line)));
      });
      return answers;
    },
    async stop() {
      await nginx.stop();
      await Promise.all(berths.map((berth) => berth.end('SIGTERM')));
      await database.close();
      await Promise.all([s3.stop(), facts.drop(), ...folders.map(({ remove }) => remove())]);
    },
  };
}

function isLike(line: Record<string, unknown>, wanted: Readonly<Record<string, string | number>>): boolean {
  return Object.entries(wanted).every(([field, value]) =>
    field === 'url' || field === 'reason' ? String(line[field]).includes(String(value)) : line[field] === value,
  );
}

const parse = (line: string): Record<string, unknown>[] =>
  line.startsWith('{') ? [JSON.parse(line) as Record<string, unknown>] : [];

function authorizationOf(who: Login | { readonly bearer: string }): string {
  if ('bearer' in who) return `Bearer ${who.bearer}`;
  return `Basic ${Buffer.from(`${who.username}:${who.password}`).toString('base64')}`;
}
