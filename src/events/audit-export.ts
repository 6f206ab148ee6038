/** The audit log as a file: a line per row, newest first. */
import type { Database } from '../database/pool.ts';
import type { Replica } from '../database/replica.ts';
import {
  searchAudit,
  type AuditFilter,
  type AuditPosition,
  type AuditRecord,
  type AuditVisibility,
} from './audit-search.ts';

export type AuditFormat = 'ndjson' | 'csv';

/** The columns of CSV and the order of NDJSON's fields. */
const fields = [
  'at',
  'id',
  'actor',
  'userId',
  'credentialId',
  'address',
  'client',
  'requestId',
  'action',
  'outcome',
  'target',
  'before',
  'after',
  'reason',
] as const satisfies readonly (keyof AuditRecord)[];

/**
 * Rows of one statement. All are in memory at once, each up to 130 KiB where somebody made it large; a thousand are not read
 * twice as fast.
 */
const portionRows = 500;

/**
 * The file, in pieces of some lines. Between two pieces nothing is held, in the database or in memory, so whoever reads may be
 * slow, or leave (`return()`, which `stream.pipeline` calls when a client is gone).
 */
export async function* exportAudit(
  database: Database,
  visible: AuditVisibility,
  filter: AuditFilter,
  format: AuditFormat,
  replica?: Replica,
): AsyncGenerator<string, void, void> {
  const lineOf = format === 'csv' ? csvLine : jsonLine;
  if (format === 'csv') yield csvRow(fields);
  let after: AuditPosition | undefined;
  do {
    const { records, next } = await searchAudit(database, visible, filter, { limit: portionRows, after }, replica);
    if (records.length > 0) yield records.map(lineOf).join('');
    after = next;
  } while (after !== undefined);
}

function jsonLine(record: AuditRecord): string {
  return `${JSON.stringify(Object.fromEntries(fields.map((field) => [field, record[field]])))}\n`;
}

const csvLine = (record: AuditRecord): string => csvRow(fields.map((field) => csvText(record[field])));

function csvText(value: unknown): string {
  if (value === null) return '';
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** https://www.rfc-editor.org/rfc/rfc4180 */
const csvRow = (cells: readonly string[]): string => `${cells.map(csvCell).join(',')}\r\n`;

/**
 * A spreadsheet computes what begins like a formula, and whoever is denied anything can write into the log. With a quotation
 * mark before it, it is text: https://owasp.org/www-community/attacks/CSV_Injection
 */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text;
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
