import type { z } from 'zod';
import { accessSettings } from './access-settings.ts';
import { databaseSettings } from './database-settings.ts';
import { inputSettings } from './input-settings.ts';
import { rateSettings } from './rate-settings.ts';
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

const MIB = 1024 ** 2;
const TIB = 1024 ** 4;

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
  ...databaseSettings,
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
  ...accessSettings,

  // How often
  ...rateSettings,

  // How it sends mail
  BERTH_SMTP_URL: {
    type: value.smtpUrl,
    doc: 'The mail server, with user and password if it wants them: `smtp://` (encrypted where the server can; `?requireTLS=true` insists) or `smtps://`. Needs `BERTH_MAIL_FROM` and `BERTH_PUBLIC_URL`. Unset: no mail is sent, and links come from the command.',
    secret: true,
  },
  BERTH_MAIL_FROM: { type: value.emailAddress, doc: 'The address that mails come from.' },

  // What is accepted
  ...inputSettings,

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
