// node scripts/run.mjs [node arguments] FILE [arguments]
//
// Runs FILE on the Node that package.json carries, after installing what package-lock.json asks for. This file alone
// runs on the machine's own Node, so it is plain JavaScript for any version from 20 and needs no dependency.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 26;
const root = fileURLToPath(new URL('..', import.meta.url));
const binaries = join(root, 'node_modules', '.bin');
/** npm writes it when everything else is in place, so it dates the installation. */
const installed = join(root, 'node_modules', '.package-lock.json');

if (!isInstalled()) await installOnce();
const end = await run(chooseNode(), process.argv.slice(2), 'inherit');
leave(end);

/** False also for what an interrupted or partial (`--omit=dev`) installation left. */
function isInstalled() {
  if (!existsSync(installed)) return false;
  if (statSync(installed).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs) return false;
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const names = Object.keys({ ...dependencies, ...devDependencies });
  return names.every((name) => existsSync(join(root, 'node_modules', name)));
}

/** One installation at a time: two in one folder, from two commands typed at once, spoil each other. */
async function installOnce() {
  const lock = join(root, '.install.lock');
  let told = false;
  while (!takeLock(lock)) {
    if (!told) process.stderr.write('Waiting for another command to install the dependencies ...\n');
    told = true;
    await delay(200);
  }
  process.on('exit', () => rmSync(lock, { force: true }));
  if (!isInstalled()) await install();
  rmSync(lock, { force: true });
}

/** The lock is a file that names its holder; one whose holder has died counts for nothing. */
function takeLock(lock) {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    const holder = readHolder(lock);
    if (holder !== undefined && !isAlive(holder)) rmSync(lock, { force: true });
    return false;
  }
}

/** Undefined when it is gone, or about to be written. */
function readHolder(lock) {
  try {
    return Number(readFileSync(lock, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function install() {
  process.stderr.write('Installing dependencies ...\n');
  // Should this be interrupted, the next run begins again.
  rmSync(installed, { force: true });
  const args = ['ci', '--loglevel=error', '--include=dev', '--include=optional'];
  const npm = process.env.npm_execpath?.endsWith('npm-cli.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
  // stdout belongs to FILE; npm has nothing to say there but that it is done.
  const end = await run(npm[0], [...npm.slice(1), ...args], ['ignore', 'ignore', 'inherit']);
  if (end.code === 0) return void (await run(chooseNode(), ['scripts/compile.mjs'], 'ignore'));
  if (end.code !== null) process.stderr.write('npm could not install the dependencies; its message is above.\n');
  leave(end);
}

function chooseNode() {
  const carried = join(binaries, 'node');
  if (existsSync(carried)) return carried;
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath;
  process.stderr.write(
    `Berth needs Node ${NODE_MAJOR}: package.json carries none for ${process.platform}-${process.arch}, ` +
      `and this is ${process.version}; install Node ${NODE_MAJOR} and start again.\n`,
  );
  process.exit(1);
}

/** Runs a program to its end, whatever signals arrive meanwhile: it is the program that decides what they mean. */
function run(program, args, stdio) {
  // What was compiled once need not be again: half the time to start, and 25 MB less in memory.
  const compiled = join(root, 'node_modules', '.cache', 'compiled');
  const path = `${binaries}${delimiter}${process.env.PATH ?? ''}`;
  const env = { NODE_COMPILE_CACHE: compiled, ...process.env, PATH: path };
  const child = spawn(program, args, { cwd: root, stdio, env });
  // A terminal sends Ctrl-C to every process of its foreground group, the child included.
  const onTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  const forward = (signal) => void (signal === 'SIGINT' && onTerminal ? undefined : child.kill(signal));
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  return new Promise((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`${program} could not be started: ${error.message}\n`);
      resolve({ code: 1, signal: null });
    });
    child.on('exit', (code, signal) => {
      for (const name of signals) process.off(name, forward);
      resolve({ code, signal });
    });
  });
}

/** Ends as the child ended, by the same signal or with the same code. */
function leave({ code, signal }) {
  if (signal !== null) process.kill(process.pid, signal);
  process.exit(code ?? 128 + constants.signals[signal]);
}
