/**
 * Points the OCI conformance programs at a Berth and keeps what they say: see README.md beside this file.
 *
 * Every run gets a Berth of its own, as a person would start it: a process with the embedded database on an empty folder.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';
import { spawnBerth, type BerthProcess } from '../support/berth.ts';

interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** What was not run, for whatever reason: skipped by the program, or disabled. */
  readonly skipped: number;
}

interface Run {
  /** Also the name of the file of the result. */
  readonly name: string;
  readonly program: string;
  /** Whether everything can be run. The old programs hold tests that exclude each other. */
  readonly complete: boolean;
  environment(berth: BerthProcess): Record<string, string>;
  read(output: string): { counts: Counts; summary: string };
}

const outputBytesMax = 64 * 1024 * 1024;
const results = path.join(import.meta.dirname, 'results');

/** Everything that the program of today can test, whatever a version leaves out by default. */
function currentEnvironment(berth: BerthProcess, version: string): Record<string, string> {
  return {
    OCI_VERSION: version,
    OCI_REGISTRY: berth.host,
    OCI_TLS: 'disabled',
    OCI_REPO1: 'conformance/repo1',
    OCI_REPO2: 'conformance/repo2',
    OCI_USERNAME: berth.admin.username,
    OCI_PASSWORD: berth.admin.password,
    OCI_API_BLOBS_DIGEST_HEADER: 'true',
    OCI_API_BLOBS_MOUNT_ANONYMOUS: 'true',
    OCI_API_BLOBS_UPLOAD_CANCEL: 'true',
    OCI_API_MANIFESTS_DIGEST_HEADER: 'true',
    OCI_API_MANIFESTS_TAG_PARAM: 'true',
    OCI_API_REFERRER: 'true',
    OCI_DATA_SPARSE: 'true',
  };
}

/** The programs of the tags v1.0.1 and v1.1.1, which were test binaries. */
function oldEnvironment(berth: BerthProcess): Record<string, string> {
  return {
    OCI_ROOT_URL: berth.url,
    OCI_NAMESPACE: 'conformance/repo1',
    OCI_CROSSMOUNT_NAMESPACE: 'conformance/repo2',
    OCI_USERNAME: berth.admin.username,
    OCI_PASSWORD: berth.admin.password,
    OCI_TEST_PULL: '1',
    OCI_TEST_PUSH: '1',
    OCI_TEST_CONTENT_DISCOVERY: '1',
    OCI_TEST_CONTENT_MANAGEMENT: '1',
    OCI_AUTOMATIC_CROSSMOUNT: '1',
    OCI_HIDE_SKIPPED_WORKFLOWS: '0',
    OCI_REPORT_DIR: 'none',
  };
}

/** The program ends with its counts, one `Name....: number` a line, and how it judges each API and kind of content. */
function readCurrent(output: string): { counts: Counts; summary: string } {
  const summary = output.slice(output.lastIndexOf('OCI Conformance Result'));
  const count = (name: string): number => Number(new RegExp(`^ *${name}\\.+: *(\\d+)$`, 'm').exec(summary)?.[1]);
  // A disabled kind of content or API is not among the counts, only in the lists.
  const disabled = summary.match(/: *Disabled$/gm)?.length ?? 0;
  return {
    counts: {
      passed: count('Pass'),
      failed: count('FAIL') + count('Error'),
      skipped: count('Skip') + count('Disabled') + disabled,
    },
    summary: `${summary}${notPassed(output)}`,
  };
}

/** The tests that did not pass, by name, with their reasons. */
function notPassed(output: string): string {
  const tests = output.slice(0, output.lastIndexOf('OCI Conformance Result')).split('\n');
  const found = tests.filter((line) => /\S: (FAIL|Error|Skip|Disabled)$/.test(line) || /^ +- /.test(line));
  return found.length === 0 ? '' : `\nNot passed:\n${found.join('\n')}\n`;
}

/** Ginkgo's last lines: `Ran 67 of 70 Specs in 1.2 seconds`, `SUCCESS! -- 67 Passed | 0 Failed | 0 Pending | 3 Skipped`. */
function readOld(output: string): { counts: Counts; summary: string } {
  const plain = stripVTControlCharacters(output);
  const count = (name: string): number => Number(new RegExp(`(\\d+) ${name}\\b`).exec(plain)?.[1]);
  return {
    counts: { passed: count('Passed'), failed: count('Failed'), skipped: count('Pending') + count('Skipped') },
    summary: plain.slice(plain.lastIndexOf('Ran ')),
  };
}

async function conform(run: Run): Promise<Counts> {
  const folder = await mkdtemp(path.join(tmpdir(), 'berth-conformance-'));
  try {
    const berth = await spawnBerth({ BERTH_DATA_DIR: path.join(folder, 'data'), BERTH_SPARSE_MANIFESTS: 'accept' });
    let output: string;
    try {
      output = await outputOf(run.program, folder, run.environment(berth));
    } finally {
      await berth.end('SIGTERM');
    }
    const { counts, summary } = run.read(output);
    if (!Number.isSafeInteger(counts.passed + counts.failed + counts.skipped))
      throw new Error(`${run.program} did not end with its counts:\n${output.slice(-4000)}`);
    const commit = await readFile(path.join(folder, 'results/results.yaml'), 'utf8')
      .then((text) => /^ {2}commit: (\S+)$/m.exec(text)?.[1])
      .catch(() => undefined);
    const head = [
      `conformance ${run.name}${commit === undefined ? '' : `, program of commit ${commit}`}`,
      `${new Date().toISOString().slice(0, 10)}: ${sentence(counts)}`,
    ];
    await writeFile(path.join(results, `${run.name}.txt`), `${head.join('\n')}\n\n${summary.trim()}\n`);
    return counts;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The exit code is of no use: it is 1 for a skipped test as well as for a failed one, and 0 when the report could not be written. */
async function outputOf(program: string, cwd: string, env: Record<string, string>): Promise<string> {
  const options = { cwd, env, maxBuffer: outputBytesMax };
  const { stdout, stderr } = await promisify(execFile)(path.resolve(program), [], options).catch((error: unknown) => {
    if (error instanceof Error && 'stdout' in error && 'code' in error && typeof error.code === 'number')
      return error as unknown as { stdout: string; stderr: string };
    throw error;
  });
  return `${stderr}${stdout}`;
}

const sentence = ({ passed, failed, skipped }: Counts): string =>
  `${passed} passed, ${failed} failed, ${skipped} skipped`;

function runsOf(programs: readonly string[]): Run[] {
  return programs.flatMap((program): Run[] => {
    if (program.endsWith('.test'))
      return [
        {
          name: path.basename(program, '.test'),
          program,
          complete: false,
          environment: oldEnvironment,
          read: readOld,
        },
      ];
    return ['1.0', '1.1', 'dev'].map((version) => ({
      name: version,
      program,
      complete: true,
      environment: (berth) => currentEnvironment(berth, version),
      read: readCurrent,
    }));
  });
}

const programs = process.argv.slice(2);
if (programs.length === 0) {
  console.error('usage: test/conformance/run.ts PROGRAM [v1.0.1.test v1.1.1.test]');
  process.exit(2);
}
await mkdir(results, { recursive: true });
for (const run of runsOf(programs)) {
  const counts = await conform(run);
  console.log(`${run.name}: ${sentence(counts)}`);
  const bad = counts.failed + (run.complete ? counts.skipped : 0);
  if (bad > 0 || counts.passed === 0) process.exitCode = 1;
}
