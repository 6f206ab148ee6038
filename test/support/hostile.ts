/** Texts that mean something to some reader behind a server, and what an answer looks like when one was understood. */
import type { TestBerth } from './berth.ts';
import type { Sent } from './sender.ts';

/** The header that some of the texts would add to an answer. */
export const injected = 'x-injected';

/** SQL, patterns, lines, controls, paths, properties of objects, numbers, and nothing. */
export const hostileTexts: readonly string[] = [
  `'; DROP TABLE users; --`, `' OR '1'='1`, `") OR (""="`, `admin'--`, `' UNION SELECT secret_hash FROM credentials --`, '$1',
  '%', '_', '*', '\\', `\\'`, 'a\0b', `x\r\n${injected}: yes`, `x\n${injected}: yes`, `\u0085${injected}`, '😀', 'ａｄｍｉｎ',
  '\u001b[31m', '\u007f', '../../../etc/passwd', '..', '-', '__proto__', 'constructor', 'null', '', '0',
  '99999999999999999999', 'a'.repeat(10_000),
]; // prettier-ignore

/** One of each sort, for where each costs much. */
export const fewHostileTexts: readonly string[] = [
  `'; DROP TABLE users; --`, `' OR '1'='1`, '%', '\\', 'a\0b', `x\r\n${injected}: yes`, '..', '__proto__',
  'a'.repeat(10_000),
]; // prettier-ignore

/** What no answer may have, whatever was asked; null when it has nothing of it. */
export function troubleIn({ status, headers, text }: Sent): string | null {
  if (status >= 500) return `${status} ${text}`;
  if (injected in headers) return 'a header was injected';
  const leaked = /syntax error|relation "|at character|SQLSTATE|duplicate key|invalid input|node_modules|\.ts:\d/.exec(
    text,
  );
  return leaked === null ? null : text;
}

/** All rows, but for what every request may write: the audit log, counters, times of last use. */
export async function factsOf({ database }: TestBerth): Promise<Readonly<Record<string, readonly string[]>>> {
  const tables = await database.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'
     AND tablename !~ 'audit|known_addresses|rate_limits|failures|migrations|idempotency|reviews' ORDER BY 1`,
  );
  const entries = await Promise.all(
    tables.map(async ({ name }): Promise<[string, string[]]> => {
      const rows = await database.query<{ row: string }>(
        `SELECT (to_jsonb(t) - '{last_used_at,last_used_address,last_used_client,updated_at}'::text[])::text AS row
         FROM ${name} t ORDER BY 1`,
      );
      return [name, rows.map(({ row }) => row)];
    }),
  );
  return Object.fromEntries(entries);
}

/** Settings without the limits that would refuse a test that asks thousands of times. */
export const unhurried: Readonly<Record<string, string>> = {
  BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: '0',
  BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: '0',
  BERTH_RATE_LIMIT_SIGN_INS_PER_ACCOUNT_PER_MINUTE: '0',
  BERTH_SIGN_IN_FAILURES_FREE: '0',
  BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '0',
  BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '0',
};
