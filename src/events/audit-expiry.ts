/** The end of the audit log's rows: by age, and no other way. */
import type { Database } from '../database/pool.ts';
import { deleteExpiredAuditRows } from './sql/audit.ts';

/** Rows of one transaction: long ones hold back PostgreSQL's own cleaning of every table. */
const portionRows = 5000;

/**
 * Deletes the rows that are older than so many days, a portion at a time, and ends early, between two, when the signal says so.
 * Safe in any number of processes at once. @returns how many are gone
 */
export async function expireAudit(database: Database, days: number, signal: AbortSignal): Promise<number> {
  let expired = 0;
  while (!signal.aborted) {
    const portion = await deleteExpiredAuditRows(database, days, portionRows);
    expired += portion;
    if (portion < portionRows) break;
  }
  return expired;
}
