import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { createDatabase, type Database } from '../database/pool.ts';
import { exportAudit, type AuditFormat } from './audit-export.ts';
import { recordAudit, type AuditEntry } from './audit.ts';
import type { AuditFilter } from './audit-search.ts';

let facts: TestDatabase;
let database: Database;
beforeAll(async () => {
  facts = await createTestDatabase();
  database = createDatabase({ connection: facts.connection, poolSize: 4, hotLanes: 1 });
  await database.query(
    `INSERT INTO audit_log (actor_name, user_id, namespace_id, action, outcome, target)
     SELECT 'many', n % 3, n % 2, 'tag.delete', 'done', 'acme/app:' || n FROM generate_series(1, 1500) AS n`,
  );
});
afterAll(async () => {
  await database.close();
  await facts.drop();
});

const exported = (filter: AuditFilter, format: AuditFormat, from: Database = database) =>
  exportAudit(from, { all: true }, filter, format);
const textOf = async (file: AsyncIterable<string>) => (await Array.fromAsync(file)).join('');

/** One row about the target, by somebody who sends what he likes. */
async function record(fields: Partial<AuditEntry> & { target: string }, client: string | null = null): Promise<void> {
  const eve = { credentialId: null, userId: null, name: 'eve', address: null, client, requestId: null };
  await recordAudit(database, eve, { action: 'sign_in.fail', outcome: 'denied', ...fields });
}

/** Reads CSV as RFC 4180 has it. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy;
  while (cell.lastIndex < text.length) {
    const [, quoted, plain, end] = cell.exec(text) ?? expect.fail(`no CSV: ${text}`);
    rows.at(-1)!.push(quoted?.replaceAll('""', '"') ?? plain!);
    if (end === '\r\n') rows.push([]);
  }
  return rows.slice(0, -1);
}

/** The named cells of the rows about the target. */
async function cells(target: string, ...names: string[]): Promise<string[]> {
  const [header, row] = parseCsv(await textOf(exported({ target }, 'csv')));
  return names.map((name) => row![header!.indexOf(name)]!);
}

describe('an export', () => {
  test.each(['ndjson', 'csv'] as const)(
    'as %s holds every row that the filter lets through, newest first',
    async (format) => {
      const text = await textOf(exported({ who: 'many', namespaceId: 1 }, format));
      const found =
        format === 'csv'
          ? parseCsv(text)
              .slice(1)
              .map((row) => row[10])
          : text
              .trimEnd()
              .split('\n')
              .map((line) => (JSON.parse(line) as { target: string }).target);
      expect(found).toEqual(Array.from({ length: 750 }, (_, n) => `acme/app:${1499 - 2 * n}`));
    },
  );

  test('holds only what the caller may see', async () => {
    const file = exportAudit(database, { userId: 2, namespaceIds: [] }, { who: 'many' }, 'ndjson');
    const lines = (await textOf(file)).trimEnd().split('\n');
    expect(lines).toHaveLength(500);
    expect(new Set(lines.map((line) => (JSON.parse(line) as { userId: number }).userId))).toEqual(new Set([2]));
  });

  test('of nothing is an empty file, in CSV with its header', async () => {
    expect(await textOf(exported({ who: 'nobody' }, 'ndjson'))).toBe('');
    expect(await textOf(exported({ who: 'nobody' }, 'csv'))).toBe(
      'at,id,actor,userId,credentialId,address,client,requestId,action,outcome,target,before,after,reason\r\n',
    );
  });

  test('reads no further when its reader has left', async () => {
    let portions = 0;
    const counting: Database = {
      ...database,
      transaction: (work) => {
        portions += 1;
        return database.transaction(work);
      },
    };
    const leaving = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, done) => done(new Error('the client left')),
    });
    await expect(pipeline(exported({ who: 'many' }, 'ndjson', counting), leaving)).rejects.toThrow('the client left');
    expect(portions).toBeLessThan(4);
  });
});

describe('CSV', () => {
  test('keeps separators, quotes and line ends inside a cell', async () => {
    const target = 'a,b "c"\r\nd;e\n';
    await record({ target, after: { times: 2, note: 'a,"b"' } });
    expect(await cells(target, 'target', 'after', 'before')).toEqual([target, '{"times":2,"note":"a,\\"b\\""}', '']);
  });

  test.each(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '\n=1', '\uff1d1', "=cmd|' /C calc'!A1"])(
    'gives a spreadsheet nothing to compute: %j',
    async (formula) => {
      const target = `formula ${formula}`;
      await record({ target, reason: formula }, formula);
      expect(await cells(target, 'reason', 'client', 'target')).toEqual([`'${formula}`, `'${formula}`, target]);
    },
  );
});
