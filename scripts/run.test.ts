import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

/** A clone of a project that carries no Node and has one dependency, which is a folder of its own. */
let clone: string;

beforeEach(async () => {
  clone = await mkdtemp(join(tmpdir(), 'berth-run-'));
  await mkdir(join(clone, 'scripts'));
  await cp(resolve(import.meta.dirname, 'run.mjs'), join(clone, 'scripts', 'run.mjs'));
  await mkdir(join(clone, 'part'));
  await writeFile(join(clone, 'part', 'package.json'), '{"name": "part", "version": "1.0.0", "main": "part.js"}');
  await writeFile(join(clone, 'part', 'part.js'), 'module.exports = "part";');
  const project = { name: 'clone', version: '1.0.0', devDependencies: { part: 'file:part' } };
  await writeFile(join(clone, 'package.json'), JSON.stringify(project));
  const packages = {
    '': project,
    'node_modules/part': { resolved: 'part', link: true },
    part: { version: '1.0.0', dev: true },
  };
  await writeFile(join(clone, 'package-lock.json'), JSON.stringify({ ...project, lockfileVersion: 3, packages }));
});

afterEach(() => rm(clone, { recursive: true, force: true }));

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [join(clone, 'scripts', 'run.mjs'), ...args], { env: { ...process.env, ...env } });
}

async function run(args: readonly string[], env?: NodeJS.ProcessEnv) {
  const child = start(args, env);
  const output = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => (output.stdout += String(chunk)));
  child.stderr?.on('data', (chunk) => (output.stderr += String(chunk)));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { ...output, code, signal };
}

const usesPart = ['-p', 'require("part")'];

describe('the first run', () => {
  test('installs, says so in one line, and keeps stdout for the program', async () => {
    expect(await run(usesPart)).toEqual({
      stdout: 'part\n',
      stderr: 'Installing dependencies ...\n',
      code: 0,
      signal: null,
    });
  });

  test('installs development dependencies in a production environment too', async () => {
    const env = { NODE_ENV: 'production', npm_config_omit: 'dev' };
    expect(await run(usesPart, env)).toMatchObject({ stdout: 'part\n', code: 0 });
  });

  test('ends with the code of a failed installation', async () => {
    await writeFile(join(clone, 'package-lock.json'), 'not JSON');
    const { code, stdout, stderr } = await run(usesPart);
    expect(code).not.toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toContain('npm could not install the dependencies');
  });
});

describe('a later run', () => {
  beforeEach(async () => {
    await run(usesPart);
  });

  test('installs nothing', async () => {
    expect(await run(usesPart)).toMatchObject({ stdout: 'part\n', stderr: '', code: 0 });
  });

  test('installs when package-lock.json is newer', async () => {
    const soon = new Date(Date.now() + 1000);
    await utimes(join(clone, 'package-lock.json'), soon, soon);
    expect(await run(usesPart)).toMatchObject({ stdout: 'part\n', stderr: 'Installing dependencies ...\n' });
  });

  test('repairs an installation that was interrupted or is not whole', async () => {
    await rm(join(clone, 'node_modules', '.package-lock.json'));
    expect(await run(usesPart)).toMatchObject({ stdout: 'part\n', stderr: 'Installing dependencies ...\n' });
    await rm(join(clone, 'node_modules', 'part'));
    expect(await run(usesPart)).toMatchObject({ stdout: 'part\n', stderr: 'Installing dependencies ...\n' });
  });

  test('prefers the Node that the project carries', async () => {
    await mkdir(join(clone, 'node_modules', '.bin'), { recursive: true });
    await writeFile(join(clone, 'carried'), '#!/bin/sh\necho carried "$@"\n', { mode: 0o755 });
    await symlink(join(clone, 'carried'), join(clone, 'node_modules', '.bin', 'node'));
    expect(await run(['--flag', 'file.js', 'a b'])).toMatchObject({ stdout: 'carried --flag file.js a b\n', code: 0 });
  });

  test("returns the program's exit code, or dies of its signal", async () => {
    expect(await run(['-e', 'process.exit(7)'])).toMatchObject({ code: 7, signal: null });
    expect(await run(['-e', 'process.kill(process.pid, "SIGKILL")'])).toMatchObject({ code: null, signal: 'SIGKILL' });
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('passes %s on once and waits for the end', async (signal) => {
    const program = `
      let times = 0;
      process.on('${signal}', () => { times += 1; setImmediate(() => { console.log('times', times); process.exit(0); }); });
      setInterval(() => {}, 1000);
      console.log('ready');`;
    const child = start(['-e', program]);
    const said: string[] = [];
    const ended = once(child, 'close');
    for await (const line of createInterface({ input: child.stdout ?? process.stdin })) {
      said.push(line);
      if (line === 'ready') child.kill(signal);
    }
    expect(await ended).toEqual([0, null]);
    expect(said).toEqual(['ready', 'times 1']);
  });
});
