import { describe, expect, it } from 'vitest';
import { ObjectMissingError, ObjectSizeError, StorageFullError, StorageUnavailableError } from '../port.ts';
import { translate } from './errors.ts';

/** As the SDK throws what a server answers. */
const answered = (name: string, httpStatusCode: number) =>
  Object.assign(new Error('said by the server'), { name, $metadata: { httpStatusCode } });
/** As the sockets' errors come through the SDK. */
const broken = (code: string) => Object.assign(new Error(code), { code });

describe('what S3 says, in the words of the port', () => {
  it.each([
    ['XMinioStorageFull', 507],
    ['XMinioAdminBucketQuotaExceeded', 400],
    ['QuotaExceeded', 403],
    ['Unknown', 507],
  ])('is full: %s, %d', (name, status) => {
    expect(translate(answered(name, status), 'PutObject x')).toBeInstanceOf(StorageFullError);
  });

  it.each([
    ['NoSuchKey', 404],
    ['NotFound', 404],
    ['NoSuchUpload', 404],
    ['InvalidPart', 400],
  ])('is missing: %s, %d', (name, status) => {
    expect(translate(answered(name, status), 'GetObject x')).toBeInstanceOf(ObjectMissingError);
  });

  it('does not take a missing bucket for a missing object', () => {
    expect(translate(answered('NoSuchBucket', 404), 'GetObject x')).not.toBeInstanceOf(ObjectMissingError);
  });

  it('is too short: InvalidRange', () => {
    expect(translate(answered('InvalidRange', 416), 'GetObject x')).toBeInstanceOf(ObjectSizeError);
  });

  it.each([
    answered('SlowDown', 503),
    answered('InternalError', 500),
    answered('TooManyRequests', 429),
    answered('TimeoutError', 0),
    answered('BadDigest', 400),
    answered('ClientDisconnected', 499),
    broken('ECONNREFUSED'),
    broken('ECONNRESET'),
    broken('ENOTFOUND'),
    broken('EAI_AGAIN'),
    broken('EPIPE'),
    broken('ETIMEDOUT'),
    new Error('socket hang up'),
  ])('does not answer: %s', (error) => {
    expect(translate(error, 'PutObject x')).toBeInstanceOf(StorageUnavailableError);
  });

  it.each([
    ['AccessDenied', 403],
    ['NotImplemented', 501],
  ])('refuses: anything else, with the reason and the request: %s', (name, status) => {
    const refused = translate(answered(name, status), 'PutObject x');
    expect(refused.message).toBe(`S3 refuses (PutObject x): ${name} said by the server`);
    for (const one of [ObjectMissingError, ObjectSizeError, StorageFullError, StorageUnavailableError])
      expect(refused).not.toBeInstanceOf(one);
  });
});
