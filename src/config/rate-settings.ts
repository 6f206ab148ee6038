import * as value from './values.ts';

/** How often something may be tried or done. Rows of the schema in settings.ts. */
export const rateSettings = {
  BERTH_RATE_LIMIT_STORE: {
    type: value.choice('memory', 'postgres'),
    default: 'memory',
    doc: 'Where the counters of all limits below are kept: in the memory of each process, so that each lets through as much as is allowed, or in PostgreSQL for all processes together. Pulls are counted in memory in any case; with `postgres` the processes tell each other every other second, so that a few more may get through.',
  },
  BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '300',
    doc: 'How many passwords of one address (IPv6: one /64) are verified in a minute; more is answered 429. One that the same process verified within the last minute does not count again. 0: no limit. Behind a proxy, set `BERTH_TRUSTED_PROXIES`, or everybody has its address.',
  },
  BERTH_RATE_LIMIT_SIGN_INS_PER_ACCOUNT_PER_MINUTE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '600',
    doc: 'The same for one account, from all addresses where it has not signed in lately. 0: no limit.',
  },
  BERTH_SIGN_IN_FAILURES_FREE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '10',
    doc: 'How many wrong passwords for one account from one address have no consequence; from then on each makes the next attempt wait longer. 0: none ever does.',
  },
  BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '100',
    doc: 'The same for one address, whatever the account; it does not hold for an account that has signed in from there lately.',
  },
  BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '50',
    doc: 'The same for one account, whatever the address; it does not hold at addresses where the account has signed in lately.',
  },
  BERTH_SIGN_IN_DELAY_SECONDS_MAX: {
    type: value.wholeNumber(1, 24 * 3600),
    default: '900',
    unit: 'seconds',
    doc: 'The longest that a wrong password makes the next attempt wait.',
  },
  BERTH_KNOWN_ADDRESS_DAYS: {
    type: value.wholeNumber(1, 3650),
    default: '30',
    unit: 'days',
    doc: "How long an account's successful sign-in makes its network (IPv4: /24, IPv6: /64) one where others' wrong passwords do not hinder it.",
  },
  BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '0',
    doc: 'How many access tokens one address may ask for in a minute; docker asks for one with each pull and push. 0: no limit.',
  },
  BERTH_RATE_LIMIT_TOKENS_PER_ACCOUNT_PER_MINUTE: {
    type: value.wholeNumber(0, 1_000_000),
    default: '0',
    doc: 'The same for one account. 0: no limit.',
  },
  BERTH_RATE_LIMIT_ANONYMOUS_PULLS_PER_6_HOURS: {
    type: value.wholeNumber(0, 1_000_000_000),
    default: '0',
    doc: 'How many manifests of images one address (IPv6: one /64) may pull in six hours without signing in; Docker Hub allows 100. 0: no limit.',
  },
  BERTH_RATE_LIMIT_ACCOUNT_PULLS_PER_6_HOURS: {
    type: value.wholeNumber(0, 1_000_000_000),
    default: '0',
    doc: 'The same for one account that is signed in; Docker Hub allows 200. 0: no limit.',
  },
  BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: {
    type: value.wholeNumber(0, 1_000_000),
    default: '60',
    doc: 'How many times one address (IPv6: one /64) may ask in an hour, without signing in, for a mail: to register, or for a forgotten password. 0: no limit.',
  },
  BERTH_RATE_LIMIT_PUSHES_PER_ADDRESS_PER_HOUR: {
    type: value.wholeNumber(0, 1_000_000),
    default: '0',
    doc: 'How many manifests may be pushed from one address in an hour. 0: no limit.',
  },
  BERTH_RATE_LIMIT_PUSHES_PER_ACCOUNT_PER_HOUR: {
    type: value.wholeNumber(0, 1_000_000),
    default: '0',
    doc: 'The same for one account. 0: no limit.',
  },
} as const;
