/** Rate limits: how often one address and one account may sign in, ask for tokens, pull and push. */
import type { RateLimiterAbstract } from 'rate-limiter-flexible';
import type { Queryer } from '../../database/pool.ts';
import { RegistryError } from '../../oci/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Subject } from '../policy.ts';
import { addressKey } from './addresses.ts';
import { createMemoryFailures, createSharedFailures, delaysOf } from './failures.ts';
import { createPullLimits, type PullLimits, type PullSettings } from './pulls.ts';
import { createSharedPulls } from './shared-pulls.ts';
import { createSignIn, type FreeFailures, type SignIn } from './sign-in.ts';
import { createSlots, passwordSlots } from './slots.ts';
import { BoundedMemory, look, sharedWindow, take, type WindowOptions } from './windows.ts';

/** Counts of 0 are no limit. */
export interface RateLimitSettings extends PullSettings {
  readonly store: 'memory' | 'postgres';
  readonly signInsPerAddressPerMinute: number;
  readonly signInsPerAccountPerMinute: number;
  readonly freeFailures: FreeFailures;
  readonly signInDelayMaxSeconds: number;
  readonly knownAddressDays: number;
  readonly tokensPerAddressPerMinute: number;
  readonly tokensPerAccountPerMinute: number;
  readonly mailsPerAddressPerHour: number;
  readonly pushesPerAddressPerHour: number;
  readonly pushesPerAccountPerHour: number;
}

export interface RateLimits {
  readonly signIn: SignIn;
  /**
   * Counts a request for an access token.
   * @param account from {@link accountOf}, null for the anonymous caller
   * @throws RegistryError `tooManyRequests` with its seconds
   */
  token(address: string, account: string | null): Promise<void>;
  /**
   * Counts a request for a mail by somebody who is nobody yet, whether or not one is sent.
   * @throws RegistryError `tooManyRequests` with its seconds
   */
  mail(address: string): Promise<void>;
  /** Null when no pull is limited. */
  readonly pulls: PullLimits | null;
  /**
   * A push is counted by its manifest. Its uploads only ask whether there is a push left, so that nobody sends gigabytes
   * for a manifest that will be refused.
   * @throws RegistryError `tooManyRequests` with its seconds
   */
  push(address: string, account: string, step: 'upload' | 'manifest'): Promise<void>;
  /** Tells the other processes what is left to tell. */
  close(): Promise<void>;
}

export interface RateLimitParts {
  readonly database: Queryer;
  readonly settings: RateLimitSettings;
  readonly logger: Logger;
}

const minuteSeconds = 60;
const hourSeconds = 3600;

/** Whom requests of this caller are counted for, whichever of its credentials it used; null for nobody in particular. */
export function accountOf(subject: Subject): string | null {
  if (subject.user !== null) return `user:${subject.user.id}`;
  return subject.kind === 'anonymous' ? null : `credential:${subject.credentialId}`;
}

export function createRateLimits({ database, settings, logger }: RateLimitParts): RateLimits {
  const shared = settings.store === 'postgres';
  const windowOf = (options: WindowOptions): RateLimiterAbstract | null => {
    if (options.points === 0) return null;
    return shared ? sharedWindow(database, options) : new BoundedMemory(options);
  };
  const perMinute = (name: string, points: number) => windowOf({ name, points, seconds: minuteSeconds });
  const perHour = (name: string, points: number) => windowOf({ name, points, seconds: hourSeconds });

  const tokens = {
    address: perMinute('token-address', settings.tokensPerAddressPerMinute),
    account: perMinute('token-account', settings.tokensPerAccountPerMinute),
  };
  const pushes = {
    address: perHour('push-address', settings.pushesPerAddressPerHour),
    account: perHour('push-account', settings.pushesPerAccountPerHour),
  };
  const mails = perHour('mail-address', settings.mailsPerAddressPerHour);
  const limitsPulls = settings.anonymousPullsPer6Hours > 0 || settings.accountPullsPer6Hours > 0;
  const sharedPulls = shared && limitsPulls ? createSharedPulls(database, logger) : null;
  const delays = delaysOf(settings.signInDelayMaxSeconds);

  return {
    signIn: createSignIn({
      database,
      failures: shared ? createSharedFailures(database, delays) : createMemoryFailures(delays),
      free: settings.freeFailures,
      slots: createSlots(passwordSlots),
      perAddress: perMinute('sign-in-address', settings.signInsPerAddressPerMinute),
      perAccount: perMinute('sign-in-account', settings.signInsPerAccountPerMinute),
      knownAddressDays: settings.knownAddressDays,
    }),
    async token(address, account) {
      await spend('token requests', tokens.address, () => addressKey(address), take);
      if (account !== null) await spend('token requests', tokens.account, () => account, take);
    },
    async mail(address) {
      await spend('requests for mails', mails, () => addressKey(address), take);
    },
    pulls: createPullLimits(settings, sharedPulls),
    async push(address, account, step) {
      const ask = step === 'manifest' ? take : lookAhead;
      await spend('pushes', pushes.address, () => addressKey(address), ask);
      await spend('pushes', pushes.account, () => account, ask);
    },
    async close() {
      await sharedPulls?.close();
    },
  };
}

/** Where the counter would stand if this counted. */
async function lookAhead(window: RateLimiterAbstract, key: string): ReturnType<typeof look> {
  const taken = await look(window, key);
  return { ...taken, used: taken.used + 1 };
}

async function spend(
  what: string,
  window: RateLimiterAbstract | null,
  key: () => string,
  ask: typeof take,
): Promise<void> {
  if (window === null) return;
  const { used, resetSeconds } = await ask(window, key());
  if (used <= window.points) return;
  throw new RegistryError('tooManyRequests', {
    message: `too many ${what}: ${window.points} in ${window.duration === minuteSeconds ? 'a minute' : 'an hour'} are allowed here; try again in ${resetSeconds} seconds`,
    retryAfterSeconds: resetSeconds,
  });
}
