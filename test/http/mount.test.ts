/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { getBytes, pathOf } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { content, randomContent, type Content } from '../support/images.ts';
import { closeUpload } from '../support/uploads.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const target = 'acme/target';
const mount = (digest: string, from?: string): string =>
  `/v2/${target}/blobs/uploads/?mount=${digest}${from === undefined ? '' : `&from=${from}`}`;

async function expectHas(blob: Content, has: boolean): Promise<void> {
  const pulled = await getBytes(admin, `/v2/${target}/blobs/${blob.digest}`);
  expect(pulled.status).toBe(has ? 200 : 404);
  if (has) expect(blob.bytes.equals(pulled.body)).toBe(true);
}

describe('Mounting a blob from another repository', () => {
  const bytes = randomContent(3000).bytes;
  test.each([
    ['a sha256 blob', randomContent(3000)],
    ['a sha512 blob', { bytes, digest: digestOf(bytes, 'sha512') }],
    ['an empty blob', content('')],
  ])('201 with a Location from which the blob can be pulled: %s', async (_, blob) => {
    await admin.pushBlob('acme/source', blob);
    await expectHas(blob, false);
    const answer = await admin.request('post', mount(blob.digest, 'acme/source'));
    expect(answer.status).toBe(201);
    expect(answer.headers['docker-content-digest']).toBe(blob.digest);
    expect(pathOf(answer.headers['location'])).toBe(`/v2/${target}/blobs/${blob.digest}`);
    await expectHas(blob, true);
  });

  test('the source keeps its blob, and deleting it there does not take it away here', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/source', blob);
    await admin.request('post', mount(blob.digest, 'acme/source'));
    expect((await admin.request('delete', `/v2/acme/source/blobs/${blob.digest}`)).status).toBe(202);
    await expectHas(blob, true);
  });

  test('a blob may be mounted again, and from its own repository', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/source', blob);
    for (const from of ['acme/source', 'acme/source', target])
      expect((await admin.request('post', mount(blob.digest, from))).status).toBe(201);
  });

  test('without "from" a blob is mounted from wherever the caller may read it', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/anywhere', blob);
    expect((await admin.request('post', mount(blob.digest))).status).toBe(201);
    await expectHas(blob, true);
  });

  test.each([
    ['the source does not have the blob', 'acme/source', false],
    ['the source does not exist', 'acme/absent', true],
    ['the source is no name', 'NOT%20A%20NAME', true],
    ['nobody has the blob', undefined, false],
  ])('202 opens a session instead when %s', async (_, from, pushed) => {
    const blob = randomContent();
    await admin.pushBlob('acme/source', randomContent());
    if (pushed) await admin.pushBlob('acme/source', blob);
    const answer = await admin.request('post', mount(blob.digest, from));
    expect(answer.status).toBe(202);
    await expectHas(blob, false);
    const closed = await closeUpload(admin, pathOf(answer.headers['location']), blob.digest, blob.bytes);
    expect(closed.status).toBe(201);
    await expectHas(blob, true);
  });

  test('a source that the caller may not read is answered like one that is not there', async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/secret', blob);
    const zoe = clientOf(berth.url, await berth.addUser('zoe'));
    for (const query of [`?mount=${blob.digest}&from=acme/secret`, `?mount=${blob.digest}`]) {
      const answer = await zoe.request('post', `/v2/zoe/own/blobs/uploads/${query}`);
      expect(answer.status).toBe(202);
      expect(answer.headers['docker-content-digest']).toBeUndefined();
    }
  });

  test("the source's right is the account's, not that of the token's scopes", async () => {
    const blob = randomContent();
    await admin.pushBlob('acme/source', blob);
    const token = await tokenFor(berth.url, [`repository:${target}:pull,push`], berth.admin);
    const answer = await clientOf(berth.url)
      .request('post', mount(blob.digest, 'acme/source'))
      .auth(token, { type: 'bearer' });
    expect(answer.status).toBe(201);
  });
});
