/** All operations of /api/v1, with what each works with. */
import { siteOf } from '../../access/links.ts';
import type { RateLimits } from '../../access/limits/limits.ts';
import type { Lookup } from '../../access/lookup.ts';
import type { Proofs } from '../../access/proofs.ts';
import type { Config } from '../../config/config.ts';
import type { Database } from '../../database/pool.ts';
import type { Replica } from '../../database/replica.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { accountOperations } from './account.ts';
import { auditOperations } from './audit.ts';
import { collaboratorOperations } from './collaborators.ts';
import { explainOperations } from './explain.ts';
import { invitationOperations } from './invitations.ts';
import { memberOperations } from './members.ts';
import { namespaceDeletionOperations } from './namespace-deletion.ts';
import { namespaceOperations } from './namespaces.ts';
import { registrationOperations } from './registration.ts';
import { repositoryChangeOperations } from './repository-changes.ts';
import { repositoryOperations } from './repositories.ts';
import { robotOperations } from './robots.ts';
import { secondFactorOperations } from './second-factor.ts';
import { sessionOperations } from './session.ts';
import { signingKeyOperations } from './signing-keys.ts';
import { storageHoldOperations } from './storage-hold.ts';
import { teamOperations } from './teams.ts';
import { tokenOperations } from './tokens.ts';
import { userOperations } from './users.ts';
import type { Operation } from './operation.ts';

export interface ApiParts {
  readonly config: Config;
  readonly database: Database;
  readonly replica: Replica | undefined;
  readonly lookup: Lookup;
  readonly repositories: Repositories;
  readonly rateLimits: RateLimits;
  readonly proofs: Proofs;
}

export function apiOperations(parts: ApiParts): readonly Operation[] {
  const { config, database, replica, lookup, repositories, rateLimits, proofs } = parts;
  const { registration, sessionTtlHours: ttlHours, gcReviewDelayHours: reviewDelayHours } = config;
  const site = siteOf(config);
  return [
    ...sessionOperations({ proofs, ttlHours, site, registration }),
    ...accountOperations({ proofs, ttlHours, site }),
    ...secondFactorOperations({ proofs, ttlHours, issuer: site.publicUrl.host }),
    ...userOperations(site),
    ...registrationOperations({ rateLimits, mode: registration, site }),
    ...repositoryOperations({ lookup, repositories }),
    ...repositoryChangeOperations({ lookup, repositories, reviewDelayHours }),
    ...explainOperations({ lookup }),
    ...namespaceDeletionOperations({ reviewDelayHours }),
    ...tokenOperations(config.tokens),
    ...robotOperations(lookup, config.tokens),
    ...signingKeyOperations(),
    ...storageHoldOperations(),
    ...auditOperations({ database, replica }),
    ...namespaceOperations(config),
    ...memberOperations(),
    ...teamOperations(),
    ...collaboratorOperations({ lookup }),
    ...invitationOperations({ lookup, invitations: { ...config.invitations, mail: config.mail } }),
  ];
}
