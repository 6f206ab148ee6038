/** What tests of organizations share. */
import type { TestBerth } from './berth.ts';

/** The rows of the audit log about one namespace, by its name, oldest first. */
export async function auditOf(
  berth: TestBerth,
  namespace: string,
): Promise<{ action: string; actor: string; target: string; before: unknown; after: unknown }[]> {
  return berth.database.query(
    `SELECT a.action, a.actor_name AS actor, a.target, a.before, a.after
     FROM audit_log a JOIN namespaces n ON n.id = a.namespace_id
     WHERE n.name = $1 AND a.outcome = 'done' ORDER BY a.id`,
    [namespace],
  );
}

/** All that a client could tell two answers apart by, with the name that it asked for left out. */
export function told(
  { status, headers, text }: { status: number; headers: Record<string, string>; text: string },
  name: string,
): unknown {
  const { date: _date, 'x-request-id': id, 'content-length': _length, etag: _etag, ...rest } = headers;
  return JSON.parse(
    JSON.stringify({ status, headers: rest, text })
      .replaceAll(id ?? 'no id', 'ID')
      .replaceAll(new RegExp(`\\b${name}\\b`, 'g'), 'NAME'),
  );
}
