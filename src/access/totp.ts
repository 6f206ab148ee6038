/**
 * The second factor: codes that change with time (RFC 6238, as every authenticator app makes them: SHA-1, six digits,
 * thirty seconds), and recovery codes for whoever lost the app.
 */
import { randomInt } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';
import { hashOfSecret } from './secrets.ts';

/** Apps know these defaults best; some ignore any others: https://github.com/google/google-authenticator/wiki/Key-Uri-Format */
const algorithm = 'SHA1';
const digits = 6;
const periodSeconds = 30;
/** Steps before and after the present one that are accepted, for clocks that are off and people who type slowly. */
const window = 1;
/** 160 bits, as https://www.rfc-editor.org/rfc/rfc4226#section-4 (R6) recommends. */
const secretBytes = 20;

const codePattern = /^\d{6}$/;

/** A new shared secret in base32, as it is kept and as it is typed into an app that cannot scan. */
export function createTotpSecret(): string {
  return new Secret({ size: secretBytes }).base32;
}

/**
 * What an app scans: an `otpauth://` URI that holds the secret. Where it is shown it must not be cached or logged.
 * @param issuer the registry's name, which the app shows beside the account's. The format has no place for a colon in either.
 */
export function totpUri({ secret, issuer, account }: Record<'secret' | 'issuer' | 'account', string>): string {
  const plain = (text: string): string => text.replaceAll(':', ' ');
  return totp(secret, { issuer: plain(issuer), label: plain(account) }).toString();
}

/**
 * The time step whose code this is, among the present one and its two neighbours; null when it is none of them, or not
 * after `lastStep`, the step of the last code that was accepted: none is accepted twice
 * (https://www.rfc-editor.org/rfc/rfc6238#section-5.2). The caller keeps the step in the transaction that lets somebody in,
 * under a condition that only a later step fulfils, or two requests with one code would both get in.
 */
export function verifyTotp(
  { code, secret, lastStep }: { code: string; secret: string; lastStep: number | null },
  nowMs = Date.now(),
): number | null {
  const token = code.replaceAll(/\s/g, '');
  if (!codePattern.test(token)) return null;
  const delta = totp(secret).validate({ token, timestamp: nowMs, window });
  if (delta === null) return null;
  const step = TOTP.counter({ period: periodSeconds, timestamp: nowMs }) + delta;
  return lastStep === null || step > lastStep ? step : null;
}

function totp(secret: string, names: { issuer?: string; label?: string } = {}): TOTP {
  return new TOTP({ ...names, secret, algorithm, digits, period: periodSeconds });
}

const recoveryCodeCount = 10;
/** Crockford's base32, which has no I, L, O and U: https://www.crockford.com/base32.html */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const groups = 4;
const groupLength = 5;

export interface RecoveryCode {
  /** Shown once: `xxxxx-xxxxx-xxxxx-xxxxx`, 100 random bits. */
  readonly text: string;
  /** What is kept. */
  readonly hash: string;
}

/** Ten codes, each of which replaces the app once. */
export function createRecoveryCodes(): RecoveryCode[] {
  return Array.from({ length: recoveryCodeCount }, () => {
    const text = Array.from({ length: groups }, randomGroup).join('-');
    return { text, hash: hashOfRecoveryCode(text) };
  });
}

function randomGroup(): string {
  return Array.from({ length: groupLength }, () => alphabet[randomInt(alphabet.length)]).join('');
}

/** The hash under which a code is kept, of whatever way a person typed it: case, spaces, dashes, an `o` for a zero. */
export function hashOfRecoveryCode(typed: string): string {
  const code = typed
    .toLowerCase()
    .replaceAll(/[\s\p{Pd}]/gu, '')
    .replaceAll('o', '0')
    .replaceAll(/[il]/g, '1');
  return hashOfSecret(code);
}
