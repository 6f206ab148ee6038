import fc from 'fast-check';
import { TOTP, URI } from 'otpauth';
import { describe, expect, test } from 'vitest';
import { createRecoveryCodes, createTotpSecret, hashOfRecoveryCode, totpUri, verifyTotp } from './totp.ts';

const stepMs = 30_000;

describe('a code of an authenticator app', () => {
  /** '12345678901234567890' in base32. */
  const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

  // https://www.rfc-editor.org/rfc/rfc6238#appendix-B, the rows of SHA-1: time in seconds, step, eight digits.
  test.each([
    [59, 0x1, '94287082'],
    [1_111_111_109, 0x23523ec, '07081804'],
    [1_111_111_111, 0x23523ed, '14050471'],
    [1_234_567_890, 0x273ef07, '89005924'],
    [2_000_000_000, 0x3f940aa, '69279037'],
    [20_000_000_000, 0x27bc86aa, '65353130'],
  ])('is known at second %d of RFC 6238, by the last six of its digits', (seconds, step, eight) => {
    expect(verifyTotp({ code: eight.slice(2), secret, lastStep: null }, seconds * 1000)).toBe(step);
  });

  const nowMs = 1_900_000_000_000;
  const now = Math.floor(nowMs / stepMs);
  const codeOf = (step: number): string =>
    TOTP.generate({ secret: new TOTP({ secret }).secret, timestamp: step * stepMs });

  test('is accepted one step early and one step late, not two', () => {
    const found = [-2, -1, 0, 1, 2].map((delta) =>
      verifyTotp({ code: codeOf(now + delta), secret, lastStep: null }, nowMs),
    );
    expect(found).toEqual([null, now - 1, now, now + 1, null]);
  });

  test('is not accepted twice, nor one from before the last', () => {
    const verify = (step: number, lastStep: number) => verifyTotp({ code: codeOf(step), secret, lastStep }, nowMs);
    expect(verify(now, now)).toBeNull();
    expect(verify(now - 1, now)).toBeNull();
    expect(verify(now + 1, now)).toBe(now + 1);
    expect(verify(now, now - 1)).toBe(now);
  });

  test('may be typed as apps show it, in two groups', () => {
    const code = codeOf(now);
    expect(verifyTotp({ code: ` ${code.slice(0, 3)} ${code.slice(3)}\n`, secret, lastStep: null }, nowMs)).toBe(now);
  });

  test('anything else is refused, without an error', () => {
    const eight = TOTP.generate({ secret: new TOTP({ secret }).secret, timestamp: nowMs, digits: 8 });
    for (const code of ['', '12345', eight, '١٢٣٤٥٦', 'abcdef', '-12345', '1e1000'])
      expect(verifyTotp({ code, secret, lastStep: null }, nowMs)).toBeNull();
    fc.assert(
      fc.property(fc.string(), (code) => /^\d{6}$/.test(code) || verifyTotp({ code, secret, lastStep: null }) === null),
    );
  });

  test('of another account is none of this one', () => {
    const mine = createTotpSecret();
    const theirs = createTotpSecret();
    expect(mine).not.toBe(theirs);
    const valid = new Set(
      [-1, 0, 1].map((delta) => new TOTP({ secret: mine }).generate({ timestamp: (now + delta) * stepMs })),
    );
    const code = new TOTP({ secret: theirs }).generate({ timestamp: nowMs });
    expect(verifyTotp({ code, secret: mine, lastStep: null }, nowMs) !== null).toBe(valid.has(code));
  });
});

describe('what an app scans', () => {
  test('holds the secret, the issuer and the account, and makes the codes that are accepted', () => {
    const secret = createTotpSecret();
    expect(secret).toMatch(/^[A-Z2-7]{32}$/);
    const uri = totpUri({ secret, issuer: 'hub.example', account: 'ada' });
    expect(uri).toMatch(/^otpauth:\/\/totp\/hub\.example:ada\?/);
    const scanned = URI.parse(uri) as TOTP;
    expect(scanned).toMatchObject({ issuer: 'hub.example', label: 'ada', digits: 6, period: 30, algorithm: 'SHA1' });
    const nowMs = Date.now();
    expect(verifyTotp({ code: scanned.generate({ timestamp: nowMs }), secret, lastStep: null }, nowMs)).toBe(
      Math.floor(nowMs / stepMs),
    );
  });

  test('is one URI with these names and no more, whatever they are', () => {
    const secret = createTotpSecret();
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (issuer, account) => {
        const url = new URL(totpUri({ secret, issuer, account }));
        expect([...url.searchParams.keys()].toSorted()).toEqual(['algorithm', 'digits', 'issuer', 'period', 'secret']);
        expect(url.searchParams.get('secret')).toBe(secret);
        expect(url.searchParams.get('issuer')).toBe(issuer.replaceAll(':', ' '));
        expect(url.pathname.split(':')).toHaveLength(2);
      }),
    );
  });
});

describe('recovery codes', () => {
  test('are ten, all different, of at least 80 bits, and found again by their hash', () => {
    const codes = createRecoveryCodes();
    expect(codes).toHaveLength(10);
    expect(new Set(codes.map(({ text }) => text)).size).toBe(10);
    expect(new Set(codes.map(({ hash }) => hash)).size).toBe(10);
    for (const { text, hash } of codes) {
      expect(text).toMatch(/^[0-9a-hjkmnp-tv-z]{5}(-[0-9a-hjkmnp-tv-z]{5}){3}$/);
      expect(hash).toMatch(/^[0-9a-f]{64}$/);
      expect(hashOfRecoveryCode(text)).toBe(hash);
    }
  });

  test('are known however they are typed', () => {
    const hash = hashOfRecoveryCode('01abc-defgh-jkmnp-qrstv');
    for (const typed of [
      '01ABC-DEFGH-JKMNP-QRSTV',
      ' 01abc defgh jkmnp qrstv\n',
      '01abcdefghjkmnpqrstv',
      '01abc–defgh—jkmnp‑qrstv',
      'Olabc-defgh-jkmnp-qrstv',
      'oIabc-defgh-jkmnp-qrstv',
    ])
      expect(hashOfRecoveryCode(typed)).toBe(hash);
    for (const other of ['', '01abc-defgh-jkmnp-qrst', '01abc-defgh-jkmnp-qrstw', '01abc.defgh.jkmnp.qrstv'])
      expect(hashOfRecoveryCode(other)).not.toBe(hash);
  });
});
