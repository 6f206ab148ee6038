/** How this server is reached from outside: what `Location`, `Link` and the token realm say. */
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

export interface OriginSettings {
  /** BERTH_PUBLIC_URL. */
  readonly publicUrl: URL | undefined;
  /** Whose `X-Forwarded-*` headers are believed. */
  readonly trustedProxies: { includes(address: string | undefined): boolean };
}

export interface Origins {
  /** The origin that addresses in answers begin with; empty when a relative address is the safest one. */
  prefix(req: IncomingMessage): string;
  /** The origin as far as it can be known, for addresses that must be absolute. */
  absolute(req: IncomingMessage): string;
  /** The address of the client; behind a trusted proxy, what that says. */
  client(req: IncomingMessage): string;
}

const hostPattern = /^[A-Za-z0-9.-]+(:\d{1,5})?$|^\[[0-9a-fA-F:.]+\](:\d{1,5})?$/;

export function createOrigins(settings: OriginSettings): Origins {
  const fixed = settings.publicUrl?.href.replace(/\/+$/, '') ?? '';

  function trusted(req: IncomingMessage): boolean {
    return settings.trustedProxies.includes(req.socket.remoteAddress);
  }

  function forwarded(req: IncomingMessage): string {
    if (!trusted(req)) return '';
    const host = firstOf(req.headers['x-forwarded-host']);
    const proto = firstOf(req.headers['x-forwarded-proto']);
    if (proto !== 'http' && proto !== 'https') return '';
    const name = host ?? req.headers.host;
    return name !== undefined && hostPattern.test(name) ? `${proto}://${name}` : '';
  }

  function prefix(req: IncomingMessage): string {
    return fixed === '' ? forwarded(req) : fixed;
  }

  return {
    prefix,
    absolute(req) {
      const known = prefix(req);
      if (known !== '') return known;
      const scheme = (req.socket as TLSSocket).encrypted ? 'https' : 'http';
      const host = req.headers.host;
      if (host !== undefined && hostPattern.test(host)) return `${scheme}://${host}`;
      const { localAddress = '127.0.0.1', localPort = 0 } = req.socket;
      return `${scheme}://${localAddress.includes(':') ? `[${localAddress}]` : localAddress}:${localPort}`;
    },
    client(req) {
      const direct = req.socket.remoteAddress ?? '';
      if (!trusted(req)) return direct;
      // The last hop that is not a proxy of ours: what stands further left was written by whoever called it.
      const hops = [...textOf(req.headers['x-forwarded-for']).split(','), direct]
        .map((hop) => hop.trim())
        .filter((hop) => hop !== '');
      return hops.findLast((hop) => !settings.trustedProxies.includes(hop)) ?? direct;
    },
  };
}

function textOf(header: string | string[] | undefined): string {
  return Array.isArray(header) ? header.join(',') : (header ?? '');
}

function firstOf(header: string | string[] | undefined): string | undefined {
  const first = textOf(header).split(',')[0]?.trim();
  return first === '' ? undefined : first;
}
