/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';

let berth: TestBerth;
beforeAll(async () => {
  berth = await startTestBerth();
});
afterAll(() => berth.stop());

// "If the manifest is not found in the repository, the response code MUST be 404 Not Found": what cannot be a tag is none.
test.each(['get', 'head'] as const)('%s of what cannot be a tag is answered 404', async (method) => {
  const admin = clientOf(berth.url, berth.admin);
  await admin.pushImage('acme/app', 'v1', makeImage());
  const answer = await admin.request(method, '/v2/acme/app/manifests/.INVALID_MANIFEST_NAME');
  expect(answer.status).toBe(404);
  if (method === 'get')
    expect(answer.body).toEqual({
      errors: [
        {
          code: 'MANIFEST_UNKNOWN',
          message: expect.stringContaining('".INVALID_MANIFEST_NAME" is not a tag') as string,
          detail: { tag: '.INVALID_MANIFEST_NAME' },
        },
      ],
    });
});

test('a push to what cannot be a tag is answered 400', async () => {
  const image = makeImage();
  const answer = await clientOf(berth.url, berth.admin)
    .request('put', '/v2/acme/app/manifests/.INVALID_MANIFEST_NAME')
    .set('Content-Type', image.mediaType)
    .send(image.bytes.toString());
  expect(answer.status).toBe(400);
});
