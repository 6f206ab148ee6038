import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError } from '../config/config-error.ts';
import { explain } from './failure.ts';
import { readPassword } from './read-password.ts';
import { UsageError } from './usage-error.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'berth-cli-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs the command in an empty folder, with these settings alone. */
async function berth(args: readonly string[], env: Record<string, string> = {}) {
  const main = resolve(import.meta.dirname, '../main.ts');
  const child = spawn(process.execPath, [main, ...args], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr, code: code as number };
}

describe('berth', () => {
  test('says what it can do', async () => {
    const { stdout, code } = await berth(['--help']);
    expect(code).toBe(0);
    for (const command of ['serve', 'migrate', 'user', 'token', 'key', 'config', 'version'])
      expect(stdout).toContain(`  ${command} `);
  });

  test('version names the version of package.json', async () => {
    const { version } = JSON.parse(await readFile(resolve(import.meta.dirname, '../../package.json'), 'utf8')) as {
      version: string;
    };
    const { stdout } = await berth(['version']);
    expect(stdout).toBe(`berth ${version} (Node ${process.versions.node})\n`);
  });

  test.each([[['unknown']], [['user', 'add']], [['serve', '--unknown']], [['version', 'unknown']]])(
    'answers %j with what is wrong and exit code 1',
    async (args) => {
      expect(await berth(args)).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^error: /) });
    },
  );
});

describe('berth config check', () => {
  test('prints every setting in effect, secrets hidden', async () => {
    const { stdout, code } = await berth(['config', 'check'], { BERTH_ADMIN_PASSWORD: 'hunter2-hunter2' });
    expect(code).toBe(0);
    expect(stdout).toContain('BERTH_LISTEN=127.0.0.1:5000 (default)\n');
    expect(stdout).toContain('BERTH_ADMIN_PASSWORD=*** (environment)\n');
    expect(stdout).toContain('BERTH_DATABASE_URL is not set\n');
  });

  test('reads the file that BERTH_CONFIG names', async () => {
    await writeFile(join(folder, 'other.yaml'), 'BERTH_LISTEN: 0.0.0.0:80\n');
    const { stdout } = await berth(['config', 'check'], { BERTH_CONFIG: 'other.yaml' });
    expect(stdout).toContain('BERTH_LISTEN=0.0.0.0:80 (berth.yaml)\n');
  });

  test('a file that is not there is a problem when it was asked for', async () => {
    const { stderr, code } = await berth(['config', 'check'], { BERTH_CONFIG: 'absent.yaml' });
    expect(code).toBe(1);
    expect(stderr).toBe(
      'berth: The settings cannot be used:\n  BERTH_CONFIG is "absent.yaml": there is no such file\n',
    );
  });

  test('prints all problems, one a line, and no stack', async () => {
    const { stdout, stderr, code } = await berth(['config', 'check'], { BERTH_LISTN: '1', BERTH_STORAGE: 'tape' });
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr.split('\n')).toEqual([
      'berth: The settings cannot be used:',
      '  BERTH_LISTN is not a setting of Berth; did you mean BERTH_LISTEN?',
      '  BERTH_STORAGE is "tape": expected disk | s3 | memory',
      '',
    ]);
  });
});

describe('a failure in one sentence', () => {
  test('for a taken address', async () => {
    const first = createServer().listen(0, '127.0.0.1');
    await once(first, 'listening');
    const { port } = first.address() as { port: number };
    const [error] = (await once(createServer().listen(port, '127.0.0.1'), 'error').catch((thrown) => [thrown])) as [
      Error,
    ];
    first.close();
    expect(explain(error)).toBe(
      `the address 127.0.0.1:${port} is taken; set BERTH_LISTEN to another or stop what listens there`,
    );
  });

  test('for a foreign address', async () => {
    const error = await once(createServer().listen(0, '192.0.2.1'), 'listening').catch((thrown: unknown) => thrown);
    expect(explain(error)).toBe('the host of BERTH_LISTEN is no address of this machine (EADDRNOTAVAIL)');
  });

  test.runIf(process.platform === 'linux')('for a full disk', async () => {
    const full = await open('/dev/full', 'w');
    const error = await full.write('x').catch((thrown: unknown) => thrown);
    await full.close();
    expect(explain(error)).toContain('no room is left on the disk');
  });

  test('for a file that is not there', async () => {
    const error = await readFile(join(folder, 'cert.pem')).catch((thrown: unknown) => thrown);
    expect(explain(error)).toBe(`${join(folder, 'cert.pem')} does not exist`);
  });

  test('for a file where a folder should be', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    const error = await mkdir(file, { recursive: true }).catch((thrown: unknown) => thrown);
    expect(explain(error)).toBe(`${file} is not a folder`);
  });

  test('for settings that cannot be used', () => {
    expect(explain(new ConfigError(['BERTH_X is wrong']))).toContain('BERTH_X is wrong');
  });

  test('but not for what nobody foresaw', () => {
    expect(explain(new TypeError('x is not a function'))).toBeUndefined();
    expect(explain('text')).toBeUndefined();
  });
});

describe('a password on the standard input', () => {
  test.each([
    ['correct horse\n', 'correct horse'],
    ['correct horse\r\n', 'correct horse'],
    [' spaces stay ', ' spaces stay '],
    ['pässword', 'pässword'],
  ])('%j is %j', async (input, password) => {
    // Cut in the middle of characters, as a pipe may do.
    const bytes = [...Buffer.from(input)].map((byte) => Buffer.of(byte));
    expect(await readPassword(Readable.from(bytes))).toBe(password);
  });

  test.each(['', '\n', 'two\nlines\n', 'x'.repeat(5000)])('%j is refused', async (input) => {
    await expect(readPassword(Readable.from([Buffer.from(input)]))).rejects.toThrow(UsageError);
  });
});
