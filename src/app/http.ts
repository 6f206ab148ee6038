/** Everything that answers requests, wired together. */
import { createApiAuthenticator } from '../access/api-authenticate.ts';
import { createAuthenticator } from '../access/authenticate.ts';
import { createNoteFailure } from '../access/failed-sign-ins.ts';
import { createSigningKeys } from '../access/keys.ts';
import { createLastUse } from '../access/last-use.ts';
import { createRateLimits } from '../access/limits/limits.ts';
import { createLookup } from '../access/lookup.ts';
import { createProofs } from '../access/proofs.ts';
import { createTokenService } from '../access/token-service.ts';
import { createAccessTokens } from '../access/tokens.ts';
import type { Config } from '../config/config.ts';
import type { Database } from '../database/pool.ts';
import type { Replica } from '../database/replica.ts';
import { createAuthenticateApi } from '../http/api/authenticate.ts';
import { createOnDenied } from '../http/api/denied.ts';
import { apiOperations } from '../http/api/operations.ts';
import { createApiRouter } from '../http/api/router.ts';
import { createDeniedRecorder } from '../events/denied.ts';
import { createExpress } from '../http/express.ts';
import type { DataPlane } from '../http/oci/data-plane.ts';
import { createOciHandler } from '../http/oci/handler.ts';
import { checkMsMax, createOpsRouter } from '../http/ops/router.ts';
import { createOrigins } from '../http/origin.ts';
import { listen } from '../http/server.ts';
import { createTokenRouter, tokenPath } from '../http/token/router.ts';
import { createBlobs } from '../registry/blobs.ts';
import { createCatalog } from '../registry/catalog.ts';
import { createCommitBlob } from '../registry/commit-blob.ts';
import { createListings } from '../registry/listings.ts';
import { createManifests } from '../registry/manifests.ts';
import { createPushManifest } from '../registry/push-manifest.ts';
import { createRepositories } from '../registry/repositories.ts';
import { createLeases } from '../registry/upload-lease.ts';
import { createPlaces } from '../registry/upload-place.ts';
import { createUploads } from '../registry/uploads.ts';
import type { BlobStore } from '../storage/port.ts';
import type { Logger } from '../telemetry/logger.ts';

export async function serveHttp(
  config: Config,
  logger: Logger,
  { database, replica }: { readonly database: Database; readonly replica: Replica | undefined },
  store: BlobStore,
) {
  const service = config.publicUrl?.host ?? 'berth';
  const origins = createOrigins(config);
  const { gcReviewDelayHours: reviewDelayHours, limits } = config;

  const keys = createSigningKeys(database);
  const tokens = createAccessTokens(keys, {
    service,
    ttlSeconds: config.tokens.ttlSeconds,
    clockSkewSeconds: config.tokens.clockSkewSeconds,
  });
  const lastUse = createLastUse(database, (error) =>
    logger.warn({ err: error }, 'the last use of some credentials could not be written'),
  );
  const denied = createDeniedRecorder(database, logger);
  const rateLimits = createRateLimits({ database, settings: config.rateLimits, logger });
  const noteFailure = createNoteFailure({ database, denied });
  const { signIn } = rateLimits;
  const authenticator = createAuthenticator({ database, tokens, lastUse, signIn, noteFailure });
  const lookup = createLookup(database);
  const tokenService = createTokenService({
    database,
    lookup,
    tokens,
    lastUse,
    rateLimits,
    refreshTtlDays: config.tokens.refreshTtlDays,
  });

  const repositories = createRepositories(database, config.defaultVisibility);
  const commitBlob = createCommitBlob({ database, store, repositories, reviewDelayHours });
  const leases = createLeases(database, limits.uploadLeaseSeconds);
  const places = createPlaces(store, limits.blobBytesMax);
  const plane: DataPlane = {
    authenticator,
    lookup,
    repositories,
    blobs: createBlobs({ database, store, repositories, reviewDelayHours, cache: config.cache }),
    uploads: createUploads({ database, store, leases, places, commitBlob, limits }),
    manifests: createManifests({ database, reviewDelayHours, cacheBytes: config.cache.manifestBytes }),
    pushManifest: createPushManifest({ database, repositories, sparse: config.sparseManifests, reviewDelayHours }),
    listings: createListings(database),
    catalog: createCatalog(database, replica),
    rateLimits,
    denied,
    limits,
    redirect: config.storage.s3?.redirect,
  };

  const oci = createOciHandler({ plane, origins, logger, tokenPath, service });
  let stopping = false;
  const routers = [
    createOpsRouter({
      checkDatabase: () => database.ping(checkMsMax),
      checkStorage: () => store.ping(checkMsMax),
      stopping: () => stopping,
      onAway: (dependency, err) =>
        logger.warn({ dependency, err }, 'not ready: something that Berth stands on is away'),
    }),
    createTokenRouter({ authenticator, tokenService, keys, origins, logger, bodyBytesMax: limits.requestBodyBytesMax }),
    createApiRouter({
      operations: apiOperations({
        config,
        database,
        replica,
        lookup,
        repositories,
        rateLimits,
        proofs: createProofs({ database, authenticator, signIn, noteFailure }),
      }),
      database,
      authenticateApi: createAuthenticateApi(createApiAuthenticator({ database, authenticator, lookup, lastUse })),
      origins,
      logger,
      bodyBytesMax: limits.requestBodyBytesMax,
      onDenied: createOnDenied({ database, denied }),
    }),
  ];
  const server = await listen(
    { oci, rest: createExpress(routers, logger), tls: config.tls, logger, limits },
    config.listen,
  );
  return {
    port: server.port,
    async stop() {
      stopping = true;
      await server.stop();
      await Promise.all([lastUse.close(), rateLimits.close(), denied.stop()]);
    },
  };
}
