import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RegistryError } from '../../oci/errors.ts';
import { addressOf, parseRoute, type Route } from './routes.ts';

/** Components that look like routes are names too: `a/blobs/uploads` is somebody's repository. */
const component = fc.oneof(
  fc.stringMatching(/^[a-z0-9]+([._-][a-z0-9]+)*$/).filter((text) => text.length <= 30),
  fc.constantFrom('blobs', 'uploads', 'manifests', 'tags', 'list', 'referrers', 'v2', 'catalog'),
);
const name = fc.array(component, { minLength: 1, maxLength: 6 }).map((components) => components.join('/'));
const digest = fc.stringMatching(/^[0-9a-f]{64}$/).map((hex) => `sha256:${hex}`);
const tag = fc.oneof(
  fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/),
  fc.constantFrom('list', 'uploads', 'latest', 'blobs'),
);

function expectBack(address: string, route: Route): void {
  expect(parseRoute(address)).toEqual(route);
}

describe('an address that was built is read as what it was built from', () => {
  test('manifests', () => {
    fc.assert(
      fc.property(name, fc.oneof(tag, digest), (of, reference) =>
        expectBack(addressOf.manifest(of, reference), { kind: 'manifest', name: of, reference }),
      ),
    );
  });

  test('blobs', () => {
    fc.assert(
      fc.property(name, digest, (of, reference) =>
        expectBack(addressOf.blob(of, reference), { kind: 'blob', name: of, reference }),
      ),
    );
  });

  test('referrers', () => {
    fc.assert(
      fc.property(name, digest, (of, reference) =>
        expectBack(addressOf.referrers(of, reference), { kind: 'referrers', name: of, reference }),
      ),
    );
  });

  test('uploads', () => {
    fc.assert(
      fc.property(name, fc.uuid(), (of, id) => {
        expectBack(addressOf.upload(of, id), { kind: 'upload', name: of, id });
        expectBack(`/v2/${of}/blobs/uploads/`, { kind: 'uploads', name: of });
        expectBack(`/v2/${of}/blobs/uploads`, { kind: 'uploads', name: of });
      }),
    );
  });

  test('tags', () => {
    fc.assert(fc.property(name, (of) => expectBack(addressOf.tags(of), { kind: 'tags', name: of })));
  });

  test('a digest whose colon is encoded', () => {
    fc.assert(
      fc.property(name, digest, (of, reference) =>
        expectBack(addressOf.blob(of, reference.replace(':', '%3A')), { kind: 'blob', name: of, reference }),
      ),
    );
  });
});

test.each(['/v2', '/v2/'])('%s is the base', (path) => expectBack(path, { kind: 'base' }));
test('the catalog', () => expectBack(addressOf.catalog, { kind: 'catalog' }));

test.each([
  '/',
  '/v1/',
  '/v2/a',
  '/v2/a/b/c',
  '/v2/manifests/v1',
  '/v2/a/manifests/%',
  '/v2/a/uploads/x',
  '/v3/a/tags/list',
])('%s is no address', (path) => {
  expect(() => parseRoute(path)).toThrow(expect.objectContaining({ kind: 'routeUnknown' }));
});

test('any path at all is an address, or refused as none', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        expect(parseRoute(`/v2/${text}`).kind).toMatch(/^[a-z]+$/);
      } catch (error) {
        expect(error).toBeInstanceOf(RegistryError);
      }
    }),
  );
});
