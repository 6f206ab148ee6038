/** Which Berth a command asks, and as whom. */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { checkServerIdentity, getCACertificates, type ConnectionOptions, type PeerCertificate } from 'node:tls';
import { X509Certificate } from 'node:crypto';
import { Option, type Command } from 'commander';
import { isSecret } from '../../access/secrets.ts';
import type { Config } from '../../config/config.ts';
import { publicUrl as serverUrl } from '../../config/values.ts';
import { readPassword } from '../read-password.ts';
import { UsageError } from '../usage-error.ts';

export interface ConnectionChoices {
  readonly server?: string;
  readonly user?: string;
  readonly passwordStdin?: true;
  readonly tokenStdin?: true;
  readonly tokenFile?: string;
  readonly anonymous?: true;
}

export interface Connection {
  readonly server: URL;
  /** The header; undefined for nobody. */
  readonly authorization: string | undefined;
  readonly tls: ConnectionOptions;
}

const waysToSignIn = ['passwordStdin', 'tokenStdin', 'tokenFile', 'anonymous'] as const;

/** Adds the options that {@link connect} takes. A secret is never one: what is an argument, everybody on the machine reads. */
export function addConnectionOptions(command: Command): Command {
  const signIn = (flags: string, description: string, own: (typeof waysToSignIn)[number]): Option =>
    new Option(flags, description).conflicts(waysToSignIn.filter((way) => way !== own));
  return command
    .optionsGroup('Where, and as whom (by default: at the Berth of the settings, as its administrator):')
    .option('--server <url>', 'another Berth, as in https://registry.example.com')
    .option('--user <name>', 'another account; goes with --password-stdin')
    .addOption(signIn('--password-stdin', 'read its password from the standard input', 'passwordStdin'))
    .addOption(signIn('--token-stdin', 'sign in with the token on the standard input', 'tokenStdin'))
    .addOption(signIn('--token-file <file>', 'sign in with the token in a file', 'tokenFile'))
    .addOption(signIn('--anonymous', 'as nobody', 'anonymous'))
    .addHelpText(
      'after',
      '\nSecrets come from the standard input or a file: an argument would stand in the process list and in the history.',
    );
}

/** @throws UsageError when the choices do not go together, or there is no way to sign in */
export async function connect(config: Config, choices: ConnectionChoices): Promise<Connection> {
  const own = ownServers(config);
  const server = choices.server === undefined ? own[0] : parseServer(choices.server);
  if (server === undefined)
    throw new UsageError('BERTH_LISTEN leaves the port open; name the address of the server with --server');
  return {
    server,
    authorization: await authorizationFor(
      config,
      choices,
      own.some(({ origin }) => origin === server.origin),
    ),
    tls: await trustIn(config),
  };
}

/** Where the Berth of these settings is: what clients type first, then where it listens. */
function ownServers({ publicUrl, listen, tls }: Config): URL[] {
  const loopback: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };
  const host = loopback[listen.host] ?? listen.host;
  const scheme = tls === undefined ? 'http' : 'https';
  const listening = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${listen.port}`;
  return [...(publicUrl === undefined ? [] : [publicUrl]), ...(listen.port === 0 ? [] : [new URL(listening)])];
}

function parseServer(text: string): URL {
  const parsed = serverUrl.safeParse(text);
  if (!parsed.success) throw new UsageError(`--server takes ${serverUrl.description}`);
  return parsed.data;
}

async function authorizationFor(config: Config, choices: ConnectionChoices, own: boolean): Promise<string | undefined> {
  const { user, passwordStdin, tokenStdin, tokenFile, anonymous } = choices;
  if ((user === undefined) !== (passwordStdin === undefined))
    throw new UsageError('--user and --password-stdin go together; a token says by itself whose it is');
  if (anonymous) return undefined;
  if (user !== undefined) return basic(user, await readPassword(process.stdin));
  if (tokenStdin) return bearer(await readPassword(process.stdin, 'the token on the standard input'));
  if (tokenFile !== undefined)
    return bearer(await readPassword(createReadStream(tokenFile), `the token in ${tokenFile}`));
  // The administrator's password is for the administrator's server: nobody else is shown it.
  if (!own) throw new UsageError(`say who you are at ${choices.server}: ${waysInWords}`);
  return basic(config.admin.username, await adminPassword(config));
}

const waysInWords = '--user NAME --password-stdin, --token-stdin, --token-file FILE, or --anonymous';

const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

function bearer(token: string): string {
  if (!isSecret(token)) throw new UsageError('that is no token of Berth: they begin with bth_ and end with a checksum');
  return `Bearer ${token}`;
}

async function adminPassword({ admin: { username, password, passwordFile } }: Config): Promise<string> {
  if (password !== undefined) return password;
  try {
    return (await readFile(passwordFile, 'utf8')).trimEnd();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new UsageError(
      `the password of ${username} is not known here (${passwordFile}: ${code}); say who you are: ${waysInWords}`,
      { cause },
    );
  }
}

/** The certificate of the settings is trusted by itself, whatever name it is reached by and whoever signed it. */
async function trustIn({ tls }: Config): Promise<ConnectionOptions> {
  if (tls === undefined) return {};
  const chain = await readFile(tls.cert, 'utf8');
  const own = new X509Certificate(chain);
  return {
    ca: [...getCACertificates('default'), chain],
    allowPartialTrustChain: true,
    checkServerIdentity: (host: string, certificate: PeerCertificate) =>
      certificate.raw.equals(own.raw) ? undefined : checkServerIdentity(host, certificate),
  };
}
