/** Names of accounts and organizations: the first component of repository names, and of the page's addresses. */
import { RegistryError } from '../oci/errors.ts';
import { parseRepositoryName } from '../oci/reference.ts';

export const accountNameLengthMax = 64;

/** First words of the page's and the API's addresses, and words that would mislead. Nobody gets them by asking. */
const reservedNames = new Set([
  '_', 'v1', 'v2', 'api', 'auth', 'healthz', 'readyz', 'metrics', 'assets', 'static', 'favicon.ico', 'robots.txt',
  'explore', 'search', 'suggest', 'settings', 'admin', 'sign-in', 'sign-up', 'sign-out', 'login', 'logout', 'register',
  'new', 'help', 'docs', 'about', 'status', 'tags', 'compare', 'members', 'webhooks', 'teams', 'token', 'tokens', 'session',
  'users', 'user', 'invitations', 'organizations', 'namespaces', 'repositories', 'anonymous', 'root', 'system', 'berth',
]); // prettier-ignore

export function isReservedName(name: string): boolean {
  return reservedNames.has(name);
}

/** Whether a text can be the name of an account or an organization at all. */
export function isAccountName(text: string): boolean {
  if (text.length > accountNameLengthMax || text.includes('/')) return false;
  try {
    parseRepositoryName(text);
    return true;
  } catch (error) {
    if (error instanceof RegistryError) return false;
    throw error;
  }
}
