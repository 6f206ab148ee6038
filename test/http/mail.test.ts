import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { invitationMail, registrationMail, type Mail } from '../../src/access/mail.ts';
import { createSecret, secretPattern } from '../../src/access/secrets.ts';
import { queueMail } from '../../src/access/sql/mail.ts';
import { startBerth, type RunningBerth } from '../../src/app.ts';
import { parseEmailAddress, type EmailAddress } from '../../src/config/email-address.ts';
import { parseConfig } from '../../src/config/load.ts';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { createTestDatabase } from '../support/database.ts';
import { startMailServer, type MailServerOptions, type TestMailServer } from '../support/smtp.ts';

const eventually = { timeout: 20_000, interval: 20 };
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const publicUrl = new URL('https://hub.example');
const ada = parseEmailAddress('ada@hub.example') as EmailAddress;

function mailSettings(smtpUrl: string): Record<string, string> {
  return { BERTH_SMTP_URL: smtpUrl, BERTH_MAIL_FROM: 'berth@hub.example', BERTH_PUBLIC_URL: publicUrl.origin };
}

async function openMailServer(options?: MailServerOptions): Promise<TestMailServer> {
  const server = await startMailServer(options);
  closers.push(() => server.close());
  return server;
}

async function openBerth(smtpUrl: string): Promise<TestBerth> {
  const berth = await startTestBerth(mailSettings(smtpUrl));
  closers.push(() => berth.stop());
  return berth;
}

/** A database, and Berths that come and go on it. */
async function openFacts(options?: { migrated: boolean }) {
  const facts = await createTestDatabase(options);
  closers.push(() => facts.drop());
  const dataDir = await mkdtemp(path.join(tmpdir(), 'berth-test-'));
  closers.push(() => rm(dataDir, { recursive: true }));
  const database = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  closers.push(() => database.close());
  async function start(settings: Record<string, string>): Promise<RunningBerth> {
    const base = { BERTH_DATABASE_URL: facts.url, BERTH_DATA_DIR: dataDir, BERTH_LISTEN: '127.0.0.1:0' };
    const config = parseConfig({ ...base, BERTH_LOG_LEVEL: 'silent', ...settings });
    const berth = await startBerth(config, createLogger(config.log));
    closers.push(() => berth.stop());
    return berth;
  }
  return { database, start };
}

function aMail(): Mail {
  return registrationMail({ to: ada, publicUrl, token: createSecret().text, hours: 24 });
}

interface QueuedMail {
  readonly attempts: number;
  readonly last_error: string | null;
}

const queuedMails = (database: Database) =>
  database.query<QueuedMail>(
    `SELECT attempts, last_error FROM graphile_worker.jobs WHERE task_identifier = 'send_mail' AND locked_at IS NULL`,
  );

/** As if the pause before the next try were over; `attempts` were made before. */
async function letItBeTried(database: Database, attempts: number, check: () => unknown): Promise<void> {
  await database.query('UPDATE graphile_worker._private_jobs SET run_at = now(), attempts = $1', [attempts]);
  await vi.waitFor(async () => {
    await database.query(`SELECT pg_notify('jobs:insert', '{"r":1,"count":1}')`);
    await check();
  }, eventually);
}

test('a mail arrives as it was written, with an address that nobody answers by machine', async () => {
  const server = await openMailServer();
  const { database, logs } = await openBerth(server.url);
  const mail = aMail();
  await queueMail(database, mail);
  await vi.waitFor(() => expect(server.mails).toHaveLength(1), eventually);
  const [received] = server.mails;
  expect(received).toMatchObject({ sender: 'berth@hub.example', recipients: ['ada@hub.example'], text: mail.text });
  expect(Object.fromEntries(received!.headers)).toMatchObject({
    from: 'berth@hub.example',
    to: 'ada@hub.example',
    subject: mail.subject,
    'auto-submitted': 'auto-generated',
    'content-type': 'text/plain; charset=utf-8',
    'message-id': expect.stringMatching(/^<[0-9a-f-]{36}@hub\.example>$/),
  });
  await vi.waitFor(async () => expect(await queuedMails(database)).toEqual([]), eventually);
  expect(JSON.stringify(logs)).not.toMatch(secretPattern);
});

test('a mail is sent with the transaction that asks for it, or not at all', async () => {
  const server = await openMailServer();
  const { database } = await openBerth(server.url);
  const undone = database.transaction(async (queryer) => {
    await queueMail(queryer, { to: ada, subject: 'undone', text: 'undone' });
    throw new Error('changed my mind');
  });
  await expect(undone).rejects.toThrow('changed my mind');
  await database.transaction((queryer) => queueMail(queryer, { to: ada, subject: 'done', text: 'done' }));
  await vi.waitFor(() => expect(server.mails).toHaveLength(1), eventually);
  expect(server.mails[0]!.headers.get('subject')).toBe('done');
});

test('a mail waits for a mail server that is down, and its links are in no log', async () => {
  const server = await startMailServer();
  await server.close();
  const { database, logs } = await openBerth(server.url);
  const mail = aMail();
  await queueMail(database, mail);
  await vi.waitFor(
    async () =>
      expect(await queuedMails(database)).toEqual([
        { attempts: 1, last_error: expect.stringContaining('ECONNREFUSED') },
      ]),
    eventually,
  );
  expect(logs).toContainEqual(expect.objectContaining({ level: 'error', task: 'send_mail', attempts: 1 }));

  const back = await openMailServer({ port: server.port });
  await letItBeTried(database, 1, () => expect(back.mails).toHaveLength(1));
  expect(back.mails[0]!.text).toBe(mail.text);
  await vi.waitFor(async () => expect(await queuedMails(database)).toEqual([]), eventually);
  expect(JSON.stringify(logs)).not.toMatch(secretPattern);
});

test('a mail that cannot be sent in ten tries is given up in words, and its links leave the database', async () => {
  const server = await startMailServer();
  await server.close();
  const { database, logs } = await openBerth(server.url);
  await queueMail(database, aMail());
  await vi.waitFor(async () => expect(await queuedMails(database)).toMatchObject([{ attempts: 1 }]), eventually);
  const jobs = `SELECT 1 FROM graphile_worker.jobs WHERE task_identifier = 'send_mail'`;
  await letItBeTried(database, 9, async () => expect(await database.query(jobs)).toEqual([]));
  expect(logs).toContainEqual(expect.objectContaining({ level: 'error', msg: expect.stringContaining('given up') }));
  expect(JSON.stringify(logs)).not.toMatch(secretPattern);
});

test('what a name says becomes neither a header nor a recipient', async () => {
  const server = await openMailServer();
  const { database } = await openBerth(server.url);
  const evil = 'Zoë\r\nBcc: eve@evil.example\r\n\r\nClick here';
  const { text: token } = createSecret();
  await queueMail(
    database,
    invitationMail({ to: ada, publicUrl, token, hours: 24, inviter: evil, into: evil, role: 'developer' }),
  );
  await vi.waitFor(() => expect(server.mails).toHaveLength(1), eventually);
  const { headers, recipients, text } = server.mails[0]!;
  expect(recipients).toEqual(['ada@hub.example']);
  expect([...headers.keys()].toSorted()).toEqual([
    'auto-submitted',
    'content-transfer-encoding',
    'content-type',
    'date',
    'from',
    'message-id',
    'mime-version',
    'subject',
    'to',
  ]);
  expect(text.split('\n').filter((line) => /^(Bcc|Click)/.test(line))).toEqual([]);
});

test.each([
  { to: 'ada@hub.example\r\nBcc: eve@evil.example', subject: 'x' },
  { to: 'ada@hub.example, eve@evil.example', subject: 'x' },
  { to: 'ada@hub.example', subject: 'x\r\nBcc: eve@evil.example' },
])('a job that somebody put into the queue by hand sends nothing as long as it is malformed: %j', async (job) => {
  const server = await openMailServer();
  const { database, logs } = await openBerth(server.url);
  const { text } = createSecret();
  await queueMail(database, { ...job, text } as Mail);
  await vi.waitFor(async () => expect(await queuedMails(database)).toMatchObject([{ attempts: 1 }]), eventually);
  expect(server.mails).toEqual([]);
  expect(JSON.stringify(logs)).not.toMatch(secretPattern);
});

test('a mail server that can encrypt is spoken to in cipher, with the user and password of the setting', async () => {
  const login = { user: 'berth@hub', password: 'p@ss:w/rd %' };
  const server = await openMailServer({ encrypts: true, login });
  const credentials = `${encodeURIComponent(login.user)}:${encodeURIComponent(login.password)}`;
  const url = `smtp://${credentials}@127.0.0.1:${server.port}?requireTLS=true&tls.rejectUnauthorized=false`;
  const { database } = await openBerth(url);
  await queueMail(database, aMail());
  await vi.waitFor(() => expect(server.mails).toMatchObject([{ secure: true, user: login.user }]), eventually);
});

test('no mail goes to a mail server whose certificate is not trusted, or that cannot encrypt when it must', async () => {
  const untrusted = await openMailServer({ encrypts: true });
  const plain = await openMailServer();
  for (const [server, url] of [
    [untrusted, untrusted.url],
    [plain, `${plain.url}?requireTLS=true`],
  ] as const) {
    const { database, logs } = await openBerth(url);
    await queueMail(database, aMail());
    await vi.waitFor(async () => expect(await queuedMails(database)).toMatchObject([{ attempts: 1 }]), eventually);
    expect(server.mails).toEqual([]);
    expect(JSON.stringify(logs)).not.toMatch(secretPattern);
  }
});

test('without a mail server a mail waits, and is sent by a process that has one', async () => {
  const server = await openMailServer();
  const { database, start } = await openFacts();
  await start({});
  await queueMail(database, aMail());
  await start(mailSettings(server.url));
  await vi.waitFor(() => expect(server.mails).toHaveLength(1), eventually);
});

test('a mail can be queued from the first moment of the first start', async () => {
  const server = await openMailServer();
  const { database, start } = await openFacts({ migrated: false });
  await start(mailSettings(server.url));
  await queueMail(database, aMail());
  await vi.waitFor(() => expect(server.mails).toHaveLength(1), eventually);
});

test('a mail server that says nothing does not keep Berth from ending, and the mail stays', async () => {
  const connected = Promise.withResolvers<void>();
  const silent = createServer((socket) => {
    connected.resolve();
    closers.push(async () => void socket.destroy());
  });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  closers.push(async () => void silent.close());
  const { database, start } = await openFacts();
  const berth = await start(mailSettings(`smtp://127.0.0.1:${(silent.address() as AddressInfo).port}`));
  await queueMail(database, aMail());
  await connected.promise;
  const began = performance.now();
  await berth.stop();
  expect(performance.now() - began).toBeLessThan(5000);
  expect(await queuedMails(database)).toMatchObject([{ attempts: 1 }]);
});
