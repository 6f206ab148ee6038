import fc from 'fast-check';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError } from './config-error.ts';
import { parseConfig, parseSettings } from './load.ts';
import { settingNames, settingOf } from './settings.ts';

function problemsOf(env: Record<string, string>, yaml?: string): readonly string[] {
  try {
    parseConfig(env, yaml);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('defaults', () => {
  test('nothing set is a working configuration', () => {
    const config = parseConfig({});
    expect(config).toMatchObject({
      listen: { host: '127.0.0.1', port: 5000 },
      publicUrl: undefined,
      tls: undefined,
      dataDir: resolve('data'),
      database: { urls: undefined, poolSize: 10 },
      storage: { kind: 'disk' },
      admin: { username: 'admin', password: undefined },
      defaultVisibility: 'private',
      sparseManifests: 'reject',
      limits: { manifestBytesMax: 4 * 1024 * 1024, blobBytesMax: 2 ** 40 },
    });
    expect(config.trustedProxies.includes('127.0.0.1')).toBe(false);
  });

  test('an empty variable counts as unset', () => {
    expect(parseConfig({ BERTH_LISTEN: '', BERTH_DATABASE_URL: '' })).toMatchObject({
      listen: { port: 5000 },
      database: { urls: undefined },
    });
  });

  test('the configuration cannot be changed', () => {
    const config = parseConfig({});
    expect(() => Object.assign(config.limits, { manifestBytesMax: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config, { dataDir: '/' })).toThrow(TypeError);
  });
});

describe('sources', () => {
  test('berth.yaml is read, and the environment wins over it', () => {
    const yaml = 'BERTH_LISTEN: 0.0.0.0:80\nBERTH_TOKEN_TTL_SECONDS: 600\n';
    const config = parseConfig({ BERTH_LISTEN: '[::1]:8080' }, yaml);
    expect(config.listen).toEqual({ host: '::1', port: 8080 });
    expect(config.tokens.ttlSeconds).toBe(600);
  });

  test('a password of digits in berth.yaml stays as it was written', () => {
    expect(parseConfig({}, 'BERTH_ADMIN_PASSWORD: 0012345678\n').admin.password).toBe('0012345678');
  });

  test('a list in berth.yaml is a list', () => {
    const { trustedProxies } = parseConfig({}, 'BERTH_TRUSTED_PROXIES:\n  - 10.0.0.0/8\n  - ::1\n');
    expect(trustedProxies.includes('10.9.8.7')).toBe(true);
    expect(trustedProxies.includes('::1')).toBe(true);
    expect(trustedProxies.includes('11.0.0.1')).toBe(false);
  });

  test('an empty berth.yaml and one of comments are fine', () => {
    expect(problemsOf({}, '')).toEqual([]);
    expect(problemsOf({}, '# nothing yet\n')).toEqual([]);
    expect(problemsOf({}, 'BERTH_PUBLIC_URL:\n')).toEqual([]);
  });

  test('variables that Kubernetes sets for a service named berth are not settings', () => {
    const env = {
      BERTH_SERVICE_HOST: '10.0.0.1',
      BERTH_SERVICE_PORT: '5000',
      BERTH_PORT: 'tcp://10.0.0.1:5000',
      BERTH_PORT_5000_TCP_ADDR: '10.0.0.1',
    };
    expect(problemsOf(env)).toEqual([]);
    expect(problemsOf({ BERTH_PORT: '5000' })).toHaveLength(1);
  });
});

describe('secrets in files', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'berth-secrets-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function file(text: string, name = 'secret'): string {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  }
  const passwordIn = (text: string) => parseConfig({ BERTH_ADMIN_PASSWORD_FILE: file(text) }).admin.password;

  test.each(['hunter2-hunter2', 'hunter2-hunter2\n', 'hunter2-hunter2\r\n'])('%j is read without its end', (text) =>
    expect(passwordIn(text)).toBe('hunter2-hunter2'),
  );

  test('only the last end of a line is no part of it', () =>
    expect(passwordIn(' hunter2-hunter2 \n')).toBe(' hunter2-hunter2 '));

  test('every secret may be in one, and nothing else', () => {
    for (const name of settingNames) {
      const problems = problemsOf({ [`${name}_FILE`]: join(folder, 'absent') });
      expect(problems[0]).toMatch(settingOf(name).secret ? /_FILE: there is no such file$/ : /_FILE is not a setting/);
    }
  });

  test('berth.yaml may name one too, and the environment wins over it', () => {
    const yaml = `BERTH_ADMIN_PASSWORD_FILE: ${file('hunter2-hunter2')}\n`;
    const { config, inEffect } = parseSettings({}, yaml);
    expect(config.admin.password).toBe('hunter2-hunter2');
    expect(inEffect).toContainEqual({
      name: 'BERTH_ADMIN_PASSWORD',
      shown: '***',
      source: 'BERTH_ADMIN_PASSWORD_FILE',
    });
    expect(parseConfig({ BERTH_ADMIN_PASSWORD: 'another one' }, yaml).admin.password).toBe('another one');
    const other = { BERTH_ADMIN_PASSWORD_FILE: file('another one', 'other') };
    expect(parseConfig(other, 'BERTH_ADMIN_PASSWORD: hunter2-hunter2\n').admin.password).toBe('another one');
  });

  test('what is wrong with them is said with all other problems, and says nothing of what they hold', () => {
    const database = file('mysql://berth:hunter2-hunter2@db/berth\n', 'database');
    const both = { BERTH_ADMIN_PASSWORD: 'hunter2-hunter2', BERTH_ADMIN_PASSWORD_FILE: file('hunter2-hunter2') };
    expect(problemsOf({ ...both, BERTH_DATABASE_URL_FILE: database, BERTH_PAGE_SIZE_MAX: '0' })).toEqual([
      'BERTH_DATABASE_URL (in BERTH_DATABASE_URL_FILE) is malformed: expected a postgres:// URL',
      'BERTH_ADMIN_PASSWORD and BERTH_ADMIN_PASSWORD_FILE: expected one of them',
      'BERTH_PAGE_SIZE_MAX is "0": expected a whole number from 1 to 100000',
    ]);
    expect(problemsOf({ BERTH_ADMIN_PASSWORD_FILE: file('\n') })).toEqual([
      'BERTH_ADMIN_PASSWORD_FILE: the file is empty',
    ]);
    expect(problemsOf({}, `BERTH_ADMIN_PASSWORD_FILE: ${folder}\n`)).toEqual([
      'BERTH_ADMIN_PASSWORD_FILE (in berth.yaml): it cannot be read (EISDIR)',
    ]);
    // A secret where its file should be named.
    expect(problemsOf({ BERTH_ADMIN_PASSWORD_FILE: 'hunter2-hunter2' }).join()).not.toContain('hunter2');
  });
});

describe('the texts of what is set', () => {
  test('make the same settings again, wherever they came from', () => {
    const env = { BERTH_LISTEN: '[::1]:8080', BERTH_ADMIN_PASSWORD: 'hunter2-hunter2', PATH: '/bin' };
    const { config, texts } = parseSettings(env, 'BERTH_TOKEN_TTL_SECONDS: 600\n');
    expect(texts).toEqual({
      BERTH_LISTEN: '[::1]:8080',
      BERTH_ADMIN_PASSWORD: 'hunter2-hunter2',
      BERTH_TOKEN_TTL_SECONDS: '600',
    });
    expect(JSON.stringify(parseConfig(texts))).toBe(JSON.stringify(config));
  });
});

describe('problems', () => {
  test('all are reported together, with what was expected', () => {
    const env = { BERTH_LISTEN: 'here', BERTH_TOKEN_TTL_SECONDS: '5', BERTH_STORAGE: 's4', BERTH_TLS_CERT: 'a.pem' };
    expect(problemsOf(env)).toEqual([
      'BERTH_LISTEN is "here": expected host:port or [IPv6 address]:port',
      'BERTH_STORAGE is "s4": expected disk | s3 | memory',
      'BERTH_TOKEN_TTL_SECONDS is "5": expected a whole number from 60 to 3600',
      'BERTH_TLS_CERT and BERTH_TLS_KEY: expected both or none',
    ]);
  });

  test('an unknown name is answered with the nearest known one', () => {
    expect(problemsOf({ BERTH_LISTN: '1' })).toEqual([
      'BERTH_LISTN is not a setting of Berth; did you mean BERTH_LISTEN?',
    ]);
    expect(problemsOf({ BERTH_XYZZY_PLUGH_FROTZ: '1' })).toEqual(['BERTH_XYZZY_PLUGH_FROTZ is not a setting of Berth']);
    expect(problemsOf({}, 'BERTH_DATADIR: x\n')).toEqual([
      'BERTH_DATADIR (in berth.yaml) is not a setting of Berth; did you mean BERTH_DATA_DIR?',
    ]);
  });

  test('broken YAML names the line', () => {
    expect(problemsOf({}, 'BERTH_LISTEN: a\nBERTH_LISTEN: b\n')).toEqual([
      'berth.yaml, line 2: not valid YAML (duplicate key)',
    ]);
    expect(problemsOf({}, '- BERTH_LISTEN\n')).toEqual(['berth.yaml: expected lines of the form NAME: value']);
    expect(problemsOf({}, 'BERTH_LISTEN: {a: b}\n')).toEqual([
      'BERTH_LISTEN (in berth.yaml): expected one value or a list of values',
    ]);
  });

  test('a mail server needs an address to send from, and one for the links in mails to lead to', () => {
    const from = { BERTH_MAIL_FROM: 'Berth@Hub.example' };
    const publicUrl = { BERTH_PUBLIC_URL: 'https://hub.example' };
    const server = { BERTH_SMTP_URL: 'smtp://user:pass@mail.hub.example:587?requireTLS=true' };
    expect(problemsOf(server)).toEqual([
      'BERTH_MAIL_FROM: expected, because BERTH_SMTP_URL is set',
      'BERTH_PUBLIC_URL: expected, because BERTH_SMTP_URL is set',
    ]);
    expect(parseConfig({ ...from, ...publicUrl }).mail).toBeUndefined();
    expect(parseConfig({ ...from, ...publicUrl, ...server }).mail).toEqual({
      smtpUrl: server.BERTH_SMTP_URL,
      from: 'berth@hub.example',
      publicUrl: new URL('https://hub.example'),
    });
  });

  test('no message and no listing contains a secret', () => {
    const secret = 'mysql://berth:hunter2-hunter2@db/berth';
    const password = 'hunter2\u0007hunter2';
    expect(problemsOf({ BERTH_DATABASE_URL: secret, BERTH_ADMIN_PASSWORD: password })).toEqual([
      'BERTH_DATABASE_URL is malformed: expected a postgres:// URL',
      'BERTH_ADMIN_PASSWORD is malformed: expected 8 to 256 characters, none of them a control character',
    ]);
    expect(problemsOf({}, 'BERTH_ADMIN_PASSWORD: "hunter2\nBERTH_X: [').join()).not.toContain('hunter2');
    const { inEffect } = parseSettings({ BERTH_ADMIN_PASSWORD: 'hunter2-hunter2' });
    expect(inEffect).toContainEqual({ name: 'BERTH_ADMIN_PASSWORD', shown: '***', source: 'environment' });
  });
});

describe('values', () => {
  test.each([
    ['localhost:5000', { host: 'localhost', port: 5000 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['[::]:443', { host: '::', port: 443 }],
    ['registry.example.com:65535', { host: 'registry.example.com', port: 65535 }],
  ])('BERTH_LISTEN %s', (text, listen) => expect(parseConfig({ BERTH_LISTEN: text }).listen).toEqual(listen));

  test.each([
    ['BERTH_LISTEN', '5000'],
    ['BERTH_LISTEN', ':5000'],
    ['BERTH_LISTEN', '::1:5000'],
    ['BERTH_LISTEN', '[127.0.0.1]:5000'],
    ['BERTH_LISTEN', '1.2.3.999:5000'],
    ['BERTH_LISTEN', 'localhost:65536'],
    ['BERTH_PUBLIC_URL', 'registry.example.com'],
    ['BERTH_PUBLIC_URL', 'ftp://registry.example.com'],
    ['BERTH_PUBLIC_URL', 'https://example.com/registry'],
    ['BERTH_PUBLIC_URL', 'https://example.com/?a=b'],
    ['BERTH_TRUSTED_PROXIES', '10.0.0.0/33'],
    ['BERTH_TRUSTED_PROXIES', '10.0.0.0/8/8'],
    ['BERTH_TRUSTED_PROXIES', '10.0.0.1,proxy'],
    ['BERTH_MAIL_FROM', 'berth'],
    ['BERTH_MAIL_FROM', 'Berth <berth@hub.example>'],
    ['BERTH_MAIL_FROM', 'berth@hub.example\r\nBcc: eve@hub.example'],
    ['BERTH_MAIL_FROM', `${'a'.repeat(65)}@hub.example`],
    ['BERTH_ADMIN_USERNAME', 'Admin'],
    ['BERTH_ADMIN_USERNAME', 'a..b'],
    ['BERTH_DATA_DIR', 'a\0b'],
    ['BERTH_PAGE_SIZE_MAX', '0'],
    ['BERTH_PAGE_SIZE_MAX', '1e3'],
    ['BERTH_PAGE_SIZE_MAX', '-1'],
  ])('%s %j is refused', (name, text) => expect(problemsOf({ [name]: text })).toHaveLength(1));

  test.each([
    'smtp://mail.example',
    'smtps://user:p%40ss@mail.example:465/',
    'smtp://[::1]:25',
    'smtp://mail.example?requireTLS=true&tls.rejectUnauthorized=false&name=hub.example',
  ])('BERTH_SMTP_URL %s', (text) => expect(settingOf('BERTH_SMTP_URL').type.safeParse(text).success).toBe(true));

  test.each([
    'mail.example:25',
    'http://mail.example',
    'smtp://',
    'smtp://user:100%@mail.example',
    'smtp://mail.example/path',
    'smtp://mail.example?logger=true&debug=true',
    'smtp://mail.example?pool=true',
  ])('BERTH_SMTP_URL %s is refused', (text) =>
    expect(settingOf('BERTH_SMTP_URL').type.safeParse(text).success).toBe(false),
  );

  const servers = (url: string) => parseConfig({ BERTH_DATABASE_URL: url }).database.urls;

  test.each([
    ['postgres://berth:a%40b@db/berth', ['postgres://berth:a%40b@db/berth']],
    ['postgres:///berth?host=%2Frun%2Fpg&port=5433', ['postgres:///berth?host=%2Frun%2Fpg&port=5433']],
    [
      'postgresql://berth:s,e@a,[::1]:5433/berth?sslmode=verify-full&target_session_attrs=read-write',
      [
        'postgresql://berth:s,e@a/berth?sslmode=verify-full&target_session_attrs=read-write',
        'postgresql://berth:s,e@[::1]:5433/berth?sslmode=verify-full&target_session_attrs=read-write',
      ],
    ],
    [
      'postgres:///berth?host=/a,/b&port=1,2',
      ['postgres:///berth?host=%2Fa&port=1', 'postgres:///berth?host=%2Fb&port=2'],
    ],
    ['postgres:///berth?host=/a,/b', ['postgres:///berth?host=%2Fa', 'postgres:///berth?host=%2Fb']],
  ])('BERTH_DATABASE_URL %s names servers', (text, urls) => expect(servers(text)).toEqual(urls));

  test.each([
    'postgres://a,b:port/berth',
    'postgres://a/berth?target_session_attrs=standby',
    'postgres:///berth?host=/a,/b,/c&port=1,2',
    'mysql://a,b/berth',
  ])('BERTH_DATABASE_URL %s is refused', (text) => expect(problemsOf({ BERTH_DATABASE_URL: text })).toHaveLength(1));

  test('a pooler that keeps no sessions needs a way past it', () => {
    const pooler = { BERTH_DATABASE_POOLER: 'transaction', BERTH_DATABASE_URL: 'postgres://pooler/berth' };
    expect(problemsOf(pooler)).toEqual([
      'BERTH_DATABASE_DIRECT_URL: expected, because BERTH_DATABASE_POOLER is "transaction"',
    ]);
    const { database } = parseConfig({ ...pooler, BERTH_DATABASE_DIRECT_URL: 'postgres://db/berth' });
    expect(database).toMatchObject({ urls: ['postgres://pooler/berth'], directUrls: ['postgres://db/berth'] });
    expect(problemsOf({ BERTH_DATABASE_DIRECT_URL: 'postgres://db/berth' })).toEqual([
      'BERTH_DATABASE_URL: expected, because BERTH_DATABASE_DIRECT_URL is set',
    ]);
  });

  test('replicas belong to a database, and any of them will do', () => {
    const database = { BERTH_DATABASE_URL: 'postgres://db/berth' };
    const replica = (text: string) => ({ ...database, BERTH_DATABASE_REPLICA_URL: text });
    const urls = ['postgres://berth:s3cret@a/berth', 'postgres://berth:s3cret@b/berth'];
    expect(parseConfig(replica('postgres://berth:s3cret@a,b/berth')).database.replicaUrls).toEqual(urls);
    expect(parseConfig(database).database.replicaUrls).toBeUndefined();
    for (const kind of ['standby', 'primary'])
      expect(problemsOf(replica(`postgres://a/berth?target_session_attrs=${kind}`))).toEqual([
        'BERTH_DATABASE_REPLICA_URL is malformed: expected a postgres:// URL without target_session_attrs',
      ]);
    expect(problemsOf({ BERTH_DATABASE_REPLICA_URL: urls[0]! })).toEqual([
      'BERTH_DATABASE_URL: expected, because BERTH_DATABASE_REPLICA_URL is set',
    ]);
  });

  test('as many workers as there are processors, or as many as one says', () => {
    expect(parseConfig({ BERTH_WORKERS: 'auto' }).workers).toBe(availableParallelism());
    expect(parseConfig({ BERTH_WORKERS: '4' }).workers).toBe(4);
    for (const text of ['0', '257', 'many']) expect(problemsOf({ BERTH_WORKERS: text })).toHaveLength(1);
  });

  test('several workers cannot keep blobs in the memory of each', () => {
    expect(problemsOf({ BERTH_WORKERS: '2', BERTH_STORAGE: 'memory' })).toEqual([
      'BERTH_STORAGE is "memory": expected another, because each of several BERTH_WORKERS has a memory of its own',
    ]);
    expect(problemsOf({ BERTH_WORKERS: '1', BERTH_STORAGE: 'memory' })).toEqual([]);
  });

  test('a trusted proxy is recognized in every form of its address', () => {
    const { trustedProxies } = parseConfig({ BERTH_TRUSTED_PROXIES: '10.0.0.1, fd00::/8' });
    const included = ['10.0.0.1', '::ffff:10.0.0.1', 'fd12:3456::1'].map((address) => trustedProxies.includes(address));
    const others = ['10.0.0.2', '::ffff:10.0.0.2', 'fe80::1', 'x', undefined].map((a) => trustedProxies.includes(a));
    expect(included).toEqual([true, true, true]);
    expect(others).toEqual([false, false, false, false, false]);
  });

  test('every text is either parsed or answered with one problem', () => {
    fc.assert(
      fc.property(fc.constantFrom(...settingNames), fc.string({ unit: 'binary' }), (name, text) => {
        const expected = text === '' || settingOf(name).type.safeParse(text).success ? 0 : 1;
        const needed = {
          BERTH_TLS_CERT: 1,
          BERTH_TLS_KEY: 1,
          BERTH_SMTP_URL: 2,
          BERTH_DATABASE_DIRECT_URL: 1,
          BERTH_DATABASE_REPLICA_URL: 1,
          BERTH_S3_ACCESS_KEY_ID: 1,
          BERTH_S3_SECRET_ACCESS_KEY: 1,
        } as Record<string, number>;
        const alone = text === '' ? 0 : (needed[name] ?? 0);
        expect(problemsOf({ [name]: text })).toHaveLength(expected + alone);
      }),
    );
  });
});

test('every setting whose name ends in a unit says so, and has one meaning', () => {
  for (const name of settingNames) {
    // What counts "per 6 hours" is no number of hours.
    const inName = /(?<!_PER_\d)_(BYTES|SECONDS|HOURS|DAYS)(_MAX|_MIN)?$/.exec(name)?.[1]?.toLowerCase();
    expect([name, settingOf(name).unit]).toEqual([name, inName]);
  }
});
