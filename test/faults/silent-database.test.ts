/** A database that takes what it is sent and never answers: a dead machine, a firewall that forgot, a disk that hangs. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createDatabase, type Database } from '../../src/database/pool.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, tokenFor, type Client } from '../support/client.ts';
import { createDatabaseProxy, type DatabaseProxy } from '../support/database-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callerOf, slowRequest, type Caller } from '../support/faults.ts';
import { makeImage, randomContent, type TestImage } from '../support/images.ts';

let facts: TestDatabase;
let proxy: DatabaseProxy;
let berth: TestBerth;
let call: Caller;
let admin: Client;
/** Past the proxy. */
let operator: Database;
const image: TestImage = makeImage();
const name = 'acme/silent';

beforeAll(async () => {
  facts = await createTestDatabase();
  proxy = await createDatabaseProxy(facts.connection);
  const { host } = proxy.connection;
  berth = await startTestBerth({
    BERTH_DATABASE_URL: facts.url.replace(encodeURIComponent(facts.connection.host), encodeURIComponent(host)),
    BERTH_DATABASE_CONNECT_TIMEOUT_SECONDS: '1',
    BERTH_DATABASE_STATEMENT_TIMEOUT_SECONDS: '2',
  });
  call = callerOf(berth.url, berth.admin);
  admin = clientOf(berth.url, berth.admin);
  operator = createDatabase({ connection: facts.connection, poolSize: 2, hotLanes: 1 });
  await admin.pushImage(name, 'v1', image);
});
afterAll(async () => {
  proxy?.release();
  await operator?.close();
  await berth?.stop();
  await proxy?.close();
  await facts?.drop();
});

test('every request is answered 503 within its limits, and all is well as soon as it answers again', async () => {
  const Authorization = `Bearer ${await tokenFor(berth.url, [`repository:${name}:pull,push`], berth.admin)}`;
  const opened = await call('POST', `/v2/${name}/blobs/uploads/`);
  const session = new URL(opened.headers.get('location')!, berth.url);
  const chunk = randomContent(64 * 1024);
  const underWay = await slowRequest('PATCH', session, berth.admin);
  await underWay.send(chunk.bytes.subarray(0, 1000));

  // Whoever says anything gets no answer: on the connections that are there, and on new ones.
  proxy.hold('');
  underWay.end(chunk.bytes.subarray(1000));
  const ask: (() => Promise<{ status: number; headers: Headers }>)[] = [
    () => call('GET', `/v2/${name}/manifests/v1`, { headers: { Authorization } }),
    () => call('HEAD', `/v2/${name}/blobs/${image.config.digest}`, { headers: { Authorization } }),
    () => call('GET', `/v2/${name}/tags/list`),
    () => call('POST', `/v2/${name}/blobs/uploads/`),
    () => call('PUT', `/v2/${name}/manifests/v2`, { body: image.bytes, headers: { 'Content-Type': image.mediaType } }),
    () => call('GET', '/auth/token?service=berth'),
    () => call('GET', `/api/v1/repositories/${name}/-`),
  ];
  const during = Date.now();
  const answers = await Promise.all([...ask, ...ask].map((each) => each()));
  expect(await underWay.outcome).toBe(503);
  // Two for the statement, two for the server to say so, one for each new connection; the rest is for a busy machine.
  expect(Date.now() - during).toBeLessThan(25_000);
  for (const { status, headers } of answers) {
    expect(status).toBe(503);
    expect(headers.get('retry-after')).toBe('5');
  }
  const ready = await call('GET', '/readyz');
  expect(ready.status).toBe(503);
  expect(JSON.parse(ready.body.toString())).toEqual({
    status: 'unavailable',
    database: 'unavailable',
    storage: 'ok',
  });
  expect((await call('GET', '/healthz')).status).toBe(200);

  proxy.hold('nothing that anybody says');
  await vi.waitFor(async () => expect((await call('GET', '/readyz')).status).toBe(200), { timeout: 20_000 });
  expect((await call('GET', `/v2/${name}/manifests/v1`)).status).toBe(200);
  await admin.pushImage(name, 'v3', makeImage());
  expect(berth.logs.filter(({ dependency }) => dependency === 'database')).toHaveLength(1);
});
