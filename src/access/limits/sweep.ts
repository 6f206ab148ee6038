/** What the database keeps of limits beyond its time. */
import type { Queryer } from '../../database/pool.ts';
import { knownSince } from './sign-in.ts';
import { deleteStaleAddresses } from './sql/known-addresses.ts';
import { deleteExpiredCounters } from './sql/rate-limits.ts';
import { deleteForgottenFailures } from './sql/sign-in-failures.ts';

/** Rows that one statement removes. */
const rowsMax = 1000;

/**
 * Removes counters that are over, failures that are forgotten, and addresses that are known no more.
 * @returns how many rows
 */
export async function sweepRateLimits(
  queryer: Queryer,
  knownAddressDays: number,
  signal: AbortSignal,
): Promise<number> {
  const now = Date.now();
  const kinds = [
    () => deleteExpiredCounters(queryer, now, rowsMax),
    () => deleteForgottenFailures(queryer, now, rowsMax),
    () => deleteStaleAddresses(queryer, knownSince(now, knownAddressDays), rowsMax),
  ];
  let swept = 0;
  for (const sweepSome of kinds) {
    let some = rowsMax;
    while (some === rowsMax && !signal.aborted) swept += some = await sweepSome();
  }
  return swept;
}
