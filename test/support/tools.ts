/** Programs of the machine, run as a person would run them, and what they asked of a Berth. */
import { execFile, type ExecFileException } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestBerth } from './berth.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  /** Both streams: what a person sees. */
  readonly output: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** All of the environment, but for PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** A program that hangs is ended after this, and that is its failure. Default: a minute. */
  readonly msMax?: number;
}

const outputBytesMax = 16 * 1024 * 1024;

/** Runs a program to its end, whatever its exit code. @throws Error when it cannot be started or does not end */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { cwd, env, input, msMax = 60_000 } = options;
  return new Promise((resolve, reject) => {
    const settings = {
      env: { PATH: process.env['PATH'], ...env },
      timeout: msMax,
      maxBuffer: outputBytesMax,
      ...(cwd !== undefined && { cwd }),
    };
    const child = execFile(command, args, settings, (error: ExecFileException | null, stdout, stderr) => {
      const output = `${stdout}${stderr}`;
      if (error === null) resolve({ code: 0, stdout, output });
      else if (typeof error.code === 'number') resolve({ code: error.code, stdout, output });
      else reject(new Error(`${command} ${args.join(' ')} did not end by itself:\n${output}`, { cause: error }));
    });
    // A program that does not read its input may be gone before it is written; its exit code says what there is to say.
    child.stdin?.on('error', () => undefined).end(input);
  });
}

/** Runs a program that must succeed. @returns its standard output without the space around it */
export async function runOk(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await run(command, args, options);
  if (ran.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${ran.code}:\n${ran.output}`);
  return ran.stdout.trim();
}

/** Every file of this name that PATH offers, first the one that a shell would take. */
export function inPath(name: string): string[] {
  const files = (process.env['PATH'] ?? '').split(path.delimiter).map((folder) => path.join(folder, name));
  return files.filter((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Why clients that need root and these programs cannot be tested here; undefined when they can. */
export function whyNot(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => inPath(program).length === 0);
  if (missing.length > 0) return `${missing.join(' and ')} not installed`;
  return process.getuid?.() === 0 ? undefined : 'needs root';
}

/** What a group of tests is called, so that the list of what was skipped says why. */
export const titled = (title: string, reason: string | undefined): string =>
  reason === undefined ? title : `${title} (${reason})`;

/** An empty folder, and how to be rid of it. */
export async function temporaryFolder(
  name: string,
  parent = tmpdir(),
): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(path.join(parent, `berth-${name}-`));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/**
 * Makes a root folder with a shell in it, `/bin/dash`, and the libraries that it needs: enough for an image that can be
 * run, of nothing but what the machine has.
 */
export async function makeShellRoot(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const libraries = (await runOk('ldd', ['/bin/dash'])).match(/\/\S+/g) ?? [];
  await runOk('cp', ['--dereference', '--parents', `--target-directory=${folder}`, '/bin/dash', ...libraries]);
}

/** One request to the data plane, as the log has it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly status: number;
}

/** What was asked of the data plane while the work was done. */
export async function requestsDuring(berth: TestBerth, work: () => Promise<unknown>): Promise<SeenRequest[]> {
  const before = berth.logs.length;
  await work();
  return berth.logs.slice(before).flatMap((line): SeenRequest[] => {
    if (typeof line['method'] !== 'string' || typeof line['url'] !== 'string') return [];
    const { pathname, searchParams } = new URL(line['url'], berth.url);
    return [{ method: line['method'], path: pathname, query: searchParams, status: Number(line['status']) }];
  });
}

/** The digests of the blobs whose bytes were sent. */
export function uploaded(requests: readonly SeenRequest[]): string[] {
  return requests
    .filter(({ method, status, path: at }) => method === 'PUT' && status === 201 && at.includes('/blobs/uploads/'))
    .map(({ query }) => query.get('digest') ?? '');
}

/** The digests of the blobs that were mounted from another repository, so that no bytes were sent. */
export function mounted(requests: readonly SeenRequest[]): string[] {
  return requests
    .filter(({ method, status, query }) => method === 'POST' && status === 201 && query.has('mount'))
    .map(({ query }) => query.get('mount') ?? '');
}
