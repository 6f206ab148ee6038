/** The machine that the figures are of. */
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { arch, cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { running } from './programs.ts';

const run = promisify(execFile);

/** What a program says, on either channel. */
export async function output(program: string, args: readonly string[]): Promise<string> {
  const pending = run(program, [...args], { env: { ...process.env, LC_ALL: 'C' } });
  running(pending.child);
  const { stdout, stderr } = await pending;
  return (stdout + stderr).trim();
}

/** What the disk takes durably, in MB/s: `dd conv=fdatasync` of zeros into this folder. */
export async function diskSpeed(folder: string, mebibytes: number): Promise<number> {
  const file = path.join(folder, 'dd');
  const said = await output('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${mebibytes}`, 'conv=fdatasync']);
  await rm(file);
  const seconds = /, ([\d.e-]+) s,/.exec(said)?.[1];
  if (seconds === undefined) throw new Error(`dd: ${said}`);
  return (mebibytes * 1024 * 1024) / 1e6 / Number(seconds);
}

/** Writes out what earlier measurements left in memory: docker-registry calls no fsync, and the next one would pay for it. */
export async function settleDisk(folder: string): Promise<void> {
  await output('sync', ['-f', folder]);
}

/** Facts of the machine: name and value. */
export async function describeMachine(folder: string): Promise<readonly (readonly [string, string])[]> {
  const [cpu] = cpus();
  const [filesystem, system, load, wrk] = await Promise.all([
    output('findmnt', ['-n', '-o', 'FSTYPE,OPTIONS', '-T', folder]),
    readFile('/etc/os-release', 'utf8'),
    readFile('/proc/loadavg', 'utf8'),
    // Prints its version and usage, and fails.
    output('wrk', ['-v']).catch((error: { stdout?: string }) => error.stdout ?? ''),
  ]);
  return [
    ['Cores', `${cpus().length} (${cpu?.model.trim() ?? 'unknown'}, ${arch()})`],
    ['Memory', `${(totalmem() / 2 ** 30).toFixed(1)} GiB`],
    ['File system', filesystem],
    ['System', `${/^PRETTY_NAME="(.*)"$/m.exec(system)?.[1] ?? 'Linux'}, kernel ${release()}`],
    ['Load before the run', load.split(' ').slice(0, 3).join(' ')],
    ['Node', process.version],
    ['wrk', /wrk (\S+)/.exec(wrk)?.[1] ?? 'unknown'],
  ];
}
