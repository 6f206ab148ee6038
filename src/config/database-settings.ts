import * as value from './values.ts';

/** PostgreSQL, or what stands before it. Rows of the schema in settings.ts. */
export const databaseSettings = {
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
} as const;
