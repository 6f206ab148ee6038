/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#content-discovery */
import { enforce } from '../../access/enforce.ts';
import { UnauthorizedError } from '../../access/errors.ts';
import { decide, type Subject } from '../../access/policy.ts';
import { scopesCover, type Scope } from '../../access/scopes.ts';
import { parseDigest } from '../../oci/digest.ts';
import { RegistryError } from '../../oci/errors.ts';
import { isValidMediaType, mediaTypes } from '../../oci/media-types.ts';
import { quote } from '../../oci/quote.ts';
import { parseRepositoryName, type RepositoryName } from '../../oci/reference.ts';
import { authorize, callerOf, existing, type DataPlane } from './data-plane.ts';
import { originOf, parameter, send, sendJson, type Exchange } from './exchange.ts';
import { nextLink, pageSize } from './pages.ts';
import { addressOf } from './routes.ts';

/** end-8: the tags of a repository, in byte order. */
export async function listTags(plane: DataPlane, exchange: Exchange, route: { name: string }): Promise<void> {
  const name = parseRepositoryName(route.name);
  const limit = pageSize(exchange.query, plane.limits.pageSizeMax);
  const last = parameter(exchange.query, 'last') ?? '';
  const { standing } = await authorize(plane, exchange, name, 'pull');
  const repositoryId = existing(standing, name);
  // `n=0` is an empty list without a link, as the spec has it.
  const page =
    limit === 0 ? { entries: [], more: false } : await plane.listings.tags(repositoryId, withoutNul(last), limit);
  const link = page.more
    ? nextLink(exchange, addressOf.tags(name), { n: String(limit), last: page.entries.at(-1)! })
    : {};
  sendJson(exchange, 200, link, { name, tags: page.entries });
}

/** end-12: the manifests whose subject this digest is. Never 404: an unknown digest has no referrers. */
export async function listReferrers(
  plane: DataPlane,
  exchange: Exchange,
  route: { name: string; reference: string },
): Promise<void> {
  const name = parseRepositoryName(route.name);
  const digest = parseDigest(route.reference);
  const limit = Math.max(1, pageSize(exchange.query, plane.limits.pageSizeMax));
  const artifactType = parameter(exchange.query, 'artifactType');
  if (artifactType !== null && !isValidMediaType(artifactType)) {
    throw new RegistryError('parameterInvalid', {
      message: `the artifactType ${quote(artifactType)} is not a media type`,
    });
  }
  const lastText = parameter(exchange.query, 'last');
  const last = lastText === null ? null : parseDigest(lastText);
  const repositoryId = await readableRepository(plane, exchange, name);
  const options = { artifactType, last, limit, bytesMax: plane.limits.referrersPageBytesMax };
  const page =
    repositoryId === null
      ? { entries: [], more: false }
      : await plane.listings.referrers(repositoryId, digest, options);
  const next = {
    n: String(limit),
    last: page.entries.at(-1)?.digest ?? '',
    ...(artifactType !== null && { artifactType }),
  };
  const headers = {
    'Content-Type': mediaTypes.ociIndex,
    ...(artifactType !== null && { 'OCI-Filters-Applied': 'artifactType' }),
    ...(page.more && nextLink(exchange, addressOf.referrers(name, digest), next)),
  };
  sendJson(exchange, 200, headers, { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: page.entries });
}

/** The repository if the caller may read it; null for one that is absent or hidden, which have no referrers alike. */
async function readableRepository(plane: DataPlane, exchange: Exchange, name: RepositoryName): Promise<number | null> {
  const caller = await callerOf(plane, exchange, name, 'pull');
  const standing = await plane.lookup(caller, name, 'aliases');
  const decision = decide(standing.subject, caller.scopes, name, 'pull', standing.facts);
  if (decision.outcome === 'invisible') return null;
  enforce(decision, standing.subject, name, 'pull');
  return standing.repositoryId;
}

const catalogScope: Scope = { type: 'registry', name: 'catalog', actions: ['*'] };

/** The repositories that the caller may see, in byte order. */
export async function listCatalog(plane: DataPlane, exchange: Exchange): Promise<void> {
  const limit = pageSize(exchange.query, plane.limits.pageSizeMax);
  const last = parameter(exchange.query, 'last') ?? '';
  const subject = await subjectOfCatalog(plane, exchange);
  const names = limit === 0 ? [] : await plane.catalog.list(subject, withoutNul(last), limit + 1);
  const page = names.slice(0, limit);
  const link =
    names.length > limit ? nextLink(exchange, addressOf.catalog, { n: String(limit), last: page.at(-1)! }) : {};
  sendJson(exchange, 200, link, { repositories: page });
}

async function subjectOfCatalog(plane: DataPlane, exchange: Exchange): Promise<Subject> {
  try {
    const caller = await plane.authenticator.authenticate(exchange.req.headers.authorization, () => originOf(exchange));
    const { subject } = await plane.lookup(caller, null);
    if (subject === null) throw new UnauthorizedError({ error: 'invalid_token' });
    const covered = caller.scopes === null || scopesCover(caller.scopes, 'registry', 'catalog', '*');
    if (!covered)
      throw new UnauthorizedError({
        error: 'insufficient_scope',
        message: 'the token was not made to list repositories; ask for one with this scope',
      });
    return subject;
  } catch (error) {
    throw error instanceof UnauthorizedError ? error.forScope(catalogScope) : error;
  }
}

/** end-1: whether this is a registry, and whether the caller is who it says. */
export async function getBase(plane: DataPlane, exchange: Exchange): Promise<void> {
  const caller = await plane.authenticator.authenticate(exchange.req.headers.authorization, () => originOf(exchange));
  const { subject } = await plane.lookup(caller, null);
  if (subject === null)
    throw new UnauthorizedError({ error: 'invalid_token', message: 'these credentials were revoked or have expired' });
  send(exchange, 200, { 'Content-Type': 'application/json' }, '{}');
}

/** PostgreSQL's text has no NUL; nothing listed sorts between a text and the same with what follows a NUL. */
function withoutNul(last: string): string {
  const nul = last.indexOf('\0');
  return nul < 0 ? last : last.slice(0, nul);
}
