/**
 * How many manifests may be pulled in six hours, counted as Docker Hub does: a GET of an image's manifest is a pull, a HEAD
 * is not, and neither is the index that only leads to it. https://docs.docker.com/docker-hub/usage/pulls/
 *
 * Nothing is written on the way of a pull: the count is taken in memory.
 */
import { addressKey } from './addresses.ts';
import type { SharedPulls } from './shared-pulls.ts';
import { BoundedMemory, look, take } from './windows.ts';

const pullWindowSeconds = 6 * 3600;

/** What an answer says about the limit that a pull fell under. */
export interface PullQuota {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number;
  /** The address that is counted; null where it is the account. */
  readonly source: string | null;
  /** Null while pulls are allowed. */
  readonly retryAfterSeconds: number | null;
}

export interface PullLimits {
  /**
   * @param account who is counted; null: nobody in particular, so the address is
   * @param counted whether this request is a pull, or only asks how things stand
   * @returns null where no limit is set for such a caller
   */
  pull(account: string | null, address: string, counted: boolean): Promise<PullQuota | null>;
}

export interface PullSettings {
  /** 0: no limit. */
  readonly anonymousPullsPer6Hours: number;
  readonly accountPullsPer6Hours: number;
}

/** @returns null when nothing is limited, so that a pull need not even ask */
export function createPullLimits(settings: PullSettings, shared: SharedPulls | null): PullLimits | null {
  const windowOf = (name: string, points: number): BoundedMemory | null =>
    points === 0 ? null : new BoundedMemory({ name, points, seconds: pullWindowSeconds });
  const byAddress = windowOf('pull-address', settings.anonymousPullsPer6Hours);
  const byAccount = windowOf('pull-account', settings.accountPullsPer6Hours);
  if (byAddress === null && byAccount === null) return null;
  return {
    async pull(account, address, counted) {
      const window = account === null ? byAddress : byAccount;
      if (window === null) return null;
      const key = account ?? addressKey(address);
      const { used, remaining, resetSeconds } = await (counted ? take : look)(window, key);
      // One that is only looked at is refused when the next one would be.
      const refused = counted ? used > window.points : used >= window.points;
      if (counted && !refused) shared?.counted(window, key, resetSeconds);
      return {
        limit: window.points,
        remaining,
        windowSeconds: pullWindowSeconds,
        source: account === null ? key : null,
        retryAfterSeconds: refused ? resetSeconds : null,
      };
    },
  };
}
