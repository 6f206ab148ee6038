import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createLogger, type LogOptions } from './logger.ts';

function logged(options: LogOptions, write: (logger: ReturnType<typeof createLogger>) => void): string {
  let text = '';
  write(createLogger(options, { write: (line) => void (text += line) }));
  return text;
}

const json: LogOptions = { level: 'info', format: 'json' };
const pretty: LogOptions = { level: 'info', format: 'pretty' };

describe('a line of JSON', () => {
  test('has the time, the level by name, the message and the fields', () => {
    const line = JSON.parse(logged(json, (logger) => logger.info({ port: 5000 }, 'listening'))) as object;
    expect(line).toEqual({ time: expect.stringMatching(/^\d{4}-.*Z$/), level: 'info', msg: 'listening', port: 5000 });
  });

  test('below the level is not written', () => {
    expect(logged({ level: 'warn', format: 'json' }, (logger) => logger.info('no'))).toBe('');
  });
});

describe.each([json, pretty])('secrets in $format', (options) => {
  test.each<[string, object]>([
    ['a header', { headers: { Authorization: 'hunter2', 'Set-Cookie': ['hunter2'] } }],
    ['a field', { password: 'hunter2' }],
    ['something deep', { a: [{ b: { c: { refresh_token: 'hunter2' } } }] }],
    ['a property of an error', { err: Object.assign(new Error('failed'), { request: { password: 'hunter2' } }) }],
    ["something deeper than anyone's eye", { a: { a: { a: { a: { a: { a: { a: { a: { a: 'hunter2' } } } } } } } } }],
  ])('in %s are not written', (_, object) => {
    const text = logged(options, (logger) => logger.info(object, 'it happened'));
    expect(text).toContain('it happened');
    expect(text).not.toContain('hunter2');
  });

  test.each([
    ['a token of ours in an address', `/v2/?x=bth_${'a'.repeat(42)}&n=1`, '/v2/?x=***&n=1'],
    ['one that was cut', `name bth_${'a'.repeat(30)}`, 'name ***'],
    ['a JSON Web Token in a path', '/v2/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln/tags/list', '/v2/***/tags/list'],
    [
      "what stands behind a secret's name",
      '/v2/?password=hunter2&n=1&access_token=hunter2',
      '/v2/?password=***&n=1&access_token=***',
    ],
    [
      'the password of a server',
      'cannot reach postgres://berth:hunter2@db/berth',
      'cannot reach postgres://berth:***@db/berth',
    ],
    [
      'nothing at all',
      'repository:acme/app:pull,push at http://db:5432/a@b',
      'repository:acme/app:pull,push at http://db:5432/a@b',
    ],
  ])('by their look are hidden wherever they stand: %s', (_, text, shown) => {
    const lines = logged({ ...options, format: 'json' }, (logger) =>
      logger.info({ url: text, deep: [{ text }], err: new Error(text) }, 'it happened'),
    );
    const { url, deep, err } = JSON.parse(lines) as {
      url: string;
      deep: object[];
      err: { message: string; stack: string };
    };
    expect({ url, deep, message: err.message }).toEqual({ url: shown, deep: [{ text: shown }], message: shown });
    if (shown !== text) expect(err.stack).not.toContain(text);
  });

  test('in the fields of a child are not written', () => {
    const text = logged(options, (logger) => logger.child({ password: 'hunter2', id: 'x' }).info('it happened'));
    expect(text).toContain('it happened');
    expect(text).not.toContain('hunter2');
  });
});

describe('a pretty line', () => {
  test('reads from left to right', () => {
    const text = logged(pretty, (logger) => logger.info({ address: '127.0.0.1:5000', why: 'a b', n: 1 }, 'listening'));
    expect(text).toMatch(/^\d\d:\d\d:\d\d info {2}listening address=127\.0\.0\.1:5000 why="a b" n=1\n$/);
  });

  test("shows an error's stack with its causes", () => {
    const error = new Error('outer', { cause: new Error('inner') });
    const text = logged(pretty, (logger) => logger.error({ err: error }, 'failed'));
    expect(text).toContain('    Error: outer');
    expect(text).toContain('caused by: Error: inner');
  });

  test('cannot be forged from outside', () => {
    const text = logged(pretty, (logger) =>
      logger.info({ agent: 'a\nb\u001b[31m' }, 'x\n12:00:00 info  forged\u001b[2J'),
    );
    expect(text.split('\n')).toHaveLength(2);
    expect(text).not.toContain('\u001b');
  });
});

test.each(['process.exit(3)', 'process.exitCode = 3', 'throw new Error("end")'])('nothing is lost by %s', (end) => {
  const program = `
    const { createLogger } = await import(${JSON.stringify(join(import.meta.dirname, 'logger.ts'))});
    const logger = createLogger({ level: 'info', format: 'json' });
    for (let i = 0; i < 1000; i += 1) logger.info({ i }, 'line');
    ${end};`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  expect(stderr.split('\n').filter((line) => line.startsWith('{'))).toHaveLength(1000);
});

test.skipIf(process.platform !== 'linux')('a log whose disk is full ends nothing, and keeps nobody from ending', () => {
  const program = `
    const { createLogger } = await import(${JSON.stringify(join(import.meta.dirname, 'logger.ts'))});
    const { setTimeout } = await import('node:timers/promises');
    const logger = createLogger({ level: 'info', format: 'json' });
    for (let i = 0; i < 3; i += 1) {
      logger.info({ i }, 'line');
      await setTimeout(20);
    }
    logger.info('the last line');
    process.stdout.write('served to the end');
    process.exitCode = 3;`;
  const full = openSync('/dev/full', 'w');
  try {
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', full],
      timeout: 20_000,
      killSignal: 'SIGKILL',
    });
    expect({ stdout, status }).toEqual({ stdout: 'served to the end', status: 3 });
  } finally {
    closeSync(full);
  }
});
