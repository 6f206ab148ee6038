import { expect, test } from 'vitest';
import { RegistryError } from '../../oci/errors.ts';
import { parseRange } from './ranges.ts';

// RFC 9110 section 14.2 lets a server ignore such a range or reject it; the OCI conformance program counts the first as not supported.
test.each(['bytes=500-0', 'bytes=1-0'])('%s ends before it begins and is refused', (header) => {
  expect(() => parseRange(header, 1000)).toThrow(expect.objectContaining({ kind: 'rangeInvalid' }) as RegistryError);
});

test.each([undefined, 'bytes=-', 'lines=0-1', 'bytes=0-1,5-6', 'bytes=a-b'])(
  '%s is not understood, and all is sent',
  (header) => {
    expect(parseRange(header, 1000)).toBeNull();
  },
);
