/**
 * The packages of package-lock.json over HTTP, for an `npm ci` that cannot ask anybody else: the bytes are those that
 * npm has kept of the installation of this clone.
 */
import { createReadStream, existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { runOk } from '../support/tools.ts';

export interface NpmRegistry {
  readonly url: string;
  close(): Promise<void>;
}

interface Locked {
  readonly version: string;
  readonly integrity?: string;
}

interface Package extends Locked {
  readonly name: string;
}

const root = path.resolve(import.meta.dirname, '../..');
const inModules = 'node_modules/';

export async function startNpmRegistry(): Promise<NpmRegistry> {
  // What npm has been told about its cache and its registry may be in any of these.
  const env = process.env as Record<string, string>;
  const cache = path.join(await runOk('npm', ['config', 'get', 'cache'], { env }), '_cacache/content-v2');
  const lock = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, Locked>>;
  };
  const packages = Object.entries(lock.packages).flatMap(([at, locked]): Package[] =>
    at.includes(inModules) ? [{ ...locked, name: at.slice(at.lastIndexOf(inModules) + inModules.length) }] : [],
  );

  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const [, name, version] = /^\/((?:@[^/]+\/)?[^/]+)(?:\/-\/(.+)\.tgz)?$/.exec(decodeURIComponent(req.url!)) ?? [];
    const known = packages.filter((each) => each.name === name);
    if (known.length === 0) return void res.writeHead(404).end();
    if (version === undefined) return void res.end(JSON.stringify(document(known, `http://${req.headers.host}`)));
    const wanted = known.find((each) => each.version === version);
    if (wanted?.integrity === undefined) return void res.writeHead(404).end();
    const file = path.join(cache, placeOf(wanted.integrity));
    // Whoever empties npm's cache between installing and testing gets this one back.
    if (!existsSync(file)) await runOk('npm', ['cache', 'add', `${name}@${version}`], { env });
    await pipeline(createReadStream(file), res);
  };
  const server = createServer((req, res) => {
    answer(req, res).catch((error: unknown) => res.destroy(error instanceof Error ? error : undefined));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What npm asks for before it asks for a package's bytes. */
function document(versions: readonly Package[], origin: string): unknown {
  const described = versions.map(({ name, version, integrity }) => {
    const tarball = `${origin}/${name}/-/${version}.tgz`;
    return [version, { name, version, dist: { tarball, integrity } }] as const;
  });
  return { name: versions[0]!.name, 'dist-tags': {}, versions: Object.fromEntries(described) };
}

/** Where npm's cache keeps content: by its digest, `sha512/ab/cd/...`. */
function placeOf(integrity: string): string {
  const [algorithm, digest] = integrity.split('-', 2) as [string, string];
  const hex = Buffer.from(digest, 'base64').toString('hex');
  return path.join(algorithm, hex.slice(0, 2), hex.slice(2, 4), hex.slice(4));
}
