import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createLogger } from '../telemetry/logger.ts';
import { keepTlsFresh, readTlsPair, TlsFilesError, type TlsFiles } from './tls.ts';

const names = ['one', 'two', 'three'] as const;
type Name = (typeof names)[number];

let made: string;
beforeAll(async () => {
  made = await mkdtemp(path.join(tmpdir(), 'berth-tls-'));
  for (const name of names) {
    await mkdir(path.join(made, name));
    const { cert, key } = filesIn(path.join(made, name));
    const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${name}`;
    await promisify(execFile)('openssl', [...words.split(' '), '-keyout', key, '-out', cert]);
  }
});
afterAll(() => rm(made, { recursive: true }));

const filesIn = (folder: string): TlsFiles => ({
  cert: path.join(folder, 'tls.crt'),
  key: path.join(folder, 'tls.key'),
});

let folder: string;
let files: TlsFiles;
let server: Server;
let logs: { level: string; msg: string }[];
let stopping: AbortController;
let ended: Promise<void>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'berth-tls-'));
  logs = [];
});
afterEach(async () => {
  stopping.abort();
  await ended;
  const closed = once(server, 'close');
  server.close();
  await closed;
  await rm(folder, { recursive: true });
});

async function serve(from: TlsFiles): Promise<void> {
  files = from;
  const pair = await readTlsPair(files);
  server = createServer(pair, (_req, res) => void res.end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stopping = new AbortController();
  const logger = createLogger(
    { level: 'info', format: 'json' },
    { write: (line: string) => void logs.push(JSON.parse(line)) },
  );
  ended = keepTlsFresh(server, { files, pair, logger, everyMs: 5, signal: stopping.signal });
}

async function copyPair(name: Name, to: TlsFiles, parts: readonly (keyof TlsFiles)[] = ['cert', 'key']) {
  for (const part of parts) await copyFile(filesIn(path.join(made, name))[part], to[part]);
}

/** Whose certificate a new connection is shown. */
async function served(): Promise<string | string[] | undefined> {
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { subject } = socket.getPeerCertificate();
  const closed = once(socket, 'close');
  socket.destroy();
  await closed;
  return subject.CN;
}

const eventually = { timeout: 20_000, interval: 5 };
const becomes = (name: Name) => vi.waitFor(async () => expect(await served()).toBe(name), eventually);
const says = (...lines: RegExp[]) =>
  vi.waitFor(() => expect(logs.map(({ msg }) => msg)).toEqual(lines.map((l) => expect.stringMatching(l))), eventually);

const isNew = /^a new certificate is served$/;
const isBroken = /^the TLS files cannot be used; the certificate stays as it was$/;

describe('a certificate', () => {
  test('is served anew when its files are written over, one after the other', async () => {
    await copyPair('one', filesIn(folder));
    await serve(filesIn(folder));
    expect(await served()).toBe('one');
    await copyPair('two', files);
    await becomes('two');
    await copyPair('three', files, ['key', 'cert']);
    await becomes('three');
  });

  test('is served anew when the link to the folder of its files is exchanged, as Kubernetes does', async () => {
    await symlink(path.join(made, 'one'), path.join(folder, '..data'));
    for (const file of ['tls.crt', 'tls.key']) await symlink(path.join('..data', file), path.join(folder, file));
    await serve(filesIn(folder));
    expect(await served()).toBe('one');
    await symlink(path.join(made, 'two'), path.join(folder, '..data_tmp'));
    await rename(path.join(folder, '..data_tmp'), path.join(folder, '..data'));
    await becomes('two');
    await says(isNew);
  });

  test.each<[string, () => Promise<unknown>]>([
    ['whose key is another’s', () => copyPair('two', files, ['key'])],
    ['that is none', () => writeFile(files.cert, 'nonsense')],
    ['that is gone', () => rm(files.cert)],
  ])('%s is not taken, which is said once, and a good one after it is', async (_what, spoil) => {
    await copyPair('one', filesIn(folder));
    await serve(filesIn(folder));
    await spoil();
    await says(isBroken);
    expect(await served()).toBe('one');
    await copyPair('three', files);
    await becomes('three');
    await says(isBroken, isNew);
    expect(JSON.stringify(logs)).not.toContain((await readFile(files.key, 'utf8')).split('\n')[1]);
  });

  test('that cannot be used at the start is one sentence', async () => {
    await copyPair('one', filesIn(folder));
    await serve(filesIn(folder));
    const mixed = { cert: files.cert, key: filesIn(path.join(made, 'two')).key };
    await expect(readTlsPair(mixed)).rejects.toThrow(TlsFilesError);
    await expect(readTlsPair(mixed)).rejects.toThrow(
      /^the certificate in .* and the key in .* cannot be used together/,
    );
  });
});
