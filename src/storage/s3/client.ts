/** The SDK's client, set up so that nothing is hashed twice, nothing waits for ever, and every byte is checked where it arrives. */
import { S3Client } from '@aws-sdk/client-s3';
import { damagedOnTheWay } from './errors.ts';
import type { S3Options } from './options.ts';

/** With the first; between them up to 0.1, 0.2, 0.4, 0.8 and 1.6 s, each by chance. */
const attemptsMax = 6;

export function createClient(options: S3Options, endpoint = options.endpoint): S3Client {
  const { socketsMax: maxSockets, credentials } = options;
  const client = new S3Client({
    region: options.region,
    forcePathStyle: options.forcePathStyle,
    ...(endpoint !== undefined && { endpoint: endpoint.href }),
    // The SDK writes into it.
    ...(credentials !== undefined && { credentials: { ...credentials } }),
    maxAttempts: attemptsMax,
    retryMode: 'standard',
    // Where a body has a checksum we give it ourselves.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    // What is read is hashed by whoever reads it.
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Asking first would open a connection for each part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: options.connectTimeoutMs,
      throwOnRequestTimeout: true,
      // A reader may stand still for as long as its own client does.
      socketTimeout: 0,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
      logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    },
  });
  leavePayloadUnsigned(client);
  sendAgainWhatWasDamaged(client);
  return client;
}

/** Signing a body would hash all of it with SHA-256; the CRC32 that goes with it finds every accident. */
function leavePayloadUnsigned(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { headers, body } = args.request as { headers: Record<string, string>; body?: unknown };
      if (Buffer.isBuffer(body)) headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
      return next(args);
    },
    { step: 'build', name: 'leavePayloadUnsigned' },
  );
}

/** The SDK would take it for a fault of ours, and give up. */
function sendAgainWhatWasDamaged(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        // The SDK's own mark for what may be tried again; this stands behind what tries.
        if (error instanceof Error && damagedOnTheWay.has(error.name)) Object.assign(error, { $retryable: {} });
        throw error;
      }
    },
    { step: 'finalizeRequest', priority: 'low', name: 'sendAgainWhatWasDamaged' },
  );
}
