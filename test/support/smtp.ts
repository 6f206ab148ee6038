/** A mail server on loopback, and what it was given. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';

export interface ReceivedMail {
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Whether the connection was encrypted. */
  readonly secure: boolean;
  /** Who signed in, if somebody did. */
  readonly user: string | undefined;
  /** By their names in lower case, unfolded. */
  readonly headers: ReadonlyMap<string, string>;
  readonly text: string;
}

export interface TestMailServer {
  readonly port: number;
  /** `smtp://127.0.0.1:PORT`. */
  readonly url: string;
  readonly mails: readonly ReceivedMail[];
  close(): Promise<void>;
}

export interface MailServerOptions {
  /** Default: any free one. */
  readonly port?: number;
  /** Offers STARTTLS, with a certificate that nobody trusts. */
  readonly encrypts?: boolean;
  /** Takes mails only from this user. */
  readonly login?: { readonly user: string; readonly password: string };
}

export async function startMailServer({ port = 0, encrypts = false, login }: MailServerOptions = {}) {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    disabledCommands: [...(encrypts ? [] : ['STARTTLS']), ...(login === undefined ? ['AUTH'] : [])],
    disableReverseLookup: true,
    closeTimeout: 100,
    onAuth(auth, _session, callback) {
      if (auth.username === login?.user && auth.password === login?.password) callback(null, { user: auth.username });
      else callback(new Error('no such user'));
    },
    onData(stream, { envelope, secure, user }, callback) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const raw = Buffer.concat(chunks);
        const sender = envelope.mailFrom === false ? '' : envelope.mailFrom.address;
        const recipients = envelope.rcptTo.map(({ address }) => address);
        mails.push({ sender, recipients, secure, user: user as string | undefined, ...parse(raw.toString('latin1')) });
        callback();
      });
    },
  });
  // A client that leaves in the middle is no fault of the server's.
  server.on('error', () => undefined);
  const listening = server.listen(port, '127.0.0.1');
  await once(listening, 'listening');
  const { port: actual } = listening.address() as AddressInfo;
  return {
    port: actual,
    url: `smtp://127.0.0.1:${actual}`,
    mails,
    close: () => new Promise<void>((resolve) => server.close(resolve)),
  } satisfies TestMailServer;
}

/** As much of MIME as a mail of one plain text needs. */
function parse(raw: string): Pick<ReceivedMail, 'headers' | 'text'> {
  const end = raw.indexOf('\r\n\r\n');
  const lines = raw
    .slice(0, end)
    .replaceAll(/\r\n[ \t]+/g, ' ')
    .split('\r\n');
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    }),
  );
  let body = raw.slice(end + 4);
  if (headers.get('content-transfer-encoding') === 'quoted-printable')
    body = body
      .replaceAll('=\r\n', '')
      .replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  if (headers.get('content-transfer-encoding') === 'base64') body = Buffer.from(body, 'base64').toString('latin1');
  return { headers, text: Buffer.from(body, 'latin1').toString('utf8').replaceAll('\r\n', '\n') };
}
