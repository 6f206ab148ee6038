/** The closing PUT of an upload, asked again by who never heard its answer. */
import supertest from 'supertest';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { randomContent } from '../support/images.ts';
import { closeUpload, openUpload, sendChunk } from '../support/uploads.ts';

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
});
afterAll(() => berth.stop());

const name = 'acme/again';
const blob = randomContent();

/** The path of a session that has become the blob. */
async function endedUpload(): Promise<string> {
  const session = await openUpload(admin, name);
  await sendChunk(admin, session, blob.bytes);
  expect((await closeUpload(admin, session, blob.digest)).status).toBe(201);
  return session;
}

test('is answered as it was', async () => {
  const session = await endedUpload();
  const again = await closeUpload(admin, session, blob.digest);
  expect(again.status).toBe(201);
  expect(again.headers['docker-content-digest']).toBe(blob.digest);
  expect((await admin.request('head', again.headers['location']!)).status).toBe(200);
});

test('is 404 when it names another blob, another repository, or no session that can be', async () => {
  const session = await endedUpload();
  const other = randomContent();
  await admin.pushBlob('acme/elsewhere', other);
  expect((await closeUpload(admin, session, other.digest)).status).toBe(404);
  expect((await closeUpload(admin, session.replace(name, 'acme/nothing'), blob.digest)).status).toBe(404);
  expect((await closeUpload(admin, `/v2/${name}/blobs/uploads/1`, blob.digest)).status).toBe(404);
});

test('tells nobody of a blob whose token is not for pulling', async () => {
  const session = await endedUpload();
  const put = async (actions: string): Promise<number> => {
    const token = await tokenFor(berth.url, [`repository:${name}:${actions}`], berth.admin);
    const answer = await supertest(berth.url)
      .put(session)
      .query({ digest: blob.digest })
      .set('Authorization', `Bearer ${token}`);
    return answer.status;
  };
  expect(await put('push')).toBe(404);
  expect(await put('pull,push')).toBe(201);
});
