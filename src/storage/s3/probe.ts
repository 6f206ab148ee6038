/** What must hold before the first request. Everything that does not is one sentence for the operator. */
import { randomUUID } from 'node:crypto';
import { newUploadName } from '../layout.ts';
import { ObjectMissingError, StorageUnusableError } from '../port.ts';
import { readInto, type Answer } from './answer.ts';
import type { Bucket } from './bucket.ts';
import { codeOf, isUnavailable } from './errors.ts';
import { keyOf, newTailName, tailKey, tailsOf } from './keys.ts';
import type { S3Options } from './options.ts';

/**
 * Does once what Berth does with S3, on objects of its own, and finds out whether S3 heeds `If-None-Match`.
 * @throws StorageUnusableError with one sentence for the operator
 */
export async function proveUsable(bucket: Bucket, options: S3Options): Promise<void> {
  const upload = newUploadName(`probe-${randomUUID()}`);
  const tail = tailKey(upload, newTailName(0));
  const key = keyOf(upload);
  const bytes = Buffer.from('Berth was here.\n');
  const tellTheBytes = async (answer: Promise<Answer>, expected: Buffer): Promise<void> => {
    const read = Buffer.alloc(expected.length);
    await readInto(read, await answer);
    if (!read.equals(expected)) throw new Error('an object reads back other bytes than were written');
  };
  const steps: readonly (readonly [what: string, permission: string, step: () => Promise<unknown>])[] = [
    ['write objects', 's3:PutObject', () => bucket.put(tail, bytes)],
    ['read objects', 's3:GetObject', () => tellTheBytes(bucket.get(tail, { start: 0, length: bytes.length }), bytes)],
    [
      'read ranges of objects',
      's3:GetObject',
      () => tellTheBytes(bucket.get(tail, { start: 6, length: 3 }), bytes.subarray(6, 9)),
    ],
    ['list objects', 's3:ListBucket', () => findInList(bucket, tailsOf(upload))],
    [
      'upload objects in parts',
      's3:PutObject, s3:AbortMultipartUpload',
      async () => bucket.abortMultipart(key, await bucket.createMultipart(key)),
    ],
    ['delete objects', 's3:DeleteObject', () => deleteForGood(bucket, tail)],
  ];
  let doing = steps[0]!;
  try {
    for (const step of steps) {
      doing = step;
      await step[2]();
    }
    bucket.isConditional = await heedsConditions(bucket, key, bytes);
  } catch (error) {
    await bucket.delete(tail).catch(() => undefined);
    throw new StorageUnusableError(sentence(error, options, doing[0], doing[1]), { cause: error });
  }
}

async function findInList(bucket: Bucket, prefix: string): Promise<void> {
  for await (const { key } of bucket.list(prefix)) if (key.startsWith(prefix)) return;
  throw new Error('an object that was just written is not listed');
}

async function deleteForGood(bucket: Bucket, key: string): Promise<void> {
  await bucket.delete(key);
  if ((await bucket.sizeOf(key)) !== undefined) throw new Error('an object that was deleted is still there');
}

/** Whether a second write to one key is refused when it asks for that. */
async function heedsConditions(bucket: Bucket, key: string, bytes: Buffer): Promise<boolean> {
  bucket.isConditional = true;
  try {
    await bucket.put(key, bytes, { ifAbsent: true });
    return !(await bucket.put(key, bytes, { ifAbsent: true }));
  } catch (error) {
    if (isUnavailable((error as Error).cause)) throw error;
    // S3 knows no such condition.
    return false;
  } finally {
    await bucket.delete(key);
  }
}

function sentence(error: unknown, options: S3Options, what: string, permission: string): string {
  const { bucket, region, endpoint } = options;
  const server = endpoint === undefined ? `Amazon S3 in ${region}` : `the S3 server at ${endpoint.origin}`;
  const code = codeOf(error);
  switch (code) {
    case 'NoSuchBucket':
      return `${capital(server)} has no bucket ${bucket}: make it, or set BERTH_S3_BUCKET to another.`;
    case 'NotFound':
      return `${capital(server)} does not know the bucket ${bucket} or what is in it: check BERTH_S3_BUCKET, BERTH_S3_ENDPOINT and BERTH_S3_FORCE_PATH_STYLE.`;
    case 'CredentialsProviderError':
      return `There are no credentials for ${server}: set BERTH_S3_ACCESS_KEY_ID and BERTH_S3_SECRET_ACCESS_KEY, or what the AWS SDK looks for.`;
    case 'InvalidAccessKeyId':
    case 'SignatureDoesNotMatch':
    case 'ExpiredToken':
    case 'InvalidToken':
      return `${capital(server)} does not accept the credentials (${code}): check BERTH_S3_ACCESS_KEY_ID and BERTH_S3_SECRET_ACCESS_KEY.`;
    case 'AccessDenied':
    case 'Forbidden':
      return `Berth may not ${what} in the bucket ${bucket} of ${server}: its credentials need ${permission}.`;
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
      return `The bucket ${bucket} is not in the region ${region}: set BERTH_S3_REGION to its own.`;
    case 'RequestTimeTooSkewed':
      return `The clocks of this machine and of ${server} differ too much: set them right.`;
  }
  if (error instanceof Error && isUnavailable(error.cause ?? error))
    return `${capital(server)} cannot be reached (${code}): check BERTH_S3_ENDPOINT, or try again later.`;
  if (error instanceof ObjectMissingError)
    return `${capital(server)} cannot hold the blobs: what Berth wrote to the bucket ${bucket} is not there.`;
  return `The bucket ${bucket} of ${server} cannot hold the blobs, since Berth cannot ${what}: ${reasonOf(error)}.`;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
