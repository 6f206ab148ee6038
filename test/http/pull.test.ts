import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
describe('pulling manifests', () => {
  test('a GET by tag and by digest gives the bytes exactly as pushed, and their digest', async () => {
    const image = makeImage();
    await admin.pushImage('acme/pull', 'v1', image);
    for (const reference of ['v1', image.digest]) {
      const answer = await admin.request('get', `/v2/acme/pull/manifests/${reference}`).buffer(true);
      expect(answer.status).toBe(200);
      expect(answer.text).toBe(image.bytes.toString());
      expect(answer.headers).toMatchObject({
        'docker-content-digest': image.digest,
        'content-type': image.mediaType,
        'content-length': String(image.bytes.length),
        etag: `"${image.digest}"`,
      });
    }
  });

  test('a bearer token for the repository does as well as a password', async () => {
    const image = makeImage();
    await admin.pushImage('acme/bearer', 'v1', image);
    const token = await tokenFor(berth.url, ['repository:acme/bearer:pull'], berth.admin);
    const answer = await clientOf(berth.url)
      .request('head', '/v2/acme/bearer/manifests/v1')
      .auth(token, { type: 'bearer' });
    expect(answer.status).toBe(200);
  });
});
