/**
 * A log is read by more people than a vault: nothing that opens anything is ever in it, at its most talkative, wherever the
 * secret was put by whoever sent it. Nor is it in the database, from which backups are made.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { TOTP } from 'otpauth';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { csrfTokenOf } from '../../src/http/api/csrf.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { spawnBerth, type BerthProcess, type Login } from '../support/berth.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../support/ports.ts';
import { basicOf, createSender, type Sender, type SendOptions } from '../support/sender.ts';

let facts: TestDatabase;
let database: Database;
let dataDir: string;
let berth: BerthProcess;
let sender: Sender;
const output: string[] = [];
/** Everything that opened something, by what it was. */
const secrets = new Map<string, string>();

const admin: Login = { username: 'admin', password: 'correct horse battery' };
const smtpPassword = 'smtp-password-of-the-operator';

beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  const port = await freePort();
  berth = await spawnBerth({
    BERTH_LISTEN: `127.0.0.1:${port}`,
    BERTH_DATABASE_URL: facts.url,
    BERTH_DATA_DIR: dataDir,
    BERTH_LOG_LEVEL: 'trace',
    BERTH_LOG_FORMAT: 'json',
    BERTH_REGISTRATION: 'open',
    // Nobody answers there: every mail fails, and says so.
    BERTH_SMTP_URL: `smtp://berth:${smtpPassword}@127.0.0.1:1`,
    BERTH_MAIL_FROM: 'berth@example.com',
    BERTH_PUBLIC_URL: `http://registry.example.com:${port}`,
  });
  for (const stream of [berth.child.stdout!, berth.child.stderr!])
    stream.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  sender = createSender(berth.url);
  secrets.set('the password of the mail server', smtpPassword);
  await useEverything();
  // What waits to be written is written at the end.
  await berth.end('SIGTERM');
});
afterAll(async () => {
  sender.close();
  berth.child.kill('SIGKILL');
  await database.close();
  await facts.drop();
  await rm(dataDir, { recursive: true, force: true });
});

function keep<T extends string>(what: string, secret: T): T {
  if (secret === undefined || secret.length < 6) throw new Error(`${what} is no secret: ${secret}`);
  secrets.set(what, secret);
  return secret;
}
type Answer = Readonly<Record<string, string>>;

async function api(who: object, method: string, at: string, body?: unknown, headers: object = {}): Promise<Answer> {
  const answer = await sender.send(`/api/v1${at}`, { method, headers: { ...who, ...headers }, body });
  if (answer.status >= 300) throw new Error(`${method} ${at}: ${answer.status} ${answer.text}`);
  const cookie = /berth_session=([^;]+)/.exec(answer.headers['set-cookie']?.[0] ?? '')?.[1];
  const json = (answer.json ?? {}) as Answer;
  return cookie === undefined ? json : { ...json, cookie };
}
const form = (fields: Record<string, string>): SendOptions => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams(fields).toString(),
});
const bearer = (secret: string): { Authorization: string } => ({ Authorization: `Bearer ${secret}` });

/** Every way to be somebody, right and wrong, and every secret in every wrong place. */
async function useEverything(): Promise<void> {
  const root = basicOf(admin);
  keep('the password of the administrator', admin.password);
  const ada: Login = { username: 'ada', password: keep('a password', 'the password of ada 1') };
  await api(root, 'POST', '/users', ada);
  const me = basicOf(ada);
  keep('a password in Basic', me.Authorization.slice('Basic '.length));
  const wrong = keep('a wrong password', 'a wrong password, nearly right');

  // Sessions, by cookie and by secret, and the token that goes with them.
  const browser = await api({}, 'POST', '/session', ada);
  const cookie = { Cookie: `berth_session=${keep('a session cookie', browser['cookie']!)}` };
  const csrf = keep('a CSRF token', browser['csrfToken']!);
  expect(csrf).toBe(csrfTokenOf(browser['cookie']!));
  await api(cookie, 'GET', '/session');
  await api({ ...cookie, 'X-CSRF-Token': csrf }, 'POST', '/namespaces', { name: 'acme' });
  await sender.send('/api/v1/session', { method: 'DELETE', headers: { ...cookie, 'X-CSRF-Token': `${csrf}x` } });
  const program = await api({}, 'POST', '/session', { ...ada, cookie: false });
  await api(bearer(keep('a session secret', program['secret']!)), 'GET', '/account');
  await sender.send('/api/v1/session', { method: 'POST', body: { ...ada, password: wrong } });

  // Docker's tokens.
  const docker = await sender.send('/auth/token?service=berth&offline_token=true&scope=repository:acme/app:pull,push', {
    headers: me,
  });
  const { token, refresh_token: refresh } = docker.json as { token: string; refresh_token: string };
  keep('an access token', token);
  keep('the signature of an access token', token.split('.')[2]!);
  keep('a refresh token', refresh);
  await sender.send('/auth/token', form({ grant_type: 'refresh_token', refresh_token: refresh }));
  await sender.send('/auth/token', form({ grant_type: 'refresh_token', refresh_token: `${refresh}x` }));
  await sender.send('/auth/token', form({ grant_type: 'password', ...ada, access_type: 'offline' }));
  await sender.send('/auth/token', form({ grant_type: 'password', username: 'ada', password: wrong }));
  await sender.send('/auth/token', { headers: basicOf({ username: 'ada', password: wrong }) });

  // Personal tokens and robots, once more with the same key, rotated, right and wrong.
  const grants = [{ repositories: 'acme/*', actions: ['pull', 'push'] }];
  const key = { 'Idempotency-Key': keep('an idempotency key', randomUUID()) };
  const made = await api(me, 'POST', '/tokens', { name: 'laptop', grants }, key);
  keep('a personal token', made['secret']!);
  await api(me, 'POST', '/tokens', { name: 'laptop', grants }, key);
  const rotated = await api(me, 'POST', `/tokens/${made['id']}/rotate`, {});
  keep('a rotated token', rotated['secret']!);
  const robot = await api(me, 'POST', '/namespaces/acme/robots', { name: 'ci', grants });
  keep("a robot's token", robot['secret']!);
  for (const secret of [made['secret']!, rotated['secret']!, robot['secret']!]) {
    for (const username of ['ada', 'acme+ci', secret]) {
      const basic = basicOf({ username, password: secret });
      await sender.send('/auth/token', { headers: basic });
      await sender.send('/v2/', { headers: basic });
      await sender.send('/auth/token', form({ grant_type: 'password', username, password: secret }));
    }
  }

  // Links: to register, to choose a password, to join.
  await api(root, 'POST', '/users/invitations', { email: 'bob@example.com' });
  await api(root, 'POST', '/users/ada/password-reset');
  await api({}, 'POST', '/registrations', { email: 'cy@example.com' });
  await api({}, 'POST', '/password-resets', { account: 'ada' });
  await api(me, 'POST', '/namespaces/acme/invitations', { invitee: 'dan@example.com', role: 'reader' });
  await database.query(`UPDATE graphile_worker._private_jobs SET run_at = now()`);
  const link = await linkInQueue();
  keep('a mailed link', link);
  await sender.send('/api/v1/password-resets/confirm', { method: 'POST', body: { token: link, newPassword: wrong } });
  await sender.send('/api/v1/registrations/confirm', {
    method: 'POST',
    body: { token: link, username: 'bob', password: keep('a new password', 'the new password of bob') },
  });

  // The second factor.
  const { secret: shared } = await api(me, 'POST', '/account/totp', { password: ada.password });
  const code = new TOTP({ secret: keep('the secret of a second factor', shared!) }).generate();
  keep('a code', code);
  const confirmed = await api(me, 'POST', '/account/totp/confirm', { code });
  const [recovery, spent] = confirmed['recoveryCodes'] as unknown as [string, string];
  keep('a recovery code', recovery);
  await api({}, 'POST', '/session', { ...ada, code: keep('a used recovery code', spent) });
  await sender.send('/api/v1/session', { method: 'POST', body: { ...ada, code: '000000' } });

  await inWrongPlaces([...secrets.values()]);
}

/** The token of a link that waits to be mailed. */
async function linkInQueue(): Promise<string> {
  const find = async (): Promise<string | undefined> => {
    const rows = await database.query<{ text: string }>(
      `SELECT payload::text AS text FROM graphile_worker._private_jobs WHERE payload::text LIKE '%bth\\_%'`,
    );
    return rows.flatMap(({ text }) => /bth_\w{42}/.exec(text)?.[0] ?? [])[0];
  };
  return (await vi.waitUntil(find, { timeout: 10_000 }))!;
}

/** A token is known by its look, wherever it is; a password in an address only by the name that it stands behind. */
async function inWrongPlaces(all: readonly string[]): Promise<void> {
  for (const secret of all) {
    const text = encodeURIComponent(secret);
    const tellsItself = /^bth_|^eyJ/.test(secret);
    const named = [
      `/v2/?token=${text}`,
      `/v2/acme/app/tags/list?n=1&access_token=${text}`,
      `/auth/token?password=${text}&account=${text}`,
      `/auth/token?scope=${text}`,
      `/auth/token?scope=repository:${text}:pull`,
      `/auth/${text}`,
      `/${text}?x=${text}`,
      `/api/v1/${text}?token=${text}`,
      `/api/v1/audit?who=${text}`,
    ];
    const anywhere = [
      `/v2/acme/app/manifests/${text}`,
      `/v2/acme/app/blobs/uploads/${text}`,
      `/v2/acme/${text}/tags/list`,
      `/v2/acme/app/tags/list?last=${text}`,
      `/v2/${text}`,
      `/v2/x${text}x`,
      `/api/v1/tokens/${text}`,
      `/api/v1/repositories/${text}/-`,
    ];
    for (const at of [...named, ...(tellsItself ? anywhere : [])]) {
      await sender.send(at);
      await sender.send(at, { method: 'POST', headers: basicOf(admin) });
    }
    await sender.send('/v2/acme/app/manifests/v1', { method: 'PUT', headers: bearer(secret), body: secret });
    await sender.send('/v2/', { headers: { ...bearer(secret), Cookie: secret, 'X-CSRF-Token': secret } });
    await sender.send('/api/v1/session', { headers: { Authorization: secret, Cookie: `berth_session=${secret}` } });
    await sender.send('/auth/token', form({ grant_type: secret, password: secret }));
    await sender.send('/api/v1/session', {
      method: 'POST',
      body: { username: 'ada', password: secret, ...(tellsItself && { [secret]: secret }) },
    });
  }
}

/** As it is, in a URL, in base64, and as JSON has it. */
function forms(secret: string): string[] {
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret).toString('base64'),
  ];
}

describe('after a run in which everything was used', () => {
  test('the log, at its most talkative, holds none of it', () => {
    const log = output.join('');
    expect(log.split('\n').length).toBeGreaterThan(200);
    const found = log.split('\n').flatMap((line) =>
      [...secrets].flatMap(([what, secret]) =>
        // Six digits are found everywhere.
        what !== 'a code' && forms(secret).some((each) => line.includes(each))
          ? [`${what}: ${line.slice(0, 600)}`]
          : [],
      ),
    );
    expect(found.slice(0, 5)).toEqual([]);
    expect(/bth_[0-9A-Za-z]{20}/.exec(log)).toBeNull();
    expect(/eyJ[\w-]{10,}\.eyJ/.exec(log)).toBeNull();
    expect(/\$argon2/.exec(log)).toBeNull();
    expect(/PRIVATE KEY/.exec(log)).toBeNull();
  });

  test('every line is one of JSON', () => {
    const lines = output
      .join('')
      .split('\n')
      .filter((line) => line.startsWith('{'));
    expect(lines.length).toBeGreaterThan(200);
    for (const line of lines) expect(JSON.parse(line)).toHaveProperty('level');
  });

  test('no table holds any of it, but for what waits to be mailed and the second factor, which codes are made of', async () => {
    const tables = await database.query<{ name: string }>(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    );
    expect(tables.map(({ name }) => name)).toContain('graphile_worker._private_jobs');
    const exempt = (name: string, what: string): boolean =>
      (name === 'graphile_worker._private_jobs' && what === 'a mailed link') ||
      (name === 'public.users' && what === 'the secret of a second factor') ||
      what === 'a code';
    const found: string[] = [];
    for (const { name } of tables) {
      const rows = await database.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`);
      for (const { row } of rows)
        for (const [what, secret] of secrets)
          if (!exempt(name, what) && forms(secret).some((each) => row.includes(each)))
            found.push(`${name}, ${what}: ${row.slice(0, 500)}`);
      if (name !== 'graphile_worker._private_jobs')
        for (const { row } of rows) if (/bth_[0-9A-Za-z]{42}/.test(row)) found.push(`${name}: ${row.slice(0, 500)}`);
    }
    expect(found.slice(0, 5)).toEqual([]);
  });
});
