import { expect, test } from 'vitest';
import { RegistryError, RegistryErrors } from './errors.ts';

test('an error without a message of its own takes the one of the table', () => {
  const cause = new Error('disk');
  const error = new RegistryError('blobUnknown', { detail: { digest: 'sha256:0' }, cause });
  expect(error).toMatchObject({
    kind: 'blobUnknown',
    message: 'this blob is not in the repository',
    detail: { digest: 'sha256:0' },
    cause,
  });
  expect(new RegistryError('blobUnknown', { message: 'gone' }).message).toBe('gone');
  expect('cause' in new RegistryError('denied')).toBe(false);
});

test('an error may know when to try again', () => {
  expect(new RegistryError('tooManyRequests', { retryAfterSeconds: 7 }).retryAfterSeconds).toBe(7);
  expect(new RegistryError('tooManyRequests').retryAfterSeconds).toBeUndefined();
});

test('several errors keep their order and count', () => {
  const errors = ['a', 'b', 'c'].map((message) => new RegistryError('manifestBlobUnknown', { message }));
  expect(new RegistryErrors(errors).errors).toEqual(errors);
  expect(new RegistryErrors(errors).message).toBe('a (and 2 more)');
  expect(() => new RegistryErrors([])).toThrow(TypeError);
});
