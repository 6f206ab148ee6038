import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { recordAudit, type AuditAction } from './audit.ts';
import {
  auditActionsOf,
  searchAudit,
  type AuditFilter,
  type AuditPosition,
  type AuditRecord,
  type AuditVisibility,
} from './audit-search.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 });
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const everything: AuditVisibility = { all: true };

/** All pages, one after the other. */
async function search(visible: AuditVisibility, filter: AuditFilter, limit = 1000): Promise<AuditRecord[]> {
  const found: AuditRecord[] = [];
  let after: AuditPosition | undefined;
  do {
    const { records, next } = await searchAudit(database, visible, filter, { limit, after });
    expect(records.length).toBeLessThanOrEqual(limit);
    found.push(...records);
    after = next;
  } while (after !== undefined);
  return found;
}

const people = ['ada', 'ben', 'robot'] as const;
const targets = ['acme', 'acme/app', 'acme/app@sha256:0', 'acme/app:1', 'acme/app2', 'acme_app', 'other/app'] as const;
const actions: readonly AuditAction[] = ['token.create', 'token.revoke', 'manifest.push'];
const minute = (n: number) => new Date(Date.UTC(2026, 0, 1, 0, n));

interface Place {
  readonly id: number;
  readonly namespaceId: number | null;
  readonly repositoryId: number | null;
}
type Row = AuditRecord & Place;

/** Some rows, with values from few, several of them at one time. */
async function fill(rows: number): Promise<Row[]> {
  const some = <T>(values: readonly T[], index: number): T => values[index % values.length]!;
  for (let n = 0; n < rows; n += 1) {
    const turn = n * 7919 + (n % 13) * 31;
    const who = turn % people.length;
    await database.query(
      `INSERT INTO audit_log (at, actor_name, user_id, action, outcome, namespace_id, repository_id, target, address, request_id)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [
        minute(turn % 10),
        people[who],
        who === 2 ? null : who + 1,
        some(actions, (turn / 3) | 0),
        some(['done', 'done', 'denied'], (turn / 5) | 0),
        some([1, 2, 3, null], (turn / 7) | 0),
        some([10, 20, null], (turn / 11) | 0),
        some(targets, (turn / 2) | 0),
        some(['192.0.2.1', '2001:db8::1', null], (turn / 17) | 0),
        some(['req-1', 'req-2', null], (turn / 19) | 0),
      ],
    );
  }
  const places = await database.query<Place>(
    'SELECT id, namespace_id AS "namespaceId", repository_id AS "repositoryId" FROM audit_log',
  );
  const records = await search(everything, {});
  return records.map((record) => ({ ...record, ...places.find(({ id }) => id === record.id)! }));
}

/** What a filter means, said once more. */
function matches(record: Row, visible: AuditVisibility, filter: AuditFilter): boolean {
  const may =
    visible.all === true ||
    (visible.userId !== null && record.userId === visible.userId) ||
    (record.namespaceId !== null && visible.namespaceIds.includes(record.namespaceId));
  const same = (wanted: unknown, is: unknown): boolean => wanted === undefined || wanted === is;
  return (
    may &&
    same(filter.who, record.actor) &&
    (filter.actions === undefined || (filter.actions as readonly string[]).includes(record.action)) &&
    same(filter.outcome, record.outcome) &&
    same(filter.namespaceId, record.namespaceId) &&
    same(filter.repositoryId, record.repositoryId) &&
    same(filter.target, record.target) &&
    (filter.targetPrefix === undefined || record.target.startsWith(filter.targetPrefix)) &&
    (filter.within === undefined ||
      [filter.within, `${filter.within}/`, `${filter.within}:`, `${filter.within}@`].some((name, i) =>
        i === 0 ? record.target === name : record.target.startsWith(name),
      )) &&
    same(filter.address, record.address) &&
    same(filter.requestId, record.requestId) &&
    (filter.since === undefined || record.at >= filter.since) &&
    (filter.until === undefined || record.at < filter.until)
  );
}

const maybe = <T>(...values: readonly T[]) => fc.option(fc.constantFrom(...values), { nil: undefined, freq: 1 });
const times = fc.option(fc.integer({ min: -1, max: 11 }).map(minute), { nil: undefined, freq: 1 });
const anyFilter: fc.Arbitrary<AuditFilter> = fc.record(
  {
    who: maybe<string>(...people, 'nobody', "a'; --"),
    actions: fc.option(fc.subarray([...actions]), { nil: undefined, freq: 1 }),
    outcome: maybe('done' as const, 'denied' as const),
    namespaceId: maybe(1, 2, 3, 99),
    repositoryId: maybe(10, 20),
    target: maybe<string>(...targets),
    within: maybe('acme', 'acme/app', 'acme/ap', '_'),
    targetPrefix: maybe('acme/', 'acme/app', 'acme_', '%', ''),
    address: maybe('192.0.2.1', '2001:db8::1'),
    requestId: maybe('req-1', 'req-2'),
    since: times,
    until: times,
  },
  { requiredKeys: [] },
);
const anyVisibility: fc.Arbitrary<AuditVisibility> = fc.oneof(
  fc.constant(everything),
  fc.record({
    userId: fc.constantFrom(1, 2, 3, null),
    namespaceIds: fc.array(fc.constantFrom(1, 2, 99), { maxLength: 4 }),
  }),
);

describe('a search', () => {
  test('finds what the filter lets through and the caller may see, newest first, each once, whatever the size of the pages', async () => {
    const rows = await fill(120);
    expect(rows).toHaveLength(120);
    expect(rows).toEqual(rows.toSorted((a, b) => b.at.getTime() - a.at.getTime() || b.id - a.id));
    await fc.assert(
      fc.asyncProperty(anyVisibility, anyFilter, fc.constantFrom(4, 17, 1000), async (visible, filter, limit) => {
        const found = await search(visible, filter, limit);
        const expected = rows.filter((row) => matches(row, visible, filter));
        expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
      }),
      { numRuns: 120 },
    );
  });

  test('shows what was recorded', async () => {
    const actor = { credentialId: 7, userId: 33, name: 'eve', address: '::1', client: 'curl/8', requestId: 'req-9' };
    const target = 'eve/app';
    await recordAudit(database, actor, {
      action: 'repository.visibility',
      namespaceId: 77,
      repositoryId: 88,
      target,
      before: { visibility: 'private' },
      after: { visibility: 'public' },
      outcome: 'denied',
      reason: 'not an owner',
    });
    expect(await search(everything, { target })).toEqual([
      {
        id: expect.any(Number),
        at: expect.any(Date),
        actor: 'eve',
        userId: 33,
        credentialId: 7,
        address: '::1',
        client: 'curl/8',
        requestId: 'req-9',
        action: 'repository.visibility',
        outcome: 'denied',
        target,
        before: { visibility: 'private' },
        after: { visibility: 'public' },
        reason: 'not an owner',
      },
    ]);
  });

  test('ends with a page that is exactly full', async () => {
    const filter = { who: 'frank' };
    const frank = { credentialId: null, userId: null, name: 'frank', address: null, client: null, requestId: null };
    for (const target of ['a', 'b'])
      await recordAudit(database, frank, { action: 'tag.delete', target, outcome: 'done' });
    const first = await searchAudit(database, everything, filter, { limit: 2 });
    expect([first.records.map((record) => record.target), first.next]).toEqual([['b', 'a'], undefined]);
  });
});

describe('an action is named', () => {
  test('by its whole name, or with others by what comes before a dot', () => {
    expect(auditActionsOf('token.create')).toEqual(['token.create']);
    expect(auditActionsOf('token.')).toEqual(['token.create', 'token.rotate', 'token.revoke']);
    expect(auditActionsOf('team.member.')).toEqual(['team.member.add', 'team.member.remove']);
    for (const text of ['', 'token', 'token.c', '.', 'toString', '__proto__']) expect(auditActionsOf(text)).toEqual([]);
  });
});
