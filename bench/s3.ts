/** An S3 server that registries keep their bytes in, and how fast it is without one. */
import { Agent } from 'node:http';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { noS3Server, startS3Server } from '../test/support/s3-server.ts';
import { ask, discard, timed, type Server } from './client.ts';
import type { LargeBlob } from './content.ts';

export interface S3 {
  /** For a Berth that redirects, but not who calls themselves {@link throughBerth}. */
  readonly berthSettings: Readonly<Record<string, string>>;
  /** For the configuration of a docker-registry that sends everything itself. */
  readonly dockerRegistryStorage: object;
  /** In MB/s, of one PUT. */
  putSpeed(blob: LargeBlob): Promise<number>;
  /** In MB/s, of one GET. What is read was written before. */
  getSpeed(blob: LargeBlob): Promise<number>;
  stop(): Promise<void>;
}

/** A `User-Agent` that Berth does not redirect. */
export const throughBerth = 'piped';
/** Why there is no S3 server; undefined when there is. */
export const noS3 = noS3Server;

const expiresIn = 3600;
const region = 'us-east-1';

/** Undefined when there is none on this machine. */
export async function startS3(): Promise<S3 | undefined> {
  if (noS3Server !== undefined) return undefined;
  const server = await startS3Server();
  const { url, accessKeyId, secretAccessKey } = server;
  for (const bucket of ['berth', 'docker-registry', 'straight']) await server.makeBucket(bucket);
  const client = new S3Client({
    region,
    endpoint: url,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  const itself: Server = { name: 'S3', url, host: new URL(url).host, headers: async () => ({}) };
  const agent = new Agent({ keepAlive: true });
  const at = (Key: string) => ({ Bucket: 'straight', Key });
  const put = async (blob: LargeBlob, key: string): Promise<number> => {
    const address = await getSignedUrl(client, new PutObjectCommand(at(key)), { expiresIn });
    const sending = { agent, headers: { 'Content-Length': blob.bytes }, body: blob.pieces() };
    return blob.bytes / 1e6 / (await timed(() => ask(itself, 'PUT', address, 200, sending)));
  };
  const written = new Map<LargeBlob, Promise<number>>();
  let puts = 0;
  return {
    berthSettings: {
      ...server.settings('berth'),
      BERTH_S3_REDIRECT: 'on',
      BERTH_S3_REDIRECT_NOT_FOR: throughBerth,
    },
    dockerRegistryStorage: {
      redirect: { disable: true },
      s3: {
        accesskey: accessKeyId,
        secretkey: secretAccessKey,
        region,
        regionendpoint: url,
        bucket: 'docker-registry',
        secure: false,
      },
    },
    putSpeed: (blob) => put(blob, `put-${(puts += 1)}`),
    async getSpeed(blob) {
      const writing = written.get(blob) ?? put(blob, 'get');
      written.set(blob, writing);
      await writing;
      const { pathname, search } = new URL(await getSignedUrl(client, new GetObjectCommand(at('get')), { expiresIn }));
      return blob.bytes / 1e6 / (await timed(() => discard(itself, `${pathname}${search}`, {}, blob.bytes)));
    },
    async stop() {
      agent.destroy();
      client.destroy();
      await server.stop();
    },
  };
}
