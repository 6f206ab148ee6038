/**
 * Searching the audit log, newest first. Pages are by (at, id), as several rows may have one time. Rows are numbered and dated
 * when they are written and seen when their transaction commits, so one may appear behind a place where somebody has already
 * been: who pages downwards misses it, and who asks again and again for what is new must look back by the longest transaction
 * (a minute is plenty).
 */
import type { Database, Queryer } from '../database/pool.ts';
import type { Replica } from '../database/replica.ts';
import { auditActions, type AuditAction } from './audit-actions.ts';
import {
  findAuditRows,
  findVisibleAuditRows,
  hasReached,
  planForFilters,
  type AuditConditions,
  type AuditPosition,
  type AuditRecord,
} from './sql/audit-search.ts';

export type { AuditPosition, AuditRecord } from './sql/audit-search.ts';

/** What must hold of a row; all that is given must. Texts are without U+0000. */
export interface AuditFilter extends Omit<AuditConditions, 'actions'> {
  /** Any of them; none of them finds nothing. */
  readonly actions?: readonly AuditAction[] | undefined;
}

/** Everything (administrators of the site), or the account's own rows and all of the namespaces that it owns. */
export type AuditVisibility =
  | { readonly all: true }
  | { readonly all?: never; readonly userId: number | null; readonly namespaceIds: readonly number[] };

export interface AuditPage {
  readonly records: AuditRecord[];
  /** Where the next page begins; undefined at the end. */
  readonly next: AuditPosition | undefined;
}

/**
 * @param replica where there is one, the newest rows may not be found yet. `visible` and the ids of `filter` are the primary's
 */
export async function searchAudit(
  database: Database,
  visible: AuditVisibility,
  filter: AuditFilter,
  page: { readonly limit: number; readonly after?: AuditPosition | undefined },
  replica?: Replica,
): Promise<AuditPage> {
  // One more than is shown, to know whether there is a next page.
  const bounds = { after: page.after, limit: page.limit + 1 };
  const find = async (queryer: Queryer): Promise<AuditRecord[]> => {
    await planForFilters(queryer);
    return visible.all === true
      ? findAuditRows(queryer, filter, bounds)
      : findVisibleAuditRows(queryer, visible, filter, bounds);
  };
  // The page before may be the primary's, or another replica's: from one that is further behind, the rows between would be missed.
  const findFromThere = async (queryer: Queryer): Promise<AuditRecord[] | undefined> =>
    page.after === undefined || (await hasReached(queryer, page.after)) ? find(queryer) : undefined;
  const known = await replica?.read((reader) => reader.transaction(findFromThere));
  const found = known ?? (await database.transaction(find));
  const records = found.slice(0, page.limit);
  return { records, next: found.length > page.limit ? records.at(-1) : undefined };
}

/** The actions that a text names: one, or, by a prefix that ends in a dot (`token.`), several. Empty when there are none. */
export function auditActionsOf(text: string): AuditAction[] {
  return Object.keys(auditActions)
    .filter(isAuditAction)
    .filter((action) => action === text || (text.endsWith('.') && action.startsWith(text)));
}

function isAuditAction(text: string): text is AuditAction {
  return Object.hasOwn(auditActions, text);
}
