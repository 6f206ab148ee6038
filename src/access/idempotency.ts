/**
 * The same request sent twice, created once: a client that got no answer sends its request again with the same
 * `Idempotency-Key`, and gets the first answer.
 *
 * An answer may hold a secret that is shown once (a new token). So it is kept encrypted under a key derived from the
 * client's own Idempotency-Key, of which only the SHA-256 is kept: neither the database nor a backup of it can show the
 * answer, only who sends that key again. This is as strong as the key is hard to guess; a random UUID is.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { Queryer } from '../database/pool.ts';
import { ApiError } from '../oci/problem.ts';
import { claimKey, deleteExpiredKeys, findAnswer, updateAnswer, type IdempotencyRowKey } from './sql/idempotency.ts';

/** A request that wants to be done once. */
export interface IdempotentRequest {
  /** Whose key it is: another credential with the same key is another request. */
  readonly credentialId: number;
  readonly operation: string;
  /** The header's value. */
  readonly key: string;
  /** Everything that is asked for, as text; the same key with something else is refused. */
  readonly asked: string;
}

const keyPattern = /^[\x21-\x7e]{16,255}$/;
const nonceBytes = 12;
const tagBytes = 16;
const deletedAtOnce = 1000;

/** @throws ApiError `invalid` */
export function checkIdempotencyKey(key: string): string {
  if (keyPattern.test(key)) return key;
  const message = 'must be 16 to 255 printable ASCII characters without spaces; a random UUID is a good one';
  throw new ApiError('invalid', `header.Idempotency-Key: ${message}`, {
    errors: [{ path: 'header.Idempotency-Key', message }],
  });
}

/**
 * Does the work once per key, within its transaction: the claim, the work and the answer become visible together, or not
 * at all. A second request waits at the claim until the first has committed, and gets its answer. An error of the work
 * leaves nothing behind, so that it can be tried again.
 * @param work its answer, as text
 * @throws ApiError `idempotencyKeyReused`
 */
export async function onceOnly(
  queryer: Queryer,
  request: IdempotentRequest,
  work: () => Promise<string>,
): Promise<{ answer: string; replayed: boolean }> {
  const row = { ...request, keyHash: createHash('sha256').update(request.key).digest() };
  const fingerprint = createHmac('sha256', derive(request, 'fingerprint')).update(request.asked).digest();
  if (!(await claimKey(queryer, row, fingerprint)))
    return { answer: await replay(queryer, request, row, fingerprint), replayed: true };
  const answer = await work();
  await updateAnswer(queryer, row, encrypt(answer, derive(request, 'answer')));
  return { answer, replayed: false };
}

async function replay(
  queryer: Queryer,
  request: IdempotentRequest,
  row: IdempotencyRowKey,
  fingerprint: Buffer,
): Promise<string> {
  const kept = await findAnswer(queryer, row);
  if (kept === undefined) throw new Error(`the answer of ${request.operation} behind a claimed key is not there`);
  if (!timingSafeEqual(kept.fingerprint, fingerprint))
    throw new ApiError('idempotencyKeyReused', 'this Idempotency-Key was used with another request');
  return decrypt(kept.answer, derive(request, 'answer'));
}

function derive({ key, credentialId, operation }: IdempotentRequest, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, `${credentialId} ${operation}`, `berth idempotency ${purpose}`, 32));
}

function encrypt(text: string, key: Buffer): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(bytes: Buffer, key: Buffer): string {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes));
  decipher.setAuthTag(bytes.subarray(-tagBytes));
  return decipher.update(bytes.subarray(nonceBytes, -tagBytes), undefined, 'utf8') + decipher.final('utf8');
}

/** Forgets the answers that nobody can ask for any more. @returns how many */
export async function deleteExpiredIdempotencyKeys(queryer: Queryer): Promise<number> {
  let deleted = 0;
  for (;;) {
    const went = await deleteExpiredKeys(queryer, deletedAtOnce);
    deleted += went;
    if (went < deletedAtOnce) return deleted;
  }
}
