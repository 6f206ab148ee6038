/** Addresses of PostgreSQL, as libpq writes them: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING-URIS */

/** `target_session_attrs`: what Berth can do with the server that it finds. It cannot live on a standby, and reads from any. */
const sessionKinds = { writing: ['any', 'read-write', 'primary'], reading: ['any'] };
type Purpose = keyof typeof sessionKinds;

/**
 * One URL for each server that is named, in their order: `postgres://a,b:5433/db` or `postgres:///db?host=/a,/b`, which `URL`
 * and `pg` cannot read. A URL that names one comes back as it is.
 * @returns undefined for what is no such URL
 */
export function parsePostgresUrls(text: string, purpose: Purpose): readonly string[] | undefined {
  const match = /^(?<before>postgres(?:ql)?:\/\/(?:[^/?#]*@)?)(?<hosts>[^/?#@]*)(?<after>(?:[/?#].*)?)$/i.exec(text);
  if (match === null) return undefined;
  const { before, hosts, after } = match.groups as { before: string; hosts: string; after: string };
  const servers = hosts.split(',').map((host) => `${before}${host}${after}`);
  const urls = servers.length === 1 ? fromParameters(text) : servers;
  return urls?.every((url) => isUsable(url, purpose)) === true ? urls : undefined;
}

/** Folders of sockets have no place in a URL but its parameters. */
function fromParameters(text: string): readonly string[] | undefined {
  const url = new URL(text);
  const hosts = url.searchParams.get('host')?.split(',') ?? [];
  if (hosts.length < 2) return [text];
  const ports = url.searchParams.get('port')?.split(',') ?? [];
  if (ports.length > 1 && ports.length !== hosts.length) return undefined;
  return hosts.map((host, i) => {
    const one = new URL(text);
    one.searchParams.set('host', host);
    if (ports.length > 1) one.searchParams.set('port', ports[i]!);
    return one.href;
  });
}

function isUsable(text: string, purpose: Purpose): boolean {
  const { protocol, searchParams } = new URL(text);
  const kind = searchParams.get('target_session_attrs') ?? 'any';
  return /^postgres(?:ql)?:$/.test(protocol) && sessionKinds[purpose].includes(kind);
}
