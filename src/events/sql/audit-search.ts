/** Reading the audit log: newest first, along its indexes. */
import type { Queryer } from '../../database/pool.ts';

/**
 * A row as it is read; what is null was not known, or does not apply. Without the ids of namespace and repository: of what
 * somebody was denied they would tell whether it is there.
 */
export interface AuditRecord {
  readonly id: number;
  readonly at: Date;
  readonly actor: string;
  readonly userId: number | null;
  readonly credentialId: number | null;
  readonly address: string | null;
  readonly client: string | null;
  readonly requestId: string | null;
  readonly action: string;
  readonly outcome: 'done' | 'denied';
  readonly target: string;
  /** Any JSON. */
  readonly before: unknown;
  readonly after: unknown;
  readonly reason: string | null;
}

const columns = `id, at, actor_name AS actor, user_id AS "userId", credential_id AS "credentialId", address, client,
  request_id AS "requestId", action, outcome, target, before, after, reason`;

export interface AuditConditions {
  readonly who?: string | undefined;
  readonly actions?: readonly string[] | undefined;
  readonly outcome?: 'done' | 'denied' | undefined;
  readonly namespaceId?: number | undefined;
  readonly repositoryId?: number | undefined;
  readonly target?: string | undefined;
  readonly targetPrefix?: string | undefined;
  /** The name of a namespace or repository: what was done to it, or to something in it, by name. */
  readonly within?: string | undefined;
  readonly address?: string | undefined;
  readonly requestId?: string | undefined;
  /** Inclusive. */
  readonly since?: Date | undefined;
  /** Exclusive. */
  readonly until?: Date | undefined;
}

/** Where a page ended. */
export interface AuditPosition {
  readonly at: Date;
  readonly id: number;
}

interface Bounds {
  readonly after: AuditPosition | undefined;
  readonly limit: number;
}

/**
 * The parameters of every statement here. All are always there, so that there are few statements, each prepared once, and a
 * client cannot make more by choosing filters.
 */
const parameters = 15;
const conditions = `at >= $2::timestamptz AND at < $3::timestamptz AND (at, id) < ($4::timestamptz, $5::bigint)
  AND ($6::text IS NULL OR actor_name = $6) AND ($7::text[] IS NULL OR action = ANY ($7)) AND ($8::text IS NULL OR outcome = $8)
  AND ($9::bigint IS NULL OR namespace_id = $9) AND ($10::bigint IS NULL OR repository_id = $10)
  AND ($11::text IS NULL OR target = $11) AND ($12::text IS NULL OR starts_with(target, $12))
  AND ($13::text IS NULL OR address = $13) AND ($14::text IS NULL OR request_id = $14)
  AND ($15::text IS NULL OR target = $15
    OR (starts_with(target, $15) AND substr(target, length($15) + 1, 1) IN ('/', ':', '@')))`;

function valuesOf(filter: AuditConditions, { after, limit }: Bounds): unknown[] {
  return [
    limit,
    filter.since ?? '-infinity',
    filter.until ?? 'infinity',
    after?.at ?? 'infinity',
    after?.id ?? 0,
    filter.who,
    filter.actions,
    filter.outcome,
    filter.namespaceId,
    filter.repositoryId,
    filter.target,
    filter.targetPrefix,
    filter.address,
    filter.requestId,
    filter.within,
  ];
}

const newest = 'ORDER BY at DESC, id DESC LIMIT $1';

/** The newest rows of each key, by a walk along the key's index that ends with the limit, however many rows there are. */
const walk = (column: string, type: string, keys: string, more = ''): string =>
  `SELECT found.* FROM unnest(${keys}::${type}[]) AS key CROSS JOIN LATERAL
     (SELECT * FROM audit_log WHERE ${column} = key AND ${conditions} ${more} ${newest}) AS found`;

const merged = (...walks: string[]): string =>
  `SELECT ${columns} FROM (${walks.join(' UNION ALL ')}) AS found ${newest}`;

const everything = merged(`(SELECT * FROM audit_log WHERE ${conditions} ${newest})`);
/** Of several actions: an index on them has no common order. */
const ofActions = merged(walk('action', 'text', '$7'));

/**
 * To be called first in the transaction of the statements below. Their plans have to know the filter: one for all filters reads
 * and sorts all of a namespace for every page of it, since it expects that next to nothing gets through.
 */
export async function planForFilters(queryer: Queryer): Promise<void> {
  await queryer.query("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)");
}

/** Whether a replica has come as far as to where a page ended: whatever was written before that is there, too. */
export async function hasReached(queryer: Queryer, { at }: AuditPosition): Promise<boolean> {
  return (await queryer.query('SELECT 1 FROM audit_log WHERE at >= $1 LIMIT 1', [at])).length > 0;
}

/** All rows that the filter lets through. */
export async function findAuditRows(queryer: Queryer, filter: AuditConditions, bounds: Bounds): Promise<AuditRecord[]> {
  const { actions, who, namespaceId, repositoryId } = filter;
  const byActions =
    actions !== undefined && who === undefined && namespaceId === undefined && repositoryId === undefined;
  return queryer.query<AuditRecord>(byActions ? ofActions : everything, valuesOf(filter, bounds));
}

/**
 * Always along what may be seen, whatever the filter: how long it takes tells nothing of rows that may not. A row of one's own
 * in a namespace of one's own is found on the first walk only.
 */
const visible = merged(
  walk('user_id', 'bigint', `ARRAY[$${parameters + 1}]`),
  walk('namespace_id', 'bigint', `$${parameters + 2}`, `AND (user_id = $${parameters + 1}) IS NOT TRUE`),
);

/** Those of them that an account did, or that are in some namespaces. */
export async function findVisibleAuditRows(
  queryer: Queryer,
  { userId, namespaceIds }: { readonly userId: number | null; readonly namespaceIds: readonly number[] },
  filter: AuditConditions,
  bounds: Bounds,
): Promise<AuditRecord[]> {
  return queryer.query<AuditRecord>(visible, [...valuesOf(filter, bounds), userId, [...new Set(namespaceIds)]]);
}
