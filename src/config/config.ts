import { join } from 'node:path';
import { parseAddressSet } from './address-set.ts';
import type { SettingValues } from './settings.ts';
import { blobBytesMaxOf, storageOf } from './storage.ts';

/** What the rest of Berth knows of the settings: parsed, grouped and frozen. */
export type Config = Readonly<ReturnType<typeof configOf>>;

export function configOf(values: SettingValues) {
  const { BERTH_TLS_CERT: cert, BERTH_TLS_KEY: key } = values;
  const { BERTH_SMTP_URL: smtpUrl, BERTH_MAIL_FROM: from, BERTH_PUBLIC_URL: publicUrl } = values;
  return Object.freeze({
    listen: Object.freeze(values.BERTH_LISTEN),
    /** Processes that share the address. 1: there is only this one. */
    workers: values.BERTH_WORKERS,
    publicUrl: values.BERTH_PUBLIC_URL,
    /** Paths of PEM files. */
    tls: cert === undefined || key === undefined ? undefined : Object.freeze({ cert, key }),
    trustedProxies: values.BERTH_TRUSTED_PROXIES ?? parseAddressSet([]),

    /** Absolute. */
    dataDir: values.BERTH_DATA_DIR,
    database: Object.freeze({
      /** One for each server that is named. Undefined: the embedded one. */
      urls: values.BERTH_DATABASE_URL,
      pooler: values.BERTH_DATABASE_POOLER,
      /** Past the pooler. Undefined: there is none, or it keeps whole sessions. */
      directUrls: values.BERTH_DATABASE_DIRECT_URL,
      /** Undefined: there is no replica. */
      replicaUrls: values.BERTH_DATABASE_REPLICA_URL,
      limits: Object.freeze({
        connectMs: values.BERTH_DATABASE_CONNECT_TIMEOUT_SECONDS * 1000,
        statementMs: values.BERTH_DATABASE_STATEMENT_TIMEOUT_SECONDS * 1000,
        idleInTransactionMs: values.BERTH_DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS * 1000,
      }),
      poolSize: values.BERTH_DATABASE_POOL_SIZE,
    }),
    storage: storageOf(values),

    admin: Object.freeze({
      username: values.BERTH_ADMIN_USERNAME,
      /** Undefined: to be generated. */
      password: values.BERTH_ADMIN_PASSWORD,
      /** Where a generated one is kept. */
      passwordFile: join(values.BERTH_DATA_DIR, 'admin-password'),
    }),
    defaultVisibility: values.BERTH_DEFAULT_VISIBILITY,
    registration: values.BERTH_REGISTRATION,
    sessionTtlHours: values.BERTH_SESSION_TTL_HOURS,
    /** Who may make organizations. */
    organizationCreation: values.BERTH_ORGANIZATION_CREATION,
    invitations: Object.freeze({
      days: values.BERTH_INVITATION_EXPIRY_DAYS,
      max: values.BERTH_INVITATIONS_MAX,
    }),
    tokens: Object.freeze({
      ttlSeconds: values.BERTH_TOKEN_TTL_SECONDS,
      refreshTtlDays: values.BERTH_REFRESH_TOKEN_TTL_DAYS,
      clockSkewSeconds: values.BERTH_TOKEN_CLOCK_SKEW_SECONDS,
      /** Of personal access tokens and robots; 0 is no maximum. */
      expiryDaysMax: values.BERTH_TOKEN_EXPIRY_DAYS_MAX,
      /** 0 is never. */
      signingKeyRotationDays: values.BERTH_SIGNING_KEY_ROTATION_DAYS,
    }),

    /** Counts of 0 are no limit. */
    rateLimits: Object.freeze({
      store: values.BERTH_RATE_LIMIT_STORE,
      signInsPerAddressPerMinute: values.BERTH_RATE_LIMIT_SIGN_INS_PER_ADDRESS_PER_MINUTE,
      signInsPerAccountPerMinute: values.BERTH_RATE_LIMIT_SIGN_INS_PER_ACCOUNT_PER_MINUTE,
      freeFailures: Object.freeze({
        perAccountAndAddress: values.BERTH_SIGN_IN_FAILURES_FREE,
        perAddress: values.BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE,
        perAccount: values.BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE,
      }),
      signInDelayMaxSeconds: values.BERTH_SIGN_IN_DELAY_SECONDS_MAX,
      knownAddressDays: values.BERTH_KNOWN_ADDRESS_DAYS,
      tokensPerAddressPerMinute: values.BERTH_RATE_LIMIT_TOKENS_PER_ADDRESS_PER_MINUTE,
      tokensPerAccountPerMinute: values.BERTH_RATE_LIMIT_TOKENS_PER_ACCOUNT_PER_MINUTE,
      anonymousPullsPer6Hours: values.BERTH_RATE_LIMIT_ANONYMOUS_PULLS_PER_6_HOURS,
      accountPullsPer6Hours: values.BERTH_RATE_LIMIT_ACCOUNT_PULLS_PER_6_HOURS,
      mailsPerAddressPerHour: values.BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR,
      pushesPerAddressPerHour: values.BERTH_RATE_LIMIT_PUSHES_PER_ADDRESS_PER_HOUR,
      pushesPerAccountPerHour: values.BERTH_RATE_LIMIT_PUSHES_PER_ACCOUNT_PER_HOUR,
    }),

    /** Undefined: no mail is sent. Links in mails lead to `publicUrl`, never to what a request claims to have asked. */
    mail:
      smtpUrl === undefined || from === undefined || publicUrl === undefined
        ? undefined
        : Object.freeze({ smtpUrl, from, publicUrl }),

    sparseManifests: values.BERTH_SPARSE_MANIFESTS,
    limits: Object.freeze({
      manifestBytesMax: values.BERTH_MANIFEST_BYTES_MAX,
      manifestDepthMax: values.BERTH_MANIFEST_DEPTH_MAX,
      manifestReferencesMax: values.BERTH_MANIFEST_REFERENCES_MAX,
      tagsPerPushMax: values.BERTH_TAGS_PER_PUSH_MAX,
      blobBytesMax: blobBytesMaxOf(values),
      uploadsPerAccountMax: values.BERTH_UPLOADS_PER_ACCOUNT_MAX,
      uploadExpiryHours: values.BERTH_UPLOAD_EXPIRY_HOURS,
      uploadLeaseSeconds: values.BERTH_UPLOAD_LEASE_SECONDS,
      pageSizeMax: values.BERTH_PAGE_SIZE_MAX,
      referrersPageBytesMax: values.BERTH_REFERRERS_PAGE_BYTES_MAX,
      requestBodyBytesMax: values.BERTH_REQUEST_BODY_BYTES_MAX,
      headerBytesMax: values.BERTH_HEADER_BYTES_MAX,
      headersTimeoutSeconds: values.BERTH_HEADERS_TIMEOUT_SECONDS,
      bodyIdleTimeoutSeconds: values.BERTH_BODY_IDLE_TIMEOUT_SECONDS,
      keepAliveTimeoutSeconds: values.BERTH_KEEPALIVE_TIMEOUT_SECONDS,
      shutdownDrainSeconds: values.BERTH_SHUTDOWN_DRAIN_SECONDS,
      shutdownGraceSeconds: values.BERTH_SHUTDOWN_GRACE_SECONDS,
    }),
    gcReviewDelayHours: values.BERTH_GC_REVIEW_DELAY_HOURS,
    auditRetentionDays: values.BERTH_AUDIT_RETENTION_DAYS,
    cache: Object.freeze({
      manifestBytes: values.BERTH_MANIFEST_CACHE_BYTES,
      blobBytes: values.BERTH_BLOB_CACHE_BYTES,
      blobEntryBytesMax: values.BERTH_BLOB_CACHE_ENTRY_BYTES_MAX,
    }),

    log: Object.freeze({ level: values.BERTH_LOG_LEVEL, format: values.BERTH_LOG_FORMAT }),
  });
}
