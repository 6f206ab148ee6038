/**
 * What people type at the API is text: no part of a statement, of a pattern, of a header or of a mail. Every place where a
 * text stands, from the served openapi.json.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { addressOf, bodyFor, declaredOperations, type Declared, type Schema } from '../support/declared.ts';
import { factsOf, fewHostileTexts, hostileTexts, injected, troubleIn, unhurried } from '../support/hostile.ts';
import { makeImage } from '../support/images.ts';
import { basicOf, createSender, inTurns, type Sender, type Sent } from '../support/sender.ts';
import { startMailServer, type TestMailServer } from '../support/smtp.ts';

let berth: TestBerth;
let mailServer: TestMailServer;
let sender: Sender;

beforeAll(async () => {
  mailServer = await startMailServer();
  berth = await startTestBerth({
    BERTH_SMTP_URL: mailServer.url,
    BERTH_MAIL_FROM: 'berth@example.com',
    BERTH_PUBLIC_URL: 'http://registry.example.com',
    BERTH_REGISTRATION: 'open',
    ...unhurried,
  });
  sender = createSender(berth.url, basicOf(berth.admin));
  await berth.addUser('alice');
  const admin = clientOf(berth.url, berth.admin);
  await admin.request('post', '/api/v1/namespaces').send({ name: 'acme' });
  await admin.pushImage('acme/app', 'v1', makeImage());
  await admin.request('patch', '/api/v1/repositories/acme/app/-').send({ visibility: 'public' });
});
afterAll(async () => {
  sender.close();
  await berth.stop();
  await mailServer.close();
});

/** Can only be sent in JSON: half of a pair. */
const halfPair = 'a\ud800b';

/** Every text in a body, as a path to it. */
function textsIn(schema: Schema, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return textsIn(choices[0]!, path);
  if (schema.items !== undefined) return textsIn(schema.items, [...path, 0]);
  if (schema.properties !== undefined)
    return Object.entries(schema.properties).flatMap(([name, each]) => textsIn(each, [...path, name]));
  return schema.type === 'string' || (Array.isArray(schema.type) && schema.type.includes('string')) ? [path] : [];
}

function withText(value: unknown, [key, ...rest]: readonly (string | number)[], text: string): unknown {
  if (key === undefined) return text;
  if (Array.isArray(value)) return value.map((each: unknown, i) => (i === key ? withText(each, rest, text) : each));
  return { ...(value as object), [key]: withText((value as Record<string, unknown>)[key], rest, text) };
}

/** What would end the test's own account, or everybody's. */
const sparing = new Set(['signOutEverywhere', 'changePassword', 'beginSecondFactor']);

interface Case {
  readonly operation: Declared;
  readonly what: string;
  readonly text: string;
  readonly path: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
}

function casesOf(operation: Declared, texts: readonly string[]): Case[] {
  const names = operation.template.includes('/repositories/') ? 'acme/app' : 'acme';
  const path = { name: operation.template.includes('/users/') ? 'alice' : names, namespace: 'acme', user: 'alice' };
  const body = bodyFor(operation);
  const plain = { operation, path, query: {}, body };
  const ofParameters = operation.parameters.flatMap(({ name, in: where }) =>
    // Nothing in a path is no parameter, but another path.
    texts
      .filter((text) => where === 'query' || !['', '.', '..'].includes(text))
      .map((text) => ({ ...plain, what: `${where}.${name}`, text, [where]: { ...plain[where], [name]: text } })),
  );
  const ofBody = textsIn(operation.body ?? {}).flatMap((at) =>
    [...texts, halfPair].map((text) => ({
      ...plain,
      what: `body.${at.join('.')}`,
      text,
      body: withText(body, at, text),
    })),
  );
  return [...ofParameters, ...ofBody];
}

async function ask({ operation, path, query, body }: Case): Promise<Sent> {
  return sender.send(addressOf(operation, { path, query }), { method: operation.method, body });
}

describe('every text of every operation, as an administrator', () => {
  test('what is read shows no other rows', async () => {
    const reads = (await declaredOperations(berth.url)).filter(({ method }) => method === 'GET');
    const before = await factsOf(berth);
    const cases = reads.flatMap((operation) => casesOf(operation, hostileTexts));
    expect(cases.length).toBeGreaterThan(1000);
    const found = await inTurns(cases, async (each) => {
      const answer = await ask(each);
      const trouble = troubleIn(answer);
      if (trouble !== null) return `${each.operation.id} ${each.what}=${each.text.slice(0, 60)}: ${trouble}`;
      if (answer.status >= 400) return null;
      // Nothing here is called so: a pattern that was taken for one, or a condition that came true, would show something.
      const items = (answer.json as { items?: unknown[] } | undefined)?.items;
      const nothing = items === undefined ? answer.text.trim().split('\n').length <= 1 : items.length === 0;
      const known = each.operation.id === 'explainAccess' || expectedHits(each);
      return nothing || known
        ? null
        : `${each.operation.id} ${each.what}=${each.text.slice(0, 60)}: ${answer.text.slice(0, 200)}`;
    });
    expect(found.filter((each) => each !== null).slice(0, 10)).toEqual([]);
    expect(await factsOf(berth)).toEqual(before);
  });

  /** Where a star is meant as one, and an empty search as none; `-` and `.` may stand in names. */
  const expectedHits = ({ what, text, operation }: Case): boolean =>
    (operation.id.endsWith('Audit') && what === 'query.target' && text === '*') ||
    (what === 'query.search' && (text === '' || text === '-'));

  test('what changes something keeps it as it is, or refuses it', async () => {
    const changes = (await declaredOperations(berth.url)).filter(
      ({ method, id }) => method !== 'GET' && !sparing.has(id),
    );
    const before = await factsOf(berth);
    const cases = changes.flatMap((operation) => casesOf(operation, fewHostileTexts));
    expect(cases.length).toBeGreaterThan(500);
    const statuses = new Map<number, number>();
    const found = await inTurns(cases, async (each) => {
      const answer = await ask(each);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      const trouble = troubleIn(answer);
      const asked = `${each.operation.id} ${each.what}=${each.text.slice(0, 60)}`;
      if (trouble !== null) return `${asked}: ${trouble}`;
      if (answer.status !== 200 && answer.status !== 201) return null;
      // Kept as it was sent, where it is shown at all.
      const shown = answer.text.includes(JSON.stringify(each.text).slice(1, -1));
      return shown || /body\.(password|visibility)/.test(each.what) ? null : `${asked}: ${answer.text.slice(0, 200)}`;
    });
    expect(found.filter((each) => each !== null).slice(0, 10)).toEqual([]);
    expect([...statuses.keys()].filter((status) => status >= 500)).toEqual([]);
    // What was there is there, and as it was: rows were added at the most.
    const after = await factsOf(berth);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    const kept = ['users', 'repositories', 'namespace_members', 'granted_roles', 'signing_keys', 'manifests', 'tags'];
    for (const table of kept) expect(after[table], table).toEqual(expect.arrayContaining([...before[table]!]));
    // Whose password is hostile is an account like any other.
    const added = after['users']!.filter((row) => !before['users']!.includes(row));
    expect(added.map((row) => (JSON.parse(row) as { name: string }).name)).toEqual(['ada']);
    expect(after['signing_keys']).toEqual(before['signing_keys']);
  });

  test('a body deeper than anybody needs, or made of nothing but brackets', async () => {
    const bodies = [
      `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
      `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
      '['.repeat(500_000),
      `{"name":${'9'.repeat(100_000)}}`,
      `{"name":"${'\\u0041'.repeat(100_000)}"}`,
    ];
    for (const body of bodies) {
      const headers = { 'Content-Type': 'application/json' };
      const { status } = await sender.send('/api/v1/repositories', { method: 'POST', headers, body });
      expect(status).toBe(400);
    }
  });

  test('keys and cursors that are no keys and no cursors', async () => {
    const keys = [`' OR '1'='1' --aaaaaaaa`, 'x'.repeat(300), '%%%%%%%%%%%%%%%%%%%%', 'é'.repeat(20), '\t'.repeat(20)];
    for (const key of keys) {
      const answer = await sender.send('/api/v1/namespaces', {
        method: 'POST',
        headers: { 'Idempotency-Key': key },
        body: { name: 'never' },
      });
      expect([201, 400]).toContain(answer.status);
    }
    const cursors = [
      [`' OR '1'='1`],
      ['\0'],
      [{ a: 1 }],
      [1e308],
      [-1],
      [null],
      [[]],
      {},
      'x',
      [`'`, `'`],
      ['2020', '1'],
    ];
    for (const cursor of cursors) {
      const text = Buffer.from(JSON.stringify(cursor)).toString('base64url');
      for (const path of ['audit', 'tokens', 'namespaces', 'namespaces/acme/members', 'users', 'sessions']) {
        const answer = await sender.send(`/api/v1/${path}?cursor=${text}`);
        expect({ path, cursor, trouble: troubleIn(answer) }).toEqual({ path, cursor, trouble: null });
      }
    }
  });
});

test('nobody gets a mail because of how an address was written', async () => {
  const forgeries = [
    `a@example.com\r\nBcc: evil@example.com`,
    'a@example.com,evil@example.com',
    '"a\\"@x" <evil@example.com>',
  ];
  for (const email of forgeries) {
    await sender.send('/api/v1/registrations', { method: 'POST', headers: { Authorization: '' }, body: { email } });
    await sender.send('/api/v1/password-resets', { method: 'POST', body: { account: email } });
    await sender.send('/api/v1/users/invitations', { method: 'POST', body: { email } });
    await sender.send('/api/v1/namespaces/acme/invitations', {
      method: 'POST',
      body: { invitee: email, role: 'reader' },
    });
  }
  // Requests are answered in the background; what was typed is looked for there.
  const waiting = async (): Promise<number> => {
    const rows = await berth.database.query(`SELECT 1 FROM graphile_worker.jobs WHERE task_identifier LIKE 'answer%'`);
    return rows.length;
  };
  await expect.poll(waiting, { timeout: 20_000 }).toBe(0);
  const mails = await berth.database.query(
    `SELECT payload FROM graphile_worker._private_jobs j JOIN graphile_worker._private_tasks t ON t.id = j.task_id
     WHERE t.identifier = 'send_mail' AND payload::text LIKE '%evil@%'`,
  );
  expect(mails).toEqual([]);
  for (const { recipients, headers } of mailServer.mails) {
    expect(recipients).toHaveLength(1);
    expect(recipients[0]).not.toContain('evil');
    expect([...headers.keys()]).not.toContain('bcc');
    expect([...headers.keys()]).not.toContain(injected);
  }
});
