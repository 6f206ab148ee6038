/** How the data plane counts pulls and pushes, and what it tells of the limits. */
import { accountOf } from '../../access/limits/limits.ts';
import type { PullLimits, PullQuota } from '../../access/limits/pulls.ts';
import type { Subject } from '../../access/policy.ts';
import { RegistryError } from '../../oci/errors.ts';
import { isIndexType } from '../../oci/media-types.ts';
import type { DataPlane } from './data-plane.ts';
import type { Exchange } from './exchange.ts';

/**
 * Counts a manifest that is about to be served, and puts the headers of Docker Hub onto the answer, the refusing one too.
 * A version check, a HEAD or what turns out as 304, is always answered; an index is no pull itself, but leads to one.
 * https://docs.docker.com/docker-hub/usage/pulls/
 * @throws RegistryError `tooManyRequests` with its seconds
 */
export async function countPull(
  pulls: PullLimits,
  exchange: Exchange,
  subject: Subject,
  manifest: { readonly mediaType: string },
  versionCheck: boolean,
): Promise<void> {
  const counted = !versionCheck && !isIndexType(manifest.mediaType);
  const quota = await pulls.pull(accountOf(subject), exchange.address(), counted);
  if (quota === null) return;
  const { limit, remaining, windowSeconds, source, retryAfterSeconds } = quota;
  exchange.res.setHeader('ratelimit-limit', `${limit};w=${windowSeconds}`);
  exchange.res.setHeader('ratelimit-remaining', `${remaining};w=${windowSeconds}`);
  if (source !== null) exchange.res.setHeader('docker-ratelimit-source', source);
  if (retryAfterSeconds !== null && !versionCheck) throw tooManyPulls(quota, retryAfterSeconds);
}

function tooManyPulls({ limit, windowSeconds, source }: PullQuota, retryAfterSeconds: number): RegistryError {
  const signIn = source === null ? '' : ', or sign in';
  return new RegistryError('tooManyRequests', {
    message: `the limit of ${limit} pulls in ${windowSeconds / 3600} hours is reached; try again in ${retryAfterSeconds} seconds${signIn}`,
    retryAfterSeconds,
  });
}

/** @throws RegistryError `tooManyRequests` with its seconds */
export async function countPush(
  plane: DataPlane,
  exchange: Exchange,
  subject: Subject,
  step: 'upload' | 'manifest',
): Promise<void> {
  const account = accountOf(subject);
  if (account !== null) await plane.rateLimits.push(exchange.address(), account, step);
}
