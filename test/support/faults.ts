/** What the tests of faults share: requests that may fail, chance that can be repeated, and the state that must hold afterwards. */
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Queryer } from '../../src/database/pool.ts';
import { digestAlgorithm, digestFromBytes, digestOf, type Digest } from '../../src/oci/digest.ts';
import type { Login } from './berth.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

export interface Call {
  readonly body?: Buffer | string | ReadableStream;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends one request and reads its whole answer. Rejects when the server goes away before the answer's end. */
export type Caller = (method: string, path: string, call?: Call) => Promise<Answer>;

export function callerOf(url: string, login: Login): Caller {
  const authorization = `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
  return async (method, target, { body, headers = {} } = {}) => {
    const response = await fetch(new URL(target, url), {
      method,
      headers: { Authorization: authorization, 'Content-Type': 'application/octet-stream', ...headers },
      ...(body !== undefined && { body: body as NonNullable<RequestInit['body']>, duplex: 'half' }),
    });
    return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
  };
}

/** A closing PUT's address: that of the session, with the digest. */
export function closing(location: string, digest: Digest): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${digest}`;
}

/** Chance that a seed repeats. */
export interface Chance {
  readonly seed: number;
  /** From 0 to below `end`. */
  below(end: number): number;
  pick<T>(from: readonly T[]): T;
  shuffled<T>(from: readonly T[]): T[];
}

/** mulberry32: small, and good enough to choose what happens next. */
export function chanceOf(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const chance: Chance = {
    seed,
    below: (end) => Math.floor(next() * end),
    pick: (from) => from[chance.below(from.length)]!,
    shuffled(from) {
      const all = [...from];
      for (let i = all.length - 1; i > 0; i -= 1) {
        const j = chance.below(i + 1);
        [all[i], all[j]] = [all[j]!, all[i]!];
      }
      return all;
    },
  };
  return chance;
}

/** The statements find rows that must not be: each names what is wrong with them. */
const mustFindNothing: Readonly<Record<string, string>> = {
  'a tag without its manifest': `
    SELECT * FROM tags t LEFT JOIN manifests m USING (repository_id, digest) WHERE m.digest IS NULL`,
  'a manifest that names a blob which its repository does not have': `
    SELECT * FROM manifest_references f LEFT JOIN repository_blobs l ON l.repository_id = f.repository_id AND l.digest = f.child
    WHERE f.kind <> 'manifest' AND l.digest IS NULL`,
  'a link without its blob': `
    SELECT * FROM repository_blobs l LEFT JOIN blobs b USING (digest) WHERE b.digest IS NULL`,
  'a link or manifest that the garbage collector was never told of': `
    SELECT l.digest FROM repository_blobs l LEFT JOIN gc_link_reviews v USING (repository_id, digest) WHERE v.digest IS NULL
    UNION ALL
    SELECT m.digest FROM manifests m LEFT JOIN gc_manifest_reviews v USING (repository_id, digest) WHERE v.digest IS NULL`,
  "a tag's move that does not begin where the one before ended": `
    SELECT * FROM (
      SELECT *, lag(to_digest) OVER (PARTITION BY repository_id, name ORDER BY id) AS before FROM tag_history
    ) moves WHERE from_digest IS DISTINCT FROM before`,
  'a tag that is not where its last move left it': `
    SELECT * FROM (SELECT DISTINCT ON (repository_id, name) * FROM tag_history ORDER BY repository_id, name, id DESC) last
    FULL JOIN tags t USING (repository_id, name) WHERE last.to_digest IS DISTINCT FROM t.digest`,
  'bytes that a blob uses and that are to be deleted': `
    SELECT * FROM blobs JOIN storage_deletions USING (storage_key)`,
};

/**
 * What is wrong in this database, and in the disk store that belongs to it: empty when all is well. Nothing may be running.
 * @param checked digests of blobs whose bytes were found good before and need not be read again; those found good are added
 */
export async function findDamage(queryer: Queryer, dataDir: string, checked = new Set<Digest>()): Promise<string[]> {
  const damage: string[] = [];
  for (const [wrong, statement] of Object.entries(mustFindNothing)) {
    const rows = await queryer.query(statement);
    if (rows.length > 0) damage.push(`${rows.length}x ${wrong}`);
  }
  const blobs = await queryer.query<{ digest: Buffer; size: number; storage_key: string }>('SELECT * FROM blobs');
  for (const row of blobs) {
    const digest = digestFromBytes(row.digest);
    if (checked.has(digest)) continue;
    const bytes = await readFile(path.join(dataDir, 'storage', row.storage_key)).catch(() => undefined);
    if (bytes === undefined) damage.push(`the blob ${digest} has no file`);
    else if (bytes.length !== row.size || digestOf(bytes, digestAlgorithm(digest)) !== digest)
      damage.push(`the file of the blob ${digest} has other bytes`);
    else checked.add(digest);
  }
  return damage;
}

/** Files of unfinished uploads, and those that belong to no session: a sweep finds them by their age. */
export async function unfinishedFiles(
  queryer: Queryer,
  dataDir: string,
): Promise<{ all: string[]; nobodys: string[] }> {
  const all = await readdir(path.join(dataDir, 'storage', 'uploads'));
  const rows = await queryer.query<{ name: string }>(
    `SELECT storage_state ->> 'upload' AS name FROM uploads WHERE storage_state IS NOT NULL`,
  );
  const known = new Set(rows.map((row) => row.name));
  return { all, nobodys: all.filter((name) => !known.has(name)) };
}

/** Keys of stored objects that neither a blob nor a pending deletion names. */
export async function orphanObjects(queryer: Queryer, dataDir: string): Promise<string[]> {
  const rows = await queryer.query<{ storage_key: string }>(
    'SELECT storage_key FROM blobs UNION SELECT storage_key FROM storage_deletions',
  );
  const known = new Set(rows.map((row) => row.storage_key));
  const files = await readdir(path.join(dataDir, 'storage', 'blobs'), { recursive: true, withFileTypes: true });
  return files
    .filter((file) => file.isFile())
    .map((file) => path.relative(path.join(dataDir, 'storage'), path.join(file.parentPath, file.name)))
    .filter((key) => !known.has(key));
}

/** A request whose body is sent piece by piece, on a connection of its own. */
export interface SlowRequest {
  send(bytes: Buffer): Promise<void>;
  end(bytes?: Buffer): void;
  /** The status, or `broken` when the connection ended without one. */
  readonly outcome: Promise<number | 'broken'>;
}

/** Resolves when the server has asked for the body. */
export async function slowRequest(
  method: string,
  url: URL,
  login: Login,
  headers: Readonly<Record<string, string | number>> = {},
): Promise<SlowRequest> {
  const sent = request(url, {
    method,
    agent: false,
    auth: `${login.username}:${login.password}`,
    headers: { expect: '100-continue', ...headers },
  });
  const outcome = new Promise<number | 'broken'>((resolve) => {
    sent.once('response', (answer) => {
      answer.resume();
      resolve(answer.statusCode!);
    });
    sent.on('error', () => resolve('broken'));
    sent.once('close', () => resolve('broken'));
  });
  sent.flushHeaders();
  await Promise.race([once(sent, 'continue'), outcome]);
  return {
    outcome,
    send: (bytes) => new Promise((resolve) => sent.write(bytes, () => resolve())),
    end: (bytes) => void sent.end(bytes),
  };
}

/** Looks again and again until something is so; the test's own time-out ends it. */
export async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await delay(20);
}
