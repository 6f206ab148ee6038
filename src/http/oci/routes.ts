/**
 * The one table of the data plane's routes.
 * https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints
 *
 * Repository names hold slashes, and may hold the words of the routes (`a/blobs/manifests/latest`); so a path is read from
 * its end, where the spec's routes cannot be mistaken for each other.
 */
import { RegistryError } from '../../oci/errors.ts';

/** Where a request goes. `name`, `reference` and `id` are as sent: the handlers parse them. */
export type Route =
  | { readonly kind: 'base' | 'catalog' }
  | { readonly kind: 'uploads' | 'tags'; readonly name: string }
  | { readonly kind: 'upload'; readonly name: string; readonly id: string }
  | { readonly kind: 'blob' | 'manifest' | 'referrers'; readonly name: string; readonly reference: string };

export type RouteKind = Route['kind'];

const routeUnknown = (path: string): RegistryError =>
  new RegistryError('routeUnknown', { message: `no such address in the registry API: ${printable(path)}` });

/**
 * @param path the path of the request as sent, without its query
 * @throws RegistryError `routeUnknown`; `nameInvalid` for what is a route, but for a name that cannot be one
 */
export function parseRoute(path: string): Route {
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  if (path === '/v2/_catalog') return { kind: 'catalog' };
  if (!path.startsWith('/v2/')) throw routeUnknown(path);
  const rest = path.slice('/v2/'.length);
  for (const ending of ['/blobs/uploads/', '/blobs/uploads']) {
    if (rest.endsWith(ending)) return { kind: 'uploads', name: rest.slice(0, -ending.length) };
  }
  if (rest.endsWith('/tags/list')) return { kind: 'tags', name: rest.slice(0, -'/tags/list'.length) };
  const last = rest.lastIndexOf('/');
  const before = rest.lastIndexOf('/', last - 1);
  if (last <= 0 || before <= 0) throw routeUnknown(path);
  const name = rest.slice(0, before);
  const reference = decoded(rest.slice(last + 1), path);
  switch (rest.slice(before + 1, last)) {
    case 'manifests':
      return { kind: 'manifest', name, reference };
    case 'blobs':
      return { kind: 'blob', name, reference };
    case 'referrers':
      return { kind: 'referrers', name, reference };
    case 'uploads':
      if (name.endsWith('/blobs')) return { kind: 'upload', name: name.slice(0, -'/blobs'.length), id: reference };
      throw routeUnknown(path);
    default:
      throw routeUnknown(path);
  }
}

/** Some clients send the colon of a digest as %3A. Names are taken as sent: their grammar has nothing to encode. */
function decoded(segment: string, path: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    throw routeUnknown(path);
  }
}

function printable(path: string): string {
  const text = path.replace(/[^\x20-\x7e]/g, '?');
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

/** Addresses in answers. Names, tags, digests and ids need no encoding: their grammars see to that. */
export const addressOf = {
  blob: (name: string, digest: string): string => `/v2/${name}/blobs/${digest}`,
  manifest: (name: string, reference: string): string => `/v2/${name}/manifests/${reference}`,
  upload: (name: string, id: string): string => `/v2/${name}/blobs/uploads/${id}`,
  tags: (name: string): string => `/v2/${name}/tags/list`,
  referrers: (name: string, digest: string): string => `/v2/${name}/referrers/${digest}`,
  catalog: '/v2/_catalog',
};
