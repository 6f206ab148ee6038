import fc from 'fast-check';
import { isIPv4 } from 'node:net';
import { expect, test } from 'vitest';
import { addressKey, networkOf } from './addresses.ts';

test.each([
  ['203.0.113.7', '203.0.113.7', '203.0.113.0/24'],
  ['::ffff:203.0.113.7', '203.0.113.7', '203.0.113.0/24'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64', 'fe80:0:0:0::/64'],
  ['64:ff9b::203.0.113.7', '64:ff9b:0:0::/64', '64:ff9b:0:0::/64'],
  ['1:2:3:4:5:6:203.0.113.7', '1:2:3:4::/64', '1:2:3:4::/64'],
  ['unknown', 'unknown', null],
  ['203.0.113.7:4711', '203.0.113.7:4711', null],
  ['', '', null],
])('%j counts as %s and belongs to %s', (address, key, network) => {
  expect([addressKey(address), networkOf(address)]).toEqual([key, network]);
});

test('whatever a proxy forwards has a short key', () => {
  expect(addressKey('x'.repeat(10_000))).toHaveLength(64);
  expect(addressKey(':'.repeat(10_000))).toHaveLength(64);
});

test('the second half of an IPv6 address does not matter, the first does', () => {
  fc.assert(
    fc.property(fc.ipV6(), fc.ipV6(), (one, other) => {
      const bits = (address: string): string => {
        const full = new URL(`http://[${address}]`).hostname.slice(1, -1);
        const [head = '', tail] = full.split('::');
        const groups = head === '' ? [] : head.split(':');
        const last = tail === undefined || tail === '' ? [] : tail.split(':');
        return [...groups, ...Array<string>(8 - groups.length - last.length).fill('0'), ...last].slice(0, 4).join(':');
      };
      const mapped = (address: string): boolean => isIPv4(address.replace(/^::ffff:/, ''));
      fc.pre(!mapped(one) && !mapped(other));
      expect(addressKey(one) === addressKey(other)).toBe(bits(one) === bits(other));
      expect(addressKey(one)).toBe(`${bits(one)}::/64`);
    }),
  );
});
