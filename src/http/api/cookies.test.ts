import { describe, expect, test } from 'vitest';
import { createSecret } from '../../access/secrets.ts';
import { ApiError } from '../../oci/problem.ts';
import { clearSessionCookie, readSessionCookie, setSessionCookie } from './cookies.ts';

describe.each([true, false])('the session cookie (secure: %s)', (secure) => {
  const name = secure ? '__Host-berth_session' : 'berth_session';

  test('brings back the secret that was set', () => {
    const { text } = createSecret();
    const [pair] = setSessionCookie(text, { secure, maxAgeSeconds: 60 }).split(';');
    expect(readSessionCookie(`theme=dark; ${pair}; other=1`, secure)).toBe(text);
  });

  test.each([
    [undefined, null],
    ['', null],
    ['other=1', null],
    [`${name}=`, null],
    [`${name}="quoted"`, null],
    [`${name}=with space`, null],
    [`${name}=${'x'.repeat(257)}`, null],
    [`x${name}=a`, null],
    [`${name.toUpperCase()}=a`, null],
    [`${name}=a;`, 'a'],
    [`  ${name}=a  `, 'a'],
  ])('%s holds %s', (header, secret) => {
    expect(readSessionCookie(header, secure)).toBe(secret);
  });

  test('is refused when it is there twice', () => {
    for (const header of [`${name}=a; ${name}=b`, `${name}=a;${name}=a`, `${name}=; ${name}=a`])
      expect(() => readSessionCookie(header, secure)).toThrow(ApiError);
  });

  test('of the other scheme does not count', () => {
    expect(readSessionCookie(secure ? 'berth_session=a' : '__Host-berth_session=a', secure)).toBeNull();
  });

  test('goes to no script, no other site and no other host', () => {
    const set = [setSessionCookie('a', { secure, maxAgeSeconds: 60 }), clearSessionCookie(secure)];
    for (const header of set) {
      const attributes = header.split('; ').slice(1);
      expect(attributes).toEqual(expect.arrayContaining(['Path=/', 'HttpOnly', 'SameSite=Lax']));
      expect(attributes.includes('Secure')).toBe(secure);
      expect(header).not.toMatch(/domain/i);
    }
  });

  test.each(['', 'a;b', 'a b', 'a\r\nSet-Cookie: x=1'])('takes no secret %j that would end the header', (secret) => {
    expect(() => setSessionCookie(secret, { secure, maxAgeSeconds: 60 })).toThrow(TypeError);
  });
});
