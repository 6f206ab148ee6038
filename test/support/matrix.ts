/** Thousands of requests and what each should be answered: sent a few at a time, and told apart all at once. */
import { Agent, request } from 'node:http';

export interface SentRequest {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** Requests under way at once. More would only wait in the server. */
const inFlight = 16;
const agent = new Agent({ keepAlive: true, maxSockets: inFlight });

/** Closes the connections that were kept. */
export function closeConnections(): void {
  agent.destroy();
}

export const basicOf = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

export function sendRequest(port: number, { method, path, headers = {}, body }: SentRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': String(body.length) };
    const sent = request(
      { host: '127.0.0.1', port, agent, method, path, headers: { ...headers, ...length } },
      (res) => {
        const pieces: Buffer[] = [];
        res.on('data', (piece: Buffer) => pieces.push(piece));
        res.on('end', () => resolve({ status: res.statusCode!, headers: res.headers, body: Buffer.concat(pieces) }));
        res.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Does the work for each, some at a time. @returns in order */
export async function eachOf<T, R>(items: readonly T[], work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next;
      next += 1;
      results[index] = await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return results;
}

const shownMax = 20;

/** Fails with a table of the first cases whose answer is another one than wanted. */
export function expectNone(differing: readonly Readonly<Record<string, string>>[], outOf: number): void {
  if (differing.length === 0) return;
  const shown = differing.slice(0, shownMax);
  const columns = Object.keys(shown[0]!);
  const width = (column: string): number =>
    Math.min(90, Math.max(column.length, ...shown.map((row) => row[column]?.length ?? 0)));
  const line = (cells: Readonly<Record<string, string>>): string =>
    columns.map((column) => (cells[column] ?? '').padEnd(width(column))).join(' | ');
  const head = line(Object.fromEntries(columns.map((column) => [column, column])));
  throw new Error(
    `${differing.length} of ${outOf} cases differ:\n${[head, ...shown.map(line)].join('\n')}${differing.length > shownMax ? '\n...' : ''}`,
  );
}
