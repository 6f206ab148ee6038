import { describe, expect, test } from 'vitest';
import { ConfigError } from './config-error.ts';
import { parseConfig } from './load.ts';

const bucket = { BERTH_STORAGE: 's3', BERTH_S3_BUCKET: 'blobs' };

/** @returns what the operator is told */
function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    parseConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe('storage in S3', () => {
  test('needs a bucket, and the two halves of a key together', () => {
    expect(problemsOf({ BERTH_STORAGE: 's3', BERTH_S3_ACCESS_KEY_ID: 'me' })).toEqual([
      'BERTH_S3_BUCKET: expected, because BERTH_STORAGE is "s3"',
      'BERTH_S3_ACCESS_KEY_ID and BERTH_S3_SECRET_ACCESS_KEY: expected both or none',
    ]);
  });

  test('takes its credentials from the SDK unless they are set', () => {
    expect(parseConfig(bucket).storage.s3?.credentials).toBeUndefined();
    const env = { ...bucket, BERTH_S3_ACCESS_KEY_ID: 'me', BERTH_S3_SECRET_ACCESS_KEY: 'a key' };
    expect(parseConfig(env).storage.s3?.credentials).toEqual({ accessKeyId: 'me', secretAccessKey: 'a key' });
  });

  test('has a prefix that ends in a slash, and nothing in it that is no plain name', () => {
    for (const prefix of ['a/b', 'a/b/']) {
      expect(parseConfig({ ...bucket, BERTH_S3_PREFIX: prefix }).storage.s3?.prefix).toBe('a/b/');
    }
    for (const prefix of ['/', '/a', 'a//b', '../a', 'a/./b', 'a b']) {
      expect(problemsOf({ ...bucket, BERTH_S3_PREFIX: prefix })).toHaveLength(1);
    }
  });

  test('takes no blob of more parts than S3 does', () => {
    const mib = 1024 * 1024;
    expect(parseConfig(bucket).limits.blobBytesMax).toBe(9000 * 8 * mib);
    expect(parseConfig({ ...bucket, BERTH_BLOB_BYTES_MAX: String(mib) }).limits.blobBytesMax).toBe(mib);
    expect(parseConfig({ BERTH_S3_BUCKET: 'blobs' }).limits.blobBytesMax).toBe(2 ** 40);
  });

  test('sends nobody away unless it is told to', () => {
    expect(parseConfig(bucket).storage.s3?.redirect).toBeUndefined();
    const env = { ...bucket, BERTH_S3_REDIRECT: 'on', BERTH_S3_REDIRECT_NOT_FOR: 'one, the other' };
    expect(parseConfig(env).storage.s3?.redirect).toEqual({
      bytesMin: 1024 * 1024,
      endpoint: undefined,
      expirySeconds: 60,
      notFor: ['one', 'the other'],
    });
  });
});
