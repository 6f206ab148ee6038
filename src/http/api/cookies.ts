/** The session cookie of browsers. */
import { ApiError } from '../../oci/problem.ts';

/** `__Host-` binds a cookie to https, to this host and to the whole site, and browsers enforce it (RFC 6265bis section 4.1.3.2). */
const nameOf = (secure: boolean): string => (secure ? '__Host-berth_session' : 'berth_session');

const secretPattern = /^[A-Za-z0-9_-]{1,256}$/;

/**
 * The secret in a `Cookie` header; null when there is none, or nothing that can be one.
 * @param secure whether the request came by https: the cookie has another name there
 * @throws ApiError `invalid` when the cookie is there twice: one of them was planted by somebody else
 */
export function readSessionCookie(header: string | undefined, secure: boolean): string | null {
  if (header === undefined) return null;
  const name = nameOf(secure);
  const values = header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  if (values.length > 1)
    throw new ApiError('invalid', `the cookie ${name} is there ${values.length} times`, {
      errors: [{ path: 'header.Cookie', message: 'one session at most' }],
      next: 'Delete the cookies of this site and sign in again.',
    });
  const [value] = values;
  return value !== undefined && secretPattern.test(value) ? value : null;
}

/** A `Set-Cookie` header that begins a session. @throws TypeError when the secret could not be read back */
export function setSessionCookie(secret: string, options: { secure: boolean; maxAgeSeconds: number }): string {
  if (!secretPattern.test(secret)) throw new TypeError('a session secret must be letters, digits, dashes, underscores');
  return cookie(secret, options.secure, options.maxAgeSeconds);
}

/** A `Set-Cookie` header that ends it. */
export function clearSessionCookie(secure: boolean): string {
  return cookie('', secure, 0);
}

function cookie(value: string, secure: boolean, maxAgeSeconds: number): string {
  const attributes = [`Max-Age=${maxAgeSeconds}`, 'Path=/', 'HttpOnly', 'SameSite=Lax', ...(secure ? ['Secure'] : [])];
  return [`${nameOf(secure)}=${value}`, ...attributes].join('; ');
}
