/**
 * Sign-ins with what can be guessed: passwords and one-time codes. Failures are counted three ways, and each slows down only
 * what it is about:
 * (a) of one account from one address,
 * (b) of one address, whatever the account: someone tries one password on many,
 * (c) of one account, whatever the address: many try one account.
 * From a network where the account has signed in lately only (a) holds, so that nobody can lock its owner out by guessing.
 * Accounts that do not exist are counted and answered like all others.
 */
import { createHash } from 'node:crypto';
import type { RateLimiterAbstract } from 'rate-limiter-flexible';
import type { Queryer } from '../../database/pool.ts';
import { RegistryError } from '../../oci/errors.ts';
import { addressKey, networkOf } from './addresses.ts';
import type { FailureKey, Failures } from './failures.ts';
import type { Slots } from './slots.ts';
import { findKnownAddress, rememberAddress } from './sql/known-addresses.ts';
import { take } from './windows.ts';

/** Who tries to sign in, as they say. */
export interface SignInAttempt {
  /** The client's address. */
  readonly address: string;
  /** The name as it was typed. */
  readonly username: string;
  /** What is guessed. Codes are counted apart: whoever guesses them has the password. */
  readonly factor: 'password' | 'code';
  /**
   * Whether another factor has to follow. Half a sign-in neither makes an address known nor forgets failures, or codes could
   * be guessed for ever from an address that became known by the password.
   */
  readonly more: boolean;
}

/**
 * Does a check of something that can be guessed, if that is allowed at the moment, when a slot for it is free. A check that
 * throws was none, and is not counted.
 * @param check answers undefined when the guess was wrong
 * @throws RegistryError `tooManyRequests` or `unavailable` without having checked; both carry their seconds
 */
export type SignIn = <T>(attempt: SignInAttempt, check: () => Promise<T | undefined>) => Promise<T | undefined>;

/** How many failures are free before they slow down; 0: never. */
export interface FreeFailures {
  readonly perAccountAndAddress: number;
  readonly perAddress: number;
  readonly perAccount: number;
}

export interface SignInParts {
  readonly database: Queryer;
  readonly failures: Failures;
  readonly free: FreeFailures;
  readonly slots: Slots;
  /** All sign-ins, failed or not; null: no limit. */
  readonly perAddress: RateLimiterAbstract | null;
  readonly perAccount: RateLimiterAbstract | null;
  readonly knownAddressDays: number;
}

const dayMs = 24 * 3600 * 1000;
const isoDay = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
/** The first day of those in which a sign-in makes an address known. */
export const knownSince = (nowMs: number, days: number): string => isoDay(nowMs - days * dayMs);

/** Hashed: people type all kinds of things into the field of the name, their password among them. */
function accountKey(username: string): string {
  return createHash('sha256').update(username.normalize('NFKC').toLowerCase()).digest('base64url').slice(0, 22);
}

function tooManySignIns(seconds: number): RegistryError {
  return new RegistryError('tooManyRequests', {
    message: `too many sign-ins; try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`,
    retryAfterSeconds: seconds,
  });
}

export function createSignIn(parts: SignInParts): SignIn {
  const { database, failures, free, slots, knownAddressDays } = parts;

  async function spend(window: RateLimiterAbstract | null, key: string): Promise<void> {
    if (window === null) return;
    const { used, resetSeconds } = await take(window, key);
    if (used > window.points) throw tooManySignIns(resetSeconds);
  }

  async function known(username: string, network: string | null): Promise<{ seen_today: boolean } | undefined> {
    // PostgreSQL's text has no NUL, and so no account's name.
    if (network === null || username.includes('\0')) return undefined;
    const now = Date.now();
    const days = { since: knownSince(now, knownAddressDays), today: isoDay(now) };
    return findKnownAddress(database, username, network, days);
  }

  return async ({ address, username, factor, more }, check) => {
    const place = addressKey(address);
    const account = `${factor}:${accountKey(username)}`;
    const network = networkOf(address);
    await spend(parts.perAddress, place);
    const seen = await known(username, network);
    if (seen === undefined) await spend(parts.perAccount, account);

    const own = `${account}:${place}`;
    const keys: FailureKey[] = [{ key: own, free: free.perAccountAndAddress }];
    if (seen === undefined)
      keys.push({ key: `${factor}-from:${place}`, free: free.perAddress }, { key: account, free: free.perAccount });
    const counted = keys.filter((key) => key.free > 0);
    const attempt = counted.length === 0 ? null : await failures.begin(counted);
    if (attempt !== null && 'retryAfterMs' in attempt)
      throw tooManySignIns(Math.max(1, Math.ceil(attempt.retryAfterMs / 1000)));

    let result;
    try {
      result = await slots.run(place, check);
    } catch (error) {
      await attempt?.takeBack();
      throw error;
    }
    if (result === undefined) return undefined;
    await attempt?.takeBack(more ? undefined : own);
    // Once a day and network, so that signing in is no write.
    if (!more && network !== null && seen?.seen_today !== true)
      await rememberAddress(database, username, network, isoDay(Date.now()));
    return result;
  };
}
