import type { z } from 'zod';
import { s3Settings } from './s3-settings.ts';
import * as value from './values.ts';

/** One setting: the schema behind the environment variable, the line in berth.yaml and the row in the README. */
export interface Setting<T = unknown> {
  readonly type: z.ZodType<T, string>;
  /** As a person would write it; it goes through the same parser. Absent: the setting may be left unset. */
  readonly default?: string;
  /** What the number counts; also the end or the middle of the name. */
  readonly unit?: 'bytes' | 'seconds' | 'hours' | 'days';
  /** One or two sentences for the operator. */
  readonly doc: string;
  /** Never printed or logged. */
  readonly secret?: true;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

/** Every setting of Berth, in the order of the README. */
const settings = {
  BERTH_CONFIG: {
    type: value.path,
    doc: 'A YAML file with settings of the same names; the environment wins. Unset: `./berth.yaml`, if it is there.',
  },

  // Where it is reached
  BERTH_LISTEN: {
    type: value.listenAddress,
    default: '127.0.0.1:5000',
    doc: 'The address to listen on; `0.0.0.0:5000` or `[::]:5000` for every interface, port 0 for any free one.',
  },
  BERTH_PUBLIC_URL: {
    type: value.publicUrl,
    doc: 'Where clients reach the registry, if not at the address they ask (behind a proxy, for example).',
  },
  BERTH_TLS_CERT: { type: value.path, doc: 'The certificate chain in PEM, to serve HTTPS. Goes with `BERTH_TLS_KEY`.' },
  BERTH_TLS_KEY: { type: value.path, doc: 'The private key in PEM. Goes with `BERTH_TLS_CERT`.' },
  BERTH_TRUSTED_PROXIES: {
    type: value.addressSet,
    doc: 'The proxies whose `X-Forwarded-*` headers are believed. Unset: none.',
  },
  BERTH_WORKERS: {
    type: value.workerCount,
    default: '1',
    doc: 'How many processes share the address, so that all processors of a machine are used. Each has connections to PostgreSQL and caches of its own, and, while `BERTH_RATE_LIMIT_STORE` is `memory`, limits of its own.',
  },

  // Where it keeps things
  BERTH_DATA_DIR: {
    type: value.path,
    default: './data',
    doc: 'The folder of the blobs, the embedded database and the generated admin password.',
  },
  BERTH_DATABASE_URL: {
    type: value.postgresUrls,
    doc: 'The PostgreSQL database to use. Several servers, as in `postgres://berth@a,b:5433/berth`, are one database that fails over: the one that can be written to is used. Unset: Berth starts its own in the data folder.',
    secret: true,
  },
  BERTH_DATABASE_POOLER: {
    type: value.choice('none', 'transaction'),
    default: 'none',
    doc: 'What `BERTH_DATABASE_URL` leads to: PostgreSQL itself (or a pooler that keeps whole sessions), or a pooler such as PgBouncer in transaction mode. Nothing is then prepared or set on its connections. Needs `BERTH_DATABASE_DIRECT_URL`.',
  },
  BERTH_DATABASE_DIRECT_URL: {
    type: value.postgresUrls,
    doc: 'The same database past the pooler, for what needs a session of its own: migrations, and the queue of background work. Unset: `BERTH_DATABASE_URL`.',
    secret: true,
  },
  BERTH_DATABASE_REPLICA_URL: {
    type: value.replicaUrls,
    doc: 'A replica of the same database that may be behind, or several; only the catalog, and the search and export of the audit log read from it. Who may see what is decided on the primary, which also answers while the replica is away. Reached as `BERTH_DATABASE_POOLER` says. Unset: the primary answers everything.',
    secret: true,
  },
  BERTH_DATABASE_POOL_SIZE: {
    type: value.wholeNumber(2, 1000),
    default: '10',
    doc: 'The most connections to PostgreSQL of one process, beside four of its own: two for hot reads, two for background work. To the replica there may be as many.',
  },
  BERTH_DATABASE_CONNECT_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '10',
    unit: 'seconds',
    doc: 'How long a request waits for a connection to PostgreSQL before it is answered 503.',
  },
  BERTH_DATABASE_STATEMENT_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long PostgreSQL may take for one statement of a request, locks included, before the request is answered 503. Reads of every pull have 10 at most; sweeps, and deletions of whole repositories and organizations, have 600.',
  },
  BERTH_DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long a process that stands still may keep a transaction open, and others waiting for its locks, before PostgreSQL ends it.',
  },
  BERTH_STORAGE: {
    type: value.choice('disk', 's3', 'memory'),
    default: 'disk',
    doc: 'Where blob bytes are kept. `memory` is for trials and tests: everything is lost at the end of the process.',
  },
  BERTH_STORAGE_PREVIOUS: {
    type: value.choice('disk', 's3'),
    doc: 'Where blobs still are that `berth storage copy` is to move to `BERTH_STORAGE`, or is moving: what is not there yet is read from here.',
  },
  ...s3Settings,

  // Who may do what
  BERTH_ADMIN_USERNAME: {
    type: value.userName,
    default: 'admin',
    doc: 'The account that is created at the first start.',
  },
  BERTH_ADMIN_PASSWORD: {
    type: value.password,
    doc: 'Its password. Unset: a random one, printed once and kept in the data folder, readable by its owner only.',
    secret: true,
  },
  BERTH_DEFAULT_VISIBILITY: {
    type: value.choice('private', 'internal', 'public'),
    default: 'private',
    doc: 'The visibility of a new repository: its members, everybody who is signed in, or everybody may pull.',
  },
  BERTH_ORGANIZATION_CREATION: {
    type: value.choice('everybody', 'administrators'),
    default: 'everybody',
    doc: 'Who may make organizations: everybody who has an account, or administrators only.',
  },
  BERTH_INVITATION_EXPIRY_DAYS: {
    type: value.wholeNumber(1, 365),
    default: '7',
    unit: 'days',
    doc: 'How long an invitation to an organization or a repository can be accepted.',
  },
  BERTH_INVITATIONS_MAX: {
    type: value.wholeNumber(1, 1_000_000),
    default: '100',
    doc: 'How many invitations of one namespace, and of one account, may be open or younger than a day.',
  },
  BERTH_REGISTRATION: {
    type: value.choice('closed', 'invitation', 'open'),
    default: 'closed',
    doc: 'Who may make an account by asking for it: nobody, those with an open invitation to an organization, or everybody with an address. Needs a mail server. Administrators invite whom they want in any case.',
  },
  BERTH_SESSION_TTL_HOURS: {
    type: value.wholeNumber(1, 24 * 365),
    default: '168',
    unit: 'hours',
    doc: 'How long somebody stays signed in at the page or the API.',
  },
  BERTH_TOKEN_TTL_SECONDS: {
    type: value.wholeNumber(60, 3600),
    default: '300',
    unit: 'seconds',
    doc: 'How long an access token lives.',
  },
  BERTH_REFRESH_TOKEN_TTL_DAYS: {
    type: value.wholeNumber(1, 3650),
    default: '90',
    unit: 'days',
    doc: 'How long a refresh token lives.',
  },
  BERTH_TOKEN_CLOCK_SKEW_SECONDS: {
    type: value.wholeNumber(0, 600),
    default: '60',
    unit: 'seconds',
    doc: "How far another replica's clock may be off before its tokens are refused.",
  },
  BERTH_TOKEN_EXPIRY_DAYS_MAX: {
    type: value.wholeNumber(0, 36_500),
    default: '365',
    unit: 'days',
    doc: 'The longest life of a new personal access token or robot. 0: no maximum, and they may live for ever.',
  },
  BERTH_SIGNING_KEY_ROTATION_DAYS: {
    type: value.wholeNumber(0, 3650),
    default: '30',
    unit: 'days',
    doc: 'The age at which the key that signs access tokens is replaced; its tokens stay valid until they expire. 0: never.',
  },

  // How often
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

  // How it sends mail
  BERTH_SMTP_URL: {
    type: value.smtpUrl,
    doc: 'The mail server, with user and password if it wants them: `smtp://` (encrypted where the server can; `?requireTLS=true` insists) or `smtps://`. Needs `BERTH_MAIL_FROM` and `BERTH_PUBLIC_URL`. Unset: no mail is sent, and links come from the command.',
    secret: true,
  },
  BERTH_MAIL_FROM: { type: value.emailAddress, doc: 'The address that mails come from.' },

  // What is accepted
  BERTH_SPARSE_MANIFESTS: {
    type: value.choice('reject', 'accept'),
    default: 'reject',
    doc: 'Whether a manifest may be pushed before the blobs and manifests that it names.',
  },
  BERTH_MANIFEST_BYTES_MAX: {
    type: value.wholeNumber(64 * KIB, 64 * MIB),
    default: '4194304',
    unit: 'bytes',
    doc: 'The largest manifest; more is answered 413.',
  },
  BERTH_MANIFEST_DEPTH_MAX: {
    type: value.wholeNumber(8, 1000),
    default: '64',
    doc: 'How deep the JSON of a manifest may be nested.',
  },
  BERTH_MANIFEST_REFERENCES_MAX: {
    type: value.wholeNumber(128, 100_000),
    default: '10000',
    doc: 'How many blobs and manifests one manifest may name.',
  },
  BERTH_TAGS_PER_PUSH_MAX: {
    type: value.wholeNumber(10, 10_000),
    default: '100',
    doc: 'How many `?tag=` one push of a manifest may carry.',
  },
  BERTH_BLOB_BYTES_MAX: {
    type: value.wholeNumber(MIB, 1024 * TIB),
    default: '1099511627776',
    unit: 'bytes',
    doc: 'The largest blob; more is answered 413.',
  },
  BERTH_UPLOADS_PER_ACCOUNT_MAX: {
    type: value.wholeNumber(1, 1_000_000),
    default: '1000',
    doc: 'How many uploads one account may have open.',
  },
  BERTH_UPLOAD_EXPIRY_HOURS: {
    type: value.wholeNumber(1, 24 * 365),
    default: '24',
    unit: 'hours',
    doc: 'When an upload that receives nothing more is given up and its bytes are swept.',
  },
  BERTH_UPLOAD_LEASE_SECONDS: {
    type: value.wholeNumber(5, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long an upload stays bound to a process that no longer answers for it.',
  },
  BERTH_PAGE_SIZE_MAX: {
    type: value.wholeNumber(1, 100_000),
    default: '1000',
    doc: 'The most entries of one page of tags, repositories or referrers.',
  },
  BERTH_REFERRERS_PAGE_BYTES_MAX: {
    type: value.wholeNumber(64 * KIB, 64 * MIB),
    default: '4194304',
    unit: 'bytes',
    doc: 'The most bytes of one page of referrers.',
  },
  BERTH_REQUEST_BODY_BYTES_MAX: {
    type: value.wholeNumber(KIB, GIB),
    default: '1048576',
    unit: 'bytes',
    doc: 'The largest body of a request to `/api` or to the token end-point.',
  },
  BERTH_HEADER_BYTES_MAX: {
    type: value.wholeNumber(8 * KIB, MIB),
    default: '65536',
    unit: 'bytes',
    doc: 'The most bytes of all headers of one request.',
  },

  // How long it waits
  BERTH_HEADERS_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '20',
    unit: 'seconds',
    doc: 'How long a client may take to send its headers.',
  },
  BERTH_BODY_IDLE_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '60',
    unit: 'seconds',
    doc: 'How long a body may stand still, in either direction, before the connection is closed.',
  },
  BERTH_KEEPALIVE_TIMEOUT_SECONDS: {
    type: value.wholeNumber(1, 3600),
    default: '75',
    unit: 'seconds',
    doc: 'How long an idle connection is kept open.',
  },
  BERTH_SHUTDOWN_DRAIN_SECONDS: {
    type: value.wholeNumber(0, 3600),
    default: '0',
    unit: 'seconds',
    doc: 'How long `/readyz` says 503 after SIGTERM while new requests are still served, so that a load balancer can stop sending them. 0: none are, from the first moment.',
  },
  BERTH_SHUTDOWN_GRACE_SECONDS: {
    type: value.wholeNumber(0, 3600),
    default: '30',
    unit: 'seconds',
    doc: 'How long running requests may take to end after SIGTERM, once no new ones are served.',
  },
  BERTH_GC_REVIEW_DELAY_HOURS: {
    type: value.wholeNumber(1, 24 * 365),
    default: '24',
    unit: 'hours',
    doc: 'The age at which a new blob or manifest is first looked at by garbage collection.',
  },

  // What it remembers
  BERTH_AUDIT_RETENTION_DAYS: {
    type: value.wholeNumber(1, 36_500),
    default: '365',
    unit: 'days',
    doc: 'How long the audit log keeps a row: who changed what, or was not let.',
  },
  BERTH_MANIFEST_CACHE_BYTES: {
    type: value.wholeNumber(0, TIB),
    default: '67108864',
    unit: 'bytes',
    doc: 'Memory for the bytes of manifests, which never change under their digest. 0: none.',
  },
  BERTH_BLOB_CACHE_BYTES: {
    type: value.wholeNumber(0, TIB),
    default: '33554432',
    unit: 'bytes',
    doc: 'Memory for small blobs, such as image configurations. 0: none.',
  },
  BERTH_BLOB_CACHE_ENTRY_BYTES_MAX: {
    type: value.wholeNumber(0, 64 * MIB),
    default: '65536',
    unit: 'bytes',
    doc: 'The largest blob that is kept in memory.',
  },

  // What it says
  BERTH_LOG_LEVEL: {
    type: value.choice('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    doc: 'The least severe line that is logged, on stderr.',
  },
  BERTH_LOG_FORMAT: {
    type: value.choice('auto', 'json', 'pretty'),
    default: 'auto',
    doc: 'How a line looks; `auto` is pretty on a terminal and JSON elsewhere.',
  },
} as const satisfies Record<string, Setting>;

export type SettingName = keyof typeof settings;

/** What each setting's text was parsed to; undefined only where there is no default. */
export type SettingValues = {
  readonly [N in SettingName]:
    | z.output<(typeof settings)[N]['type']>
    | ((typeof settings)[N] extends { readonly default: string } ? never : undefined);
};

export const settingNames: readonly SettingName[] = Object.keys(settings).filter(isSettingName);

export function isSettingName(name: string): name is SettingName {
  return Object.hasOwn(settings, name);
}

/** The schema's row under its common type, for code that treats all settings alike. */
export function settingOf(name: SettingName): Setting {
  return settings[name];
}
