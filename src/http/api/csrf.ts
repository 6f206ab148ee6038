/**
 * A browser sends the session cookie whoever wrote the page. So a change asked for with a cookie must show two things that
 * another site's page cannot: a token derived from the session's secret, and an origin that is ours.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { ApiError } from '../../oci/problem.ts';

/** The token that goes with a session; the page gets it by the API, never in a cookie. */
export function csrfTokenOf(sessionSecret: string): string {
  return createHmac('sha256', sessionSecret).update('berth csrf token').digest('base64url');
}

/** Where a request says that it comes from. */
export interface RequestOrigin {
  /** The headers `Origin` and `Sec-Fetch-Site`. */
  readonly origin: string | undefined;
  readonly secFetchSite: string | undefined;
  /** Our own origin, as far as it can be known. */
  readonly ownOrigin: string;
}

/** @throws ApiError `forbidden` when the request comes from another site's page. Programs send neither header. */
export function checkOrigin({ origin, secFetchSite, ownOrigin }: RequestOrigin): void {
  if (secFetchSite !== undefined && secFetchSite !== 'same-origin') throw foreign();
  if (origin !== undefined && origin !== ownOrigin) throw foreign();
}

/** @param token the header `X-CSRF-Token` @throws ApiError `forbidden` */
export function checkCsrfToken(sessionSecret: string, token: string | undefined): void {
  const expected = Buffer.from(csrfTokenOf(sessionSecret));
  const shown = Buffer.from(token ?? '');
  if (shown.length === expected.length && timingSafeEqual(shown, expected)) return;
  throw new ApiError('forbidden', 'a change within a browser session needs the X-CSRF-Token header of that session', {
    next: 'Read csrfToken from GET /api/v1/session and send it in the header X-CSRF-Token.',
  });
}

function foreign(): ApiError {
  return new ApiError('forbidden', 'this change was asked for by the page of another site', {
    next: 'Open the page at the address that BERTH_PUBLIC_URL names, or ask the administrator to set it.',
  });
}
