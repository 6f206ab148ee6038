/** The audit log: who changed what, or was not let. Rows are only ever added; migrations/0004_audit.sql sees to it. */
import type { Queryer } from '../database/pool.ts';
import { hideSecrets } from '../telemetry/secrets.ts';
import type { Actor } from './actor.ts';
import type { AuditAction } from './audit-actions.ts';
import { insertAuditRows, type NewAuditRow } from './sql/audit.ts';

export type { AuditAction } from './audit-actions.ts';

/** What JSON can say; a Date is written as its ISO text. */
export type AuditValue =
  | null
  | boolean
  | number
  | string
  | Date
  | readonly AuditValue[]
  | { readonly [name: string]: AuditValue | undefined };

export interface AuditEntry {
  readonly action: AuditAction;
  /** Whose owners may see the row. */
  readonly namespaceId?: number | undefined;
  readonly repositoryId?: number | undefined;
  /** What it was done to, by the name that a person knows: `acme/app:latest`, `ada`, `token ci-api`. Cut to 512 characters. */
  readonly target: string;
  /**
   * The fields that changed. Fields with a secret's name (telemetry/secrets.ts) are written as `***`, what lies deeper than
   * eight levels is left out, and what takes more than 64 KiB as JSON is cut to a summary.
   */
  readonly before?: AuditValue | undefined;
  readonly after?: AuditValue | undefined;
  readonly outcome: 'done' | 'denied';
  /** Why, in words; for what was denied. Cut to 1024 characters. */
  readonly reason?: string | undefined;
}

/** Beyond these, in UTF-16 units, a text is cut. */
const lengthMax = { name: 256, address: 64, client: 256, requestId: 128, target: 512, reason: 1024 } as const;
const valueBytesMax = 64 * 1024;
/** How much of a value that is too large is kept. */
const summaryLength = 1024;

/** Adds one row. In the transaction of a change, so that there is neither without the other. */
export async function recordAudit(queryer: Queryer, actor: Actor, entry: AuditEntry): Promise<void> {
  await insertAuditRows(queryer, [auditRow(actor, entry)]);
}

/** The row as it will be written, with everything cut to its size. */
export function auditRow(actor: Actor, entry: AuditEntry): NewAuditRow {
  return {
    credentialId: actor.credentialId,
    userId: actor.userId,
    actorName: cut(actor.name, lengthMax.name),
    address: cutOrNull(actor.address, lengthMax.address),
    client: cutOrNull(actor.client, lengthMax.client),
    requestId: cutOrNull(actor.requestId, lengthMax.requestId),
    action: entry.action,
    outcome: entry.outcome,
    namespaceId: entry.namespaceId ?? null,
    repositoryId: entry.repositoryId ?? null,
    target: cut(entry.target, lengthMax.target),
    before: toJson(entry.before),
    after: toJson(entry.after),
    reason: cutOrNull(entry.reason ?? null, lengthMax.reason),
    ageMs: 0,
  };
}

/** PostgreSQL's text knows no U+0000. A copy, since a slice would keep the text alive that it was cut from: a whole URL. */
function cut(text: string, length: number): string {
  return Buffer.from(text.slice(0, length).replaceAll('\0', '')).toString();
}

const cutOrNull = (text: string | null, length: number): string | null => (text === null ? null : cut(text, length));

function toJson(value: AuditValue | undefined): string | null {
  if (value === undefined || value === null) return null;
  const json = JSON.stringify(hideSecrets(value));
  const bytes = Buffer.byteLength(json);
  return bytes <= valueBytesMax ? json : JSON.stringify({ cut: true, bytes, start: json.slice(0, summaryLength) });
}
