import { isIPv4, isIPv6 } from 'node:net';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { parseAddressSet } from './address-set.ts';
import { parseEmailAddress } from './email-address.ts';
import { parsePostgresUrls } from './postgres-url.ts';

/**
 * The kinds of value that a setting may have: each parses the text of an environment variable, and its description
 * completes the sentence "expected ...", in error messages as well as in the README.
 */
const text = z.string();

/** The parser's value where the text has the shape, a refusal where `parse` answers undefined or throws. */
function parsed<T>(expected: string, parse: (value: string) => T | undefined): z.ZodType<T, string> {
  return text
    .transform((value, context) => {
      try {
        const result = parse(value);
        if (result !== undefined) return result;
      } catch {
        // falls through: the one answer to every malformed value is what was expected instead
      }
      context.addIssue({ code: 'custom', message: `expected ${expected}` });
      return z.NEVER;
    })
    .describe(expected);
}

/** One of a few words. */
export const choice = <const W extends readonly [string, ...string[]]>(...words: W): z.ZodType<W[number], string> =>
  parsed<W[number]>(words.join(' | '), (value) => words.find((word) => word === value));

/** A whole number within bounds, both included. */
export const wholeNumber = (min: number, max: number): z.ZodType<number, string> =>
  parsed(`a whole number from ${min} to ${max}`, (value) => {
    const number = Number(value);
    return /^\d{1,16}$/.test(value) && number >= min && number <= max ? number : undefined;
  });

/** How many processes; `auto` is one for each processor that this process may use. */
export const workerCount = parsed('auto | a whole number from 1 to 256', (value) => {
  if (value === 'auto') return availableParallelism();
  const number = Number(value);
  return /^\d{1,3}$/.test(value) && number >= 1 && number <= 256 ? number : undefined;
});

/** An address to listen on. Port 0 lets the system choose one. */
export const listenAddress = parsed('host:port or [IPv6 address]:port', (value) => {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:[\]]+)):(?<port>\d{1,5})$/.exec(value);
  const { v6, name, port } = match?.groups ?? {};
  if (Number(port) > 65_535) return undefined;
  if (v6 !== undefined) return isIPv6(v6) ? { host: v6, port: Number(port) } : undefined;
  return name !== undefined && isHost(name) ? { host: name, port: Number(port) } : undefined;
});

function isHost(name: string): boolean {
  if (/^[\d.]+$/.test(name)) return isIPv4(name);
  return name.length <= 253 && /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/i.test(name);
}

/** Where clients reach the registry. Docker knows no path before /v2/, so the URL has none. */
export const publicUrl = parsed('an http:// or https:// URL without a path, query or password', (value) => {
  const url = new URL(value);
  const bare =
    url.pathname === '/' && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
  return bare && /^https?:$/.test(url.protocol) ? url : undefined;
});

/** One URL for each server. Kept as text, because `pg` reads more from it than an URL object can carry (sockets, options). */
export const postgresUrls = parsed('a postgres:// URL', (value) => parsePostgresUrls(value, 'writing'));
export const replicaUrls = parsed('a postgres:// URL without target_session_attrs', (value) =>
  parsePostgresUrls(value, 'reading'),
);

/** What a mail server's address may carry beside itself. Not what would keep connections open or print the mails. */
const smtpOption = /^(requireTLS|name|tls\.(rejectUnauthorized|servername|minVersion))$/;

/** Kept as text, which `nodemailer` reads whole. */
export const smtpUrl = parsed('an smtp:// or smtps:// URL', (value) => {
  const url = new URL(value);
  // Throws where nodemailer would, when the first mail is sent.
  for (const part of [url.username, url.password]) decodeURIComponent(part);
  const plain = /^\/?$/.test(url.pathname) && [...url.searchParams.keys()].every((name) => smtpOption.test(name));
  return /^smtps?:$/.test(url.protocol) && url.hostname !== '' && plain ? value : undefined;
});

/** A mail address, without a name. */
export const emailAddress = parsed('a mail address', parseEmailAddress);

/** A path, made absolute from the working directory. */
export const path = parsed('a path', (value) => (value.includes('\0') ? undefined : resolve(value)));

/** A user name is also the first component of the user's repositories, so it has their grammar. */
export const userName = parsed(
  'a name of at most 64 lower-case letters and digits, with single . _ or - between them',
  (value) => (value.length <= 64 && /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/.test(value) ? value : undefined),
);

/** Bounded, because argon2id reads all of it on every login. */
export const password = parsed('8 to 256 characters, none of them a control character', (value) =>
  /^\P{Cc}{8,256}$/u.test(value) ? value : undefined,
);

/** IP addresses and CIDR ranges, separated by commas. */
export const addressSet = parsed('IP addresses and CIDR ranges, separated by commas', (value) =>
  parseAddressSet(value.split(',').map((part) => part.trim())),
);

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html , and what other servers make of it. */
export const bucketName = parsed('the name of a bucket', (value) =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(value) ? value : undefined,
);

/** A slash is put behind it where there is none. */
export const objectPrefix = parsed('letters, digits and . _ - between slashes', (value) =>
  /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*(?:[A-Za-z0-9_-][A-Za-z0-9._-]*)\/?$/.test(value) && value.length <= 500
    ? value.replace(/\/?$/, '/')
    : undefined,
);

/** A name as other systems give it. */
export const word = parsed('a word without spaces', (value) => (/^[!-~]{1,500}$/.test(value) ? value : undefined));

/** A secret as other systems give it. */
export const line = parsed('at most 500 characters, none of them a control character', (value) =>
  /^\P{Cc}{1,500}$/u.test(value) ? value : undefined,
);

/** Parts of something that is looked for. */
export const words = parsed('words, separated by commas', (value) => {
  const parts = value.split(',').map((part) => part.trim());
  return parts.every((part) => part !== '') ? parts : undefined;
});
