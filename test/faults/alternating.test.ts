/** Two processes on one PostgreSQL and one bucket, behind nginx that gives requests to either: together they are one registry. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { clientOfPair, type PairClient } from '../support/alternating-client.ts';
import { startPair, type Asked, type Pair } from '../support/alternating.ts';
import type { Login } from '../support/berth.ts';
import { closing, slowRequest, until, type Answer } from '../support/faults.ts';
import { noS3Server } from '../support/s3-server.ts';
import { startMailServer, type TestMailServer } from '../support/smtp.ts';
import { titled, whyNot } from '../support/tools.ts';

const reason = whyNot('nginx') ?? noS3Server;
const mib = 1024 * 1024;
/** Small, and beyond what the tests of other things need. */
const limits = {
  signInsPerAddress: 14,
  signInsPerAccount: 8,
  tokensPerAddress: 12,
  tokensPerAccount: 10,
  mails: 6,
  pushesPerAddress: 6,
  pushesPerAccount: 8,
  anonymousPulls: 6,
  accountPulls: 8,
};

describe.skipIf(reason !== undefined)(titled('two processes behind nginx', reason), () => {
  let smtp: TestMailServer;
  let pair: Pair;
  let client: PairClient;
  const ask = (target: string, asked?: Asked): Promise<Answer> => pair.ask(target, asked);

  beforeAll(async () => {
    smtp = await startMailServer();
    pair = await startPair({
      BERTH_SMTP_URL: smtp.url,
      BERTH_MAIL_FROM: 'berth@hub.example',
      BERTH_RATE_LIMIT_STORE: 'postgres',
      BERTH_SIGN_IN_FAILURES_FREE: '3',
      BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: String(limits.signInsPerAddress),
      BERTH_RATE_LIMIT_SIGN_INS_PER_ACCOUNT_PER_MINUTE: String(limits.signInsPerAccount),
      BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE: String(limits.tokensPerAddress),
      BERTH_RATE_LIMIT_TOKENS_PER_ACCOUNT_PER_MINUTE: String(limits.tokensPerAccount),
      BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: String(limits.mails),
      BERTH_RATE_LIMIT_PUSHES_PER_ADDRESS_PER_HOUR: String(limits.pushesPerAddress),
      BERTH_RATE_LIMIT_PUSHES_PER_ACCOUNT_PER_HOUR: String(limits.pushesPerAccount),
      BERTH_RATE_LIMIT_ANONYMOUS_PULLS_PER_6_HOURS: String(limits.anonymousPulls),
      BERTH_RATE_LIMIT_ACCOUNT_PULLS_PER_6_HOURS: String(limits.accountPulls),
    });
    client = clientOfPair(pair);
    await client.pushImage('acme/app', pair.admin);
  });
  afterAll(async () => {
    await pair?.stop();
    await smtp?.close();
  });

  test('both migrated the empty database on which they were started at once, each file once', async () => {
    const ran = pair.starts.flat().flatMap(({ msg }) => /^migrated the database: (.*)$/.exec(String(msg))?.[1] ?? []);
    const files = await readdir(path.resolve(import.meta.dirname, '../../migrations'));
    expect(ran.toSorted()).toEqual(files.map((file) => file.replace('.sql', '')).toSorted());
  });

  describe('an upload', () => {
    const name = 'acme/uploads';
    /** Sends chunks until each process has had one, and asks both where the upload stands after each. */
    async function send(session: string, nextChunk: () => Buffer): Promise<Buffer> {
      const sent: Buffer[] = [];
      let at = 0;
      await pair.untilBoth({ msg: 'answered', method: 'PATCH', url: session, status: 202 }, async () => {
        const chunk = nextChunk();
        const headers = { 'content-range': `${at}-${at + chunk.length - 1}` };
        const answer = await client.expectAnswer(202, session, { method: 'PATCH', body: chunk, headers });
        sent.push(chunk);
        at += chunk.length;
        // Two questions: with one, by strict turns, all chunks would come to the same process.
        for (const each of [answer, await client.expectAnswer(204, session), await client.expectAnswer(204, session)])
          expect(each.headers.get('range')).toBe(`0-${at - 1}`);
        return answer;
      });
      return Buffer.concat(sent);
    }

    async function expectBlob(whole: Buffer): Promise<void> {
      const blob = `/v2/${name}/blobs/${digestOf(whole)}`;
      const pulled = await pair.untilBoth({ msg: 'answered', method: 'GET', url: blob, status: 200 }, () => ask(blob));
      for (const { body } of pulled) expect(body.equals(whole)).toBe(true);
    }

    test.for([
      ['small chunks, which are kept until there is a part', 300_000],
      ['large ones of several parts', 10 * mib + 1],
    ] as const)('in %s, goes on at either, and is closed by either', async ([, size]) => {
      const session = await client.openSession(name);
      const whole = await send(session, () => Buffer.alloc(size, randomBytes(64)));
      const last = randomBytes(1000);
      const all = Buffer.concat([whole, last]);
      await client.expectAnswer(201, closing(session, digestOf(all)), { method: 'PUT', body: last });
      await expectBlob(all);
    });

    test('that one writes to is left alone by the other, whose chunk waits for its turn', async () => {
      const [first, second] = [randomBytes(200_000), randomBytes(200_000)];
      const session = await client.openSession(name);
      const isLeased = async (): Promise<boolean> =>
        (await pair.database.query('SELECT FROM uploads WHERE id = $1 AND lease IS NOT NULL', [idOf(session)])).length >
        0;
      const writing = await slowRequest('PATCH', new URL(session, pair.url), pair.admin);
      await until(isLeased);
      const headers = { 'content-range': `${first.length}-${first.length + second.length - 1}` };
      // Goes to the one that has nothing under way.
      const waiting = client.expectAnswer(202, session, { method: 'PATCH', body: second, headers });
      await writing.send(first.subarray(0, 1000));
      writing.end(first.subarray(1000));
      expect(await writing.outcome).toBe(202);
      await waiting;
      const whole = Buffer.concat([first, second]);
      await client.expectAnswer(201, closing(session, digestOf(whole)), { method: 'PUT' });
      await expectBlob(whole);
    });

    const idOf = (session: string): string => session.split('/').at(-1)!;
  });

  describe('what is taken away', () => {
    const app = '/v2/acme/app/manifests/v1';
    const api = (method: string, target: string, body?: object): Promise<Answer> =>
      ask(`/api/v1${target}`, { method, ...(body && { body }) });

    /** What both answer with a HEAD, which is no pull. */
    async function both(status: number, asked: Asked, target = app): Promise<void> {
      const line = { method: 'HEAD', url: target, status, client: asked.from! };
      const answers = await pair.untilBoth(line, () => ask(target, { ...asked, method: 'HEAD' }));
      expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([status]));
    }

    test('by disabling an account is gone at both: its password, and tokens of either', async () => {
      await api('PATCH', '/repositories/acme/app/-', { visibility: 'internal' });
      const [from, who] = [client.newAddress(), await client.addUser('ada')];
      const shown: Asked[] = [{ from, who }];
      for (let i = 0; i < 2; i += 1)
        shown.push({ from, who: { bearer: await client.tokenFor(who, 'acme/app', from) } });
      for (const asked of shown) await both(200, asked);
      expect((await api('PATCH', '/users/ada', { disabled: true })).status).toBe(200);
      for (const asked of shown) await both(401, asked);
    });

    test('by revoking a personal token, or by a new password, is gone at both', async () => {
      await api('PATCH', '/repositories/acme/app/-', { visibility: 'internal' });
      const [from, who] = [client.newAddress(), await client.addUser('bob')];
      const grants = [{ repositories: 'acme/*', actions: ['pull'] }];
      const made = await ask('/api/v1/tokens', { method: 'POST', body: { name: 'ci', grants }, who, from });
      const { id, secret } = JSON.parse(made.body.toString()) as { id: number; secret: string };
      const token = { from, who: { username: 'bob', password: secret } };
      await both(200, token);
      expect((await ask(`/api/v1/tokens/${id}`, { method: 'DELETE', who, from })).status).toBe(204);
      await both(401, token);

      await both(200, { from, who });
      const body = { password: who.password, newPassword: 'another password' };
      expect((await ask('/api/v1/account/password', { method: 'PUT', body, who, from })).status).toBe(200);
      await both(401, { from, who });
      await both(200, { from, who: { ...who, password: 'another password' } });
    });

    test('from a member, and by hiding a repository, is gone at both', async () => {
      const [from, who] = [client.newAddress(), await client.addUser('eve')];
      await api('POST', '/namespaces', { name: 'team' });
      await client.pushImage('team/app', pair.admin);
      expect((await api('PUT', '/namespaces/team/members/eve', { role: 'reader' })).status).toBe(200);
      const target = '/v2/team/app/manifests/v1';
      const shown = [
        { from, who },
        { from, who: { bearer: await client.tokenFor(who, 'team/app', from) } },
      ];
      for (const asked of shown) await both(200, asked, target);
      expect((await api('DELETE', '/namespaces/team/members/eve')).status).toBe(200);
      for (const asked of shown) await both(404, asked, target);

      await api('PATCH', '/repositories/team/app/-', { visibility: 'public' });
      const anonymous = { from, who: { bearer: await client.tokenFor(null, 'team/app', from) } };
      for (const asked of [...shown, anonymous]) await both(200, asked, target);
      expect((await api('PATCH', '/repositories/team/app/-', { visibility: 'private' })).status).toBe(200);
      for (const asked of shown) await both(404, asked, target);
      await both(401, anonymous, target);
    });

    test('by revoking a key that signs tokens is gone at both; those of the next key are good', async () => {
      const from = client.newAddress();
      const kidOf = (token: string): string =>
        (JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString()) as { kid: string }).kid;
      const old = await client.tokenFor(pair.admin, 'acme/app', from);
      await both(200, { from, who: { bearer: old } });
      expect((await api('POST', '/signing-keys/rotate')).status).toBe(201);
      const fresh = await Promise.all([1, 2].map(() => client.tokenFor(pair.admin, 'acme/app', from)));
      for (const token of [old, ...fresh]) await both(200, { from, who: { bearer: token } });
      expect((await api('POST', `/signing-keys/${kidOf(old)}/revoke`)).status).toBe(200);
      await both(401, { from, who: { bearer: old } });
      for (const token of fresh) await both(200, { from, who: { bearer: token } });
    });
  });

  describe('a limit is one for both', () => {
    const nobody = (i: number): Login => ({ username: `nobody${i}`, password: 'wrong' });
    const resets = { method: 'POST', body: { account: 'nobody' }, who: null };

    interface Counted {
      readonly limit: number;
      readonly status: number;
      /** What both write when the limit is reached. */
      readonly refused: Readonly<Record<string, string | number>>;
      readonly ask: (i: number) => Promise<Answer>;
    }

    /** Each from an address and an account of its own. */
    const kinds: Record<string, () => Promise<Counted>> = {
      async 'sign-ins of an address'() {
        const from = client.newAddress();
        const limit = limits.signInsPerAddress;
        const refused = { url: '/v2/', client: from, status: 429 };
        return { limit, status: 401, refused, ask: (i) => ask('/v2/', { from, who: nobody(i) }) };
      },
      async 'sign-ins of an account'() {
        const limit = limits.signInsPerAccount;
        const who = { username: 'nobody at all', password: 'wrong' };
        const refused = { url: '/v2/?account', status: 429 };
        return { limit, status: 401, refused, ask: () => ask('/v2/?account', { from: client.newAddress(), who }) };
      },
      async 'tokens of an address'() {
        const from = client.newAddress();
        const limit = limits.tokensPerAddress;
        const refused = { msg: 'a token was refused', status: 429, reason: `token requests: ${limit} in` };
        return { limit, status: 200, refused, ask: () => ask('/auth/token', { from, who: null }) };
      },
      async 'tokens of an account'() {
        const who = await client.addUser('taker');
        const limit = limits.tokensPerAccount;
        const refused = { msg: 'a token was refused', status: 429, reason: `token requests: ${limit} in` };
        const target = '/auth/token?service=berth';
        return { limit, status: 200, refused, ask: () => ask(target, { from: client.newAddress(), who }) };
      },
      async 'requests for mails of an address'() {
        const from = client.newAddress();
        const refused = { operation: 'forgetPassword', client: from, status: 429 };
        const target = '/api/v1/password-resets';
        return { limit: limits.mails, status: 202, refused, ask: () => ask(target, { ...resets, from }) };
      },
      async 'pushes of an address'() {
        const [from, who] = [client.newAddress(), await client.addUser('near')];
        await client.pushBlobs('near/app', who, from);
        const refused = { method: 'PUT', client: from, status: 429 };
        const push = (i: number): Promise<Answer> => client.pushManifest('near/app', `v${i}`, who, from);
        return { limit: limits.pushesPerAddress, status: 201, refused, ask: push };
      },
      async 'pushes of an account'() {
        const who = await client.addUser('far');
        await client.pushBlobs('far/app', who, client.newAddress());
        const refused = { method: 'PUT', url: '/v2/far/app', status: 429 };
        const push = (i: number): Promise<Answer> => client.pushManifest('far/app', `v${i}`, who, client.newAddress());
        return { limit: limits.pushesPerAccount, status: 201, refused, ask: push };
      },
    };

    test.for(Object.keys(kinds))('%s', async (kind) => {
      const { limit, status, refused, ask: askOnce } = await kinds[kind]!();
      const answers = await pair.untilBoth(refused, askOnce);
      const statuses = answers.map((answer) => answer.status);
      expect(statuses.slice(0, limit)).toEqual(Array<number>(limit).fill(status));
      expect(new Set(statuses.slice(limit))).toEqual(new Set([429]));
    });

    test('wrong passwords, of which a few are free', async () => {
      const from = client.newAddress();
      const guess = (i: number): Promise<Answer> =>
        ask('/v2/', { from, who: { username: 'guessed', password: `wrong ${i}` } });
      // The fourth closes the door for a second. Each process for itself would let four through, and so eight.
      const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => guess(i)));
      const checked = answers.filter((answer) => answer.status === 401).length;
      expect(checked).toBeGreaterThanOrEqual(4);
      expect(checked).toBeLessThan(8);
      await pair.untilBoth({ url: '/v2/', client: from, status: 429 }, (i) => guess(100 + i));
    });

    test('pulls, which each tells the other within seconds', async () => {
      await ask('/api/v1/repositories/acme/app/-', { method: 'PATCH', body: { visibility: 'public' } });
      const target = '/v2/acme/app/manifests/v1';
      const anonymous = { bearer: await client.tokenFor(null, 'acme/app', client.newAddress()) };
      const kindsOf = [
        { kind: 'pull-address', limit: limits.anonymousPulls, who: anonymous },
        { kind: 'pull-account', limit: limits.accountPulls, who: await client.addUser('puller') },
      ];
      await Promise.all(
        kindsOf.map(async ({ kind, limit, who }) => {
          const from = client.newAddress();
          const told = async (pulls: number): Promise<void> =>
            until(async () => {
              const rows = await pair.database.query('SELECT FROM rate_limits WHERE key LIKE $1 AND points >= $2', [
                `${kind}:%`,
                pulls,
              ]);
              return rows.length > 0;
            });
          for (let pulls = 0; pulls < limit; pulls += 1) await client.expectAnswer(200, target, { from, who });
          await told(limit);
          // Who told first knows nothing of what the other told then, until it has to tell again.
          let more = 0;
          await pair.untilBoth({ method: 'GET', url: target, client: from, status: 429 }, async () => {
            const answer = await ask(target, { from, who });
            if (answer.status === 200) await told(limit + (more += 1));
            return answer;
          });
          expect(more).toBeLessThanOrEqual(2);
        }),
      );
    });
  });

  describe('work in the background is done once', () => {
    const queue = (task: string): Promise<unknown> =>
      pair.database.query('SELECT graphile_worker.add_job($1) FROM generate_series(1, 6)', [task]);
    const queued = (task: string): Promise<unknown[]> =>
      pair.database.query('SELECT FROM graphile_worker.jobs WHERE task_identifier = $1', [task]);
    const done = (task: string): Promise<void> => until(async () => (await queued(task)).length === 0);

    test('mails', async () => {
      const to = Array.from({ length: 20 }, (_, i) => `person${i}@hub.example`);
      const invite = (email: string): Promise<Answer> =>
        client.expectAnswer(201, '/api/v1/users/invitations', { method: 'POST', body: { email } });
      await Promise.all(to.map(invite));
      await done('send_mail');
      const recipients = smtp.mails.flatMap((mail) => mail.recipients).filter((each) => each.startsWith('person'));
      expect(recipients.toSorted()).toEqual(to.toSorted());
    });

    test('a key that is too old is replaced by one', async () => {
      const keys = (): Promise<unknown[]> => pair.database.query('SELECT kid FROM signing_keys');
      const before = await keys();
      await pair.database.query(`UPDATE signing_keys SET created_at = created_at - interval '400 days'`);
      await queue('tend-signing-keys');
      await done('tend-signing-keys');
      expect(await keys()).toHaveLength(before.length + 1);
    });

    test('uploads that have expired are swept, each by one, and nothing of them is left', async () => {
      const sessions = await Promise.all(Array.from({ length: 20 }, () => client.openSession('acme/expired')));
      for (const session of sessions)
        await client.expectAnswer(202, session, { method: 'PATCH', body: randomBytes(1000) });
      await pair.database.query(`UPDATE uploads SET expires_at = '-infinity' WHERE repository_name = 'acme/expired'`);
      for (const task of ['sweep-expired-uploads', 'delete-objects']) {
        await queue(task);
        await done(task);
      }
      expect(await pair.database.query(`SELECT FROM uploads WHERE repository_name = 'acme/expired'`)).toEqual([]);
      expect(await pair.database.query('SELECT FROM storage_deletions')).toEqual([]);
    });
  });
});
