/** The few requests that Berth makes of S3, bounded in time, with their errors in the port's words. */
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { ObjectMissingError } from '../port.ts';
import type { ByteRange } from '../port.ts';
import type { Answer } from './answer.ts';
import { createClient } from './client.ts';
import { DirectReads } from './direct-reads.ts';
import { translate } from './errors.ts';
import { uploadsFolder } from './keys.ts';
import type { S3Options } from './options.ts';
import type { Part } from './state.ts';
import { StreamedAnswer } from './streamed-answer.ts';

/** S3 may put the parts together one by one before it answers. */
const completeTimeoutMs = 10 * 60_000;

/** From so many bytes on the SDK is worth going past: signing an address costs as much as a request of its. */
const directBytesMin = 1024 * 1024;

/** Answers of a server that does not list multipart uploads, or of one whose key may not have them listed. */
const notListed = new Set([403, 404, 405, 501]);

/** What the SDK lets a single request have. */
interface SendOptions {
  readonly abortSignal: AbortSignal;
  readonly requestTimeout: number;
}

export interface Listed {
  readonly key: string;
  readonly size: number;
  readonly modifiedAt: Date;
}

/** Keys are given and returned without the prefix of the settings. */
export class Bucket {
  readonly #client: S3Client;
  readonly #presigner: S3Client;
  readonly #options: S3Options;
  /** Where S3 speaks HTTP without TLS. */
  readonly #direct: DirectReads | undefined;
  /** Whether S3 heeds `If-None-Match: *` on a PUT; false until it has been seen to. */
  isConditional = false;

  constructor(options: S3Options) {
    this.#options = options;
    const directMax = options.endpoint?.protocol === 'http:' ? Math.floor(options.socketsMax / 2) : 0;
    this.#direct = directMax > 0 ? new DirectReads({ ...options, socketsMax: directMax }) : undefined;
    this.#client = createClient({ ...options, socketsMax: options.socketsMax - directMax });
    const elsewhere = options.redirect?.endpoint;
    this.#presigner = elsewhere === undefined ? this.#client : createClient(options, elsewhere);
  }

  /** @returns false when `ifAbsent`, S3 heeds it, and something is there already, or is being put there */
  async put(key: string, body: Buffer, { ifAbsent = false, signal }: PutOptions = {}): Promise<boolean> {
    const isConditional = ifAbsent && this.isConditional;
    const command = new PutObjectCommand({
      ...this.#at(key),
      ...this.#kept(key),
      Body: body,
      ContentLength: body.length,
      ChecksumCRC32: crc32Of(body),
      ...(isConditional && { IfNoneMatch: '*' }),
    });
    try {
      await this.#ask(`PutObject ${key}`, (options) => this.#client.send(command, options), { signal });
      return true;
    } catch (error) {
      const { name, $metadata } = factsOf(error);
      if (isConditional && ($metadata?.httpStatusCode === 412 || name === 'ConditionalRequestConflict')) return false;
      throw error;
    }
  }

  /** @throws ObjectMissingError, ObjectSizeError (of a range that begins behind the last byte) */
  async get(key: string, range: ByteRange): Promise<Answer> {
    const began = performance.now();
    const { timeoutMs } = this.#options;
    if (this.#direct !== undefined && range.length >= directBytesMin) {
      const command = new GetObjectCommand(this.#at(key));
      // It stays in this process; it is good for as long as other signatures are, should the clocks differ.
      const address = await getSignedUrl(this.#client, command, { expiresIn: 900 }).catch(() => undefined);
      const answer = address && (await this.#direct.get(new URL(address), range, timeoutMs / 2));
      if (answer) return answer;
    }
    return this.#getBySdk(key, range, timeoutMs - (performance.now() - began));
  }

  async #getBySdk(key: string, { start, length }: ByteRange, timeoutMs: number): Promise<Answer> {
    const command = new GetObjectCommand({ ...this.#at(key), Range: `bytes=${start}-${start + length - 1}` });
    const send = (options: SendOptions) => this.#client.send(command, options);
    const { Body: stream, ContentLength } = await this.#ask(`GetObject ${key}`, send, { timeoutMs });
    if (!(stream instanceof Readable)) throw new Error(`S3 sends no body (GetObject ${key})`);
    return new StreamedAnswer(stream, ContentLength ?? Number.NaN, this.#options.timeoutMs);
  }

  /** In bytes; undefined when nothing is there. */
  async sizeOf(key: string): Promise<number | undefined> {
    const command = new HeadObjectCommand(this.#at(key));
    try {
      const { ContentLength } = await this.#ask(`HeadObject ${key}`, (options) => this.#client.send(command, options));
      return ContentLength ?? 0;
    } catch (error) {
      if (error instanceof ObjectMissingError) return undefined;
      throw error;
    }
  }

  async ping(timeoutMs: number): Promise<void> {
    const command = new HeadBucketCommand({ Bucket: this.#options.bucket });
    await this.#ask('HeadBucket', (options) => this.#client.send(command, options), { timeoutMs });
  }

  async delete(key: string): Promise<void> {
    const command = new DeleteObjectCommand(this.#at(key));
    await orMissing(this.#ask(`DeleteObject ${key}`, (options) => this.#client.send(command, options)));
  }

  /** In the order of the keys. */
  async *list(prefix: string): AsyncGenerator<Listed, undefined> {
    const { bucket: Bucket, prefix: ours } = this.#options;
    let ContinuationToken: string | undefined;
    do {
      const command = new ListObjectsV2Command({ Bucket, Prefix: ours + prefix, ContinuationToken });
      const page = await this.#ask(`ListObjectsV2 ${prefix}`, (options) => this.#client.send(command, options));
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        if (Key === undefined || Size === undefined || LastModified === undefined) continue;
        yield { key: Key.slice(ours.length), size: Size, modifiedAt: LastModified };
      }
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
  }

  async createMultipart(key: string): Promise<string> {
    const command = new CreateMultipartUploadCommand({
      ...this.#at(key),
      ...this.#kept(key),
      ChecksumAlgorithm: 'CRC32',
    });
    const send = (options: SendOptions) => this.#client.send(command, options);
    const { UploadId } = await this.#ask(`CreateMultipartUpload ${key}`, send);
    if (UploadId === undefined) throw new Error(`S3 gives no id (CreateMultipartUpload ${key})`);
    return UploadId;
  }

  /** The multipart uploads of a key, up to a thousand; none where S3 does not list them, or not to us. */
  async multipartsOf(key: string): Promise<string[]> {
    const { Bucket, Key: Prefix } = this.#at(key);
    const command = new ListMultipartUploadsCommand({ Bucket, Prefix });
    try {
      const send = (options: SendOptions) => this.#client.send(command, options);
      const { Uploads = [] } = await this.#ask(`ListMultipartUploads ${key}`, send);
      return Uploads.flatMap(({ Key, UploadId }) => (Key === Prefix && UploadId !== undefined ? [UploadId] : []));
    } catch (error) {
      if (notListed.has(factsOf(error).$metadata?.httpStatusCode ?? 0)) return [];
      throw error;
    }
  }

  /** @throws ObjectMissingError when the multipart upload is over */
  async uploadPart(
    key: string,
    multipart: string,
    part: { readonly n: number; readonly body: Buffer },
    signal?: AbortSignal,
  ): Promise<Part> {
    const { n, body } = part;
    const crc = crc32Of(body);
    const command = new UploadPartCommand({
      ...this.#at(key),
      UploadId: multipart,
      PartNumber: n,
      Body: body,
      ContentLength: body.length,
      ChecksumCRC32: crc,
    });
    const send = (options: SendOptions) => this.#client.send(command, options);
    const { ETag } = await this.#ask(`UploadPart ${key}`, send, { signal });
    if (ETag === undefined) throw new Error(`S3 gives no entity tag (UploadPart ${key})`);
    return { n, size: body.length, etag: ETag, crc };
  }

  /** @throws ObjectMissingError when the multipart upload is over, or has not all of these parts */
  async complete(key: string, multipart: string, parts: readonly Part[]): Promise<void> {
    const command = new CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId: multipart,
      MultipartUpload: { Parts: parts.map(({ n, etag, crc }) => ({ PartNumber: n, ETag: etag, ChecksumCRC32: crc })) },
    });
    const send = (options: SendOptions) => this.#client.send(command, options);
    await this.#ask(`CompleteMultipartUpload ${key}`, send, { timeoutMs: completeTimeoutMs });
  }

  async abortMultipart(key: string, multipart: string): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.#at(key), UploadId: multipart });
    await orMissing(this.#ask(`AbortMultipartUpload ${key}`, (options) => this.#client.send(command, options)));
  }

  /** @returns an address from which anybody may read the object, as often and in any ranges, until it expires */
  presign(key: string, expiresIn: number): Promise<string> {
    return getSignedUrl(this.#presigner, new GetObjectCommand(this.#at(key)), { expiresIn });
  }

  close(): void {
    this.#direct?.close();
    this.#client.destroy();
    if (this.#presigner !== this.#client) this.#presigner.destroy();
  }

  #at(key: string) {
    return { Bucket: this.#options.bucket, Key: this.#options.prefix + key };
  }

  /** How an object is to be kept. What lives for moments only is not worth a storage class with a minimum. */
  #kept(key: string) {
    const { storageClass, encryption } = this.#options;
    return {
      ContentType: 'application/octet-stream',
      ...(storageClass !== undefined && !key.startsWith(uploadsFolder) && { StorageClass: storageClass as 'STANDARD' }),
      ...(encryption !== undefined && {
        ServerSideEncryption: encryption.algorithm as 'AES256',
        ...(encryption.keyId !== undefined && { SSEKMSKeyId: encryption.keyId }),
      }),
    };
  }

  /** A stalled connection costs half of the time, so that another one gets the other half. */
  async #ask<T>(what: string, send: (options: SendOptions) => Promise<T>, limits: AskLimits = {}): Promise<T> {
    const { signal, timeoutMs = this.#options.timeoutMs } = limits;
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal?.reason);
    const timer = setTimeout(() => abort.abort(), timeoutMs);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
    try {
      return await send({ abortSignal: abort.signal, requestTimeout: timeoutMs / 2 });
    } catch (error) {
      throw translate(error, what);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

interface PutOptions {
  readonly ifAbsent?: boolean;
  readonly signal?: AbortSignal | undefined;
}

interface AskLimits {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

interface ErrorFacts {
  readonly name?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

/** What S3 said, behind an error in the port's words. */
const factsOf = (error: unknown): ErrorFacts => ((error as Error).cause ?? {}) as ErrorFacts;

async function orMissing(attempt: Promise<unknown>): Promise<void> {
  try {
    await attempt;
  } catch (error) {
    if (!(error instanceof ObjectMissingError)) throw error;
  }
}

function crc32Of(body: Buffer): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return sum.toString('base64');
}
