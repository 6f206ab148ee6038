/** The work in the background, wired together. */
import { deleteExpiredIdempotencyKeys } from '../access/idempotency.ts';
import { siteOf, sweepLinksAndSessions } from '../access/links.ts';
import { sweepRateLimits } from '../access/limits/sweep.ts';
import { tendSigningKeys } from '../access/signing-keys.ts';
import type { Config } from '../config/config.ts';
import type { Connection, Database } from '../database/pool.ts';
import { expireAudit } from '../events/audit-expiry.ts';
import { startJobs, type Jobs } from '../jobs/jobs.ts';
import { createTasks } from '../jobs/tasks.ts';
import { createSweep } from '../registry/sweep.ts';
import type { BlobStore } from '../storage/port.ts';
import type { Logger } from '../telemetry/logger.ts';

export function serveJobs(
  config: Config,
  logger: Logger,
  connection: Connection,
  database: Database,
  store: BlobStore,
): Jobs {
  const { uploadExpiryHours, shutdownGraceSeconds } = config.limits;
  const sweep = createSweep({ database, store, uploadExpiryHours });
  const tasks = createTasks({
    sweep,
    expireAudit: (signal) => expireAudit(database, config.auditRetentionDays, signal),
    sweepRateLimits: (signal) => sweepRateLimits(database, config.rateLimits.knownAddressDays, signal),
    sweepIdempotencyKeys: () => deleteExpiredIdempotencyKeys(database),
    tendSigningKeys: () => tendSigningKeys(database, config.tokens.signingKeyRotationDays),
    sweepLinksAndSessions: (signal) => sweepLinksAndSessions(database, signal),
    requests: { database, mode: config.registration, site: siteOf(config) },
    mail: config.mail,
    logger,
  });
  return startJobs({ connection, tasks, logger, limits: config.database.limits, shutdownGraceSeconds });
}
