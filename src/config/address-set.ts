import { BlockList, isIP } from 'node:net';

/** A set of IP addresses, given one by one and as CIDR ranges. */
export interface AddressSet {
  /** True for a member. An IPv4 address is recognized in its IPv6 form (`::ffff:10.0.0.1`) too. */
  includes(address: string | undefined): boolean;
}

/** @throws RangeError when a part is neither an address nor a CIDR range */
export function parseAddressSet(parts: readonly string[]): AddressSet {
  const list = new BlockList();
  for (const part of parts) {
    const [address = '', prefix, ...rest] = part.split('/');
    const family = isIP(address);
    const bits = prefix === undefined ? undefined : Number(prefix);
    const widest = family === 4 ? 32 : 128;
    const wellFormed = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= widest);
    if (family === 0 || rest.length > 0 || !wellFormed) throw new RangeError(`not an address or a CIDR range: ${part}`);
    list.addSubnet(address, bits ?? widest, familyName(family));
  }
  return {
    includes(address) {
      const family = address === undefined ? 0 : isIP(address);
      return address !== undefined && family !== 0 && list.check(address, familyName(family));
    },
  };
}

const familyName = (family: number): 'ipv4' | 'ipv6' => (family === 4 ? 'ipv4' : 'ipv6');
