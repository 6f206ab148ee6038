/**
 * Parts of blobs: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs ("A registry SHOULD
 * support the Range request header in accordance with RFC 9110 section 14").
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectErrors, getBytes } from '../support/answers.ts';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { clientOf, type Client } from '../support/client.ts';
import { randomContent } from '../support/images.ts';

const small = randomContent(1000);
// Longer than two of the buffers that the disk is read with.
const large = randomContent(2 * 1024 * 1024 + 500);
const empty = randomContent(0);

let berth: TestBerth;
let admin: Client;
beforeAll(async () => {
  berth = await startTestBerth();
  admin = clientOf(berth.url, berth.admin);
  for (const blob of [small, large, empty]) await admin.pushBlob('acme/ranges', blob);
});
afterAll(() => berth.stop());

const address = (blob: { digest: string }) => `/v2/acme/ranges/blobs/${blob.digest}`;

describe.each([
  ['kept in memory', small],
  ['streamed from storage', large],
])('Pulling blobs, parts of one that is %s', (_, blob) => {
  const size = blob.bytes.length;
  test.each([
    ['the first byte', 'bytes=0-0', 0, 0],
    ['the first ten', 'bytes=0-9', 0, 9],
    ['some in the middle', 'bytes=500-799', 500, 799],
    ['an open range', 'bytes=900-', 900, size - 1],
    ['the last byte', `bytes=${size - 1}-`, size - 1, size - 1],
    ['a suffix', 'bytes=-100', size - 100, size - 1],
    ['a suffix longer than the blob', `bytes=-${size + 1}`, 0, size - 1],
    ['a range that ends behind the blob', `bytes=10-${size + 100}`, 10, size - 1],
    ['all of it', 'bytes=0-', 0, size - 1],
  ])('206: %s', async (_name, range, start, end) => {
    const answer = await getBytes(admin, address(blob), { Range: range });
    expect(answer.status).toBe(206);
    expect(answer.headers).toMatchObject({
      'content-range': `bytes ${start}-${end}/${size}`,
      'content-length': String(end - start + 1),
      'content-type': 'application/octet-stream',
      'docker-content-digest': blob.digest,
      etag: `"${blob.digest}"`,
    });
    expect(blob.bytes.subarray(start, end + 1).equals(answer.body)).toBe(true);
  });

  test.each([
    ['behind the end', `bytes=${size}-`],
    ['far behind the end', `bytes=${10 * size}-${20 * size}`],
    ['a suffix of nothing', 'bytes=-0'],
    ['an end before the start', 'bytes=9-5'],
  ])('416 with the true size: %s', async (_name, range) => {
    const answer = await admin.request('get', address(blob)).set('Range', range);
    expectErrors(answer, 416, 'SIZE_INVALID');
    expect(answer.headers['content-range']).toBe(`bytes */${size}`);
  });

  test.each([
    ['several ranges', 'bytes=0-1,5-6'],
    ['another unit', 'lines=0-5'],
    ['no numbers', 'bytes=a-b'],
    ['nothing but a dash', 'bytes=-'],
    ['no unit', '0-5'],
  ])('200 with the whole blob for what is no single range of bytes: %s', async (_name, range) => {
    const answer = await getBytes(admin, address(blob), { Range: range });
    expect(answer.status).toBe(200);
    expect(blob.bytes.equals(answer.body)).toBe(true);
  });

  test('If-Range with the ETag gives the part', async () => {
    const answer = await getBytes(admin, address(blob), { Range: 'bytes=0-9', 'If-Range': `"${blob.digest}"` });
    expect(answer.status).toBe(206);
    expect(answer.body.length).toBe(10);
  });

  test.each([
    ['another ETag', `"${empty.digest}"`],
    ['a weak ETag', `W/"${blob.digest}"`],
    ['a date', 'Wed, 21 Oct 2015 07:28:00 GMT'],
  ])('If-Range with %s gives the whole blob', async (_name, value) => {
    const answer = await getBytes(admin, address(blob), { Range: 'bytes=0-9', 'If-Range': value });
    expect(answer.status).toBe(200);
    expect(blob.bytes.equals(answer.body)).toBe(true);
  });

  test('a Range on a HEAD is ignored', async () => {
    const answer = await admin.request('head', address(blob)).set('Range', 'bytes=0-9');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-length']).toBe(String(size));
  });

  test('the parts of a blob put together are the blob', async () => {
    const parts: Buffer[] = [];
    const step = Math.ceil(size / 7);
    for (let start = 0; start < size; start += step)
      parts.push((await getBytes(admin, address(blob), { Range: `bytes=${start}-${start + step - 1}` })).body);
    expect(blob.bytes.equals(Buffer.concat(parts))).toBe(true);
  });
});

describe('Pulling blobs, parts of an empty one', () => {
  test.each(['bytes=0-', 'bytes=0-0', 'bytes=-5'])('416: no range lies within it (%s)', async (range) => {
    const answer = await admin.request('get', address(empty)).set('Range', range);
    expectErrors(answer, 416, 'SIZE_INVALID');
    expect(answer.headers['content-range']).toBe('bytes */0');
  });
});
