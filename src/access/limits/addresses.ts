/** What an address counts as. */
import { isIPv4, isIPv6 } from 'node:net';

/** A proxy may forward anything as an address; longer than any real one is cut. */
const addressLengthMax = 64;

/**
 * The key that requests from this address are counted under: an IPv4 address is itself, also in its IPv6 form; an IPv6
 * address is its /64, because that is what one subscriber gets, and holds 2^64 addresses to try from.
 */
export function addressKey(address: string): string {
  if (!address.includes(':')) return address.slice(0, addressLengthMax);
  const mapped = address.startsWith('::ffff:') ? address.slice(7) : '';
  if (isIPv4(mapped)) return mapped;
  const [plain = ''] = address.split('%');
  return isIPv6(plain) ? `${firstFourGroups(plain)}::/64` : address.slice(0, addressLengthMax);
}

/**
 * The network that people "normally come from": the /24 of an IPv4 address, for home connections change theirs, the /64 of
 * an IPv6 address. Null for what is not an address.
 */
export function networkOf(address: string): string | null {
  const key = addressKey(address);
  if (isIPv4(key)) return `${key.slice(0, key.lastIndexOf('.'))}.0/24`;
  return key.endsWith('::/64') ? key : null;
}

/** The first 64 bits, in groups without leading zeros. */
function firstFourGroups(address: string): string {
  const [head = '', tail] = address.toLowerCase().split('::');
  const groups = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const tailLength = last.length + (last.at(-1)?.includes('.') === true ? 1 : 0);
  while (groups.length + tailLength < 8 && tail !== undefined) groups.push('0');
  return [...groups, ...last]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':');
}
