/**
 * `GET /v2/_catalog`, which is older than the spec: https://distribution.github.io/distribution/spec/api/#listing-repositories
 * Paged as the tags are.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectErrors, pagesOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage, randomContent } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
let zoe: Client;
/** All of them, in the order of their bytes. */
const all = ['acme/a', 'acme/a-b', 'acme/a.b', 'acme/a/b', 'acme/public', 'base', 'yan/own', 'zoe/a', 'zoe/b'];
const publicOnes = ['acme/public'];

beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
  zoe = clientOf(berth.url, await berth.addUser('zoe'));
  await berth.addUser('yan');
  for (const name of all.toReversed()) await admin.pushImage(name, 'v1', makeImage());
  for (const name of publicOnes) await show(name, 'public');
});
afterAll(() => berth.stop());

async function show(name: string, visibility: 'public' | 'private'): Promise<void> {
  const answer = await admin.request('patch', `/api/v1/repositories/${name}/-`).send({ visibility });
  expect(answer.status).toBe(200);
}

async function namesOf(client: Client, path = '/v2/_catalog'): Promise<string[]> {
  const pages = await pagesOf(client, path);
  for (const page of pages) expect(page.status, page.text).toBe(200);
  return pages.flatMap(({ body }) => (body as { repositories: string[] }).repositories);
}

describe('Listing repositories', () => {
  test('in byte order, as JSON', async () => {
    const answer = await admin.request('get', '/v2/_catalog');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.body).toEqual({ repositories: all });
  });

  test.each([1, 2, 3, 4, 5, 8, 9, 10])('pages of n=%d lead through all of them, once', async (n) => {
    expect(await namesOf(admin, `/v2/_catalog?n=${n}`)).toEqual(all);
    expect(await namesOf(zoe, `/v2/_catalog?n=${n}`)).toEqual(['acme/public', 'zoe/a', 'zoe/b']);
  });

  test('n=0 is an empty list without a link', async () => {
    const answer = await admin.request('get', '/v2/_catalog?n=0');
    expect(answer.body).toEqual({ repositories: [] });
    expect(answer.headers['link']).toBeUndefined();
  });

  test('last begins behind that name, whether it is there or not', async () => {
    for (const last of ['', 'acme/a', 'acme/a-', 'acme/a.b', 'b', 'zoe/b', '~'])
      expect(await namesOf(admin, `/v2/_catalog?last=${last}`), last).toEqual(all.filter((name) => name > last));
  });

  test.each(['-1', 'abc', ''])('an n that is no whole number is 400: "%s"', async (n) => {
    expectErrors(await admin.request('get', `/v2/_catalog?n=${n}`), 400, 'UNSUPPORTED');
  });

  test('a user sees what is public and what is its own, an anonymous token only what is public', async () => {
    expect(await namesOf(zoe)).toEqual(['acme/public', 'zoe/a', 'zoe/b']);
    const token = await tokenFor(berth.url, ['registry:catalog:*']);
    const answer = await clientOf(berth.url).request('get', '/v2/_catalog').auth(token, { type: 'bearer' });
    expect(answer.body).toEqual({ repositories: publicOnes });
  });

  test('a repository that is hidden again is gone from the list of others', async () => {
    await admin.pushImage('acme/shy', 'v1', makeImage());
    await show('acme/shy', 'public');
    expect(await namesOf(zoe)).toContain('acme/shy');
    await show('acme/shy', 'private');
    expect(await namesOf(zoe)).not.toContain('acme/shy');
    await removeImages('acme/shy');
  });

  test('a repository is listed from its first manifest on, and no longer when it has none', async () => {
    await admin.pushBlob('acme/growing', randomContent());
    expect(await namesOf(admin)).not.toContain('acme/growing');
    await admin.pushImage('acme/growing', 'v1', makeImage());
    expect(await namesOf(admin)).toContain('acme/growing');
    await removeImages('acme/growing');
    expect(await namesOf(admin)).not.toContain('acme/growing');
  });

  test('without credentials it is 401 with the scope to ask for; so it is with a token made for something else', async () => {
    const token = await tokenFor(berth.url, ['repository:acme/a:pull'], berth.admin);
    const nobody = clientOf(berth.url);
    const answers = [
      await nobody.request('get', '/v2/_catalog'),
      await nobody.request('get', '/v2/_catalog').auth(token, { type: 'bearer' }),
    ];
    for (const answer of answers) {
      expectErrors(answer, 401, 'UNAUTHORIZED');
      expect(answer.headers['www-authenticate']).toContain('scope="registry:catalog:*"');
    }
    expect(answers[1]!.headers['www-authenticate']).toContain('error="insufficient_scope"');
  });

  async function removeImages(name: string): Promise<void> {
    const head = await admin.request('head', `/v2/${name}/manifests/v1`);
    await admin.request('delete', `/v2/${name}/manifests/${head.headers['docker-content-digest']}`);
  }
});
