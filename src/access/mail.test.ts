import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEmailAddress, type EmailAddress } from '../config/email-address.ts';
import {
  alreadyRegisteredMail,
  emailChangedMail,
  invitationMail,
  linkTo,
  passwordChangedMail,
  passwordResetMail,
  registrationMail,
  verifyEmailMail,
  welcomeMail,
  type Mail,
} from './mail.ts';
import { createSecret } from './secrets.ts';

const to = parseEmailAddress('Ada@Hub.example') as EmailAddress;
const publicUrl = new URL('https://hub.example:8443');
const { text: token } = createSecret();

/** Each mail, with one name in every place for names. */
function mailsOf(name: string): Record<string, Mail> {
  const link = { to, publicUrl, token, hours: 24 };
  return {
    registration: registrationMail(link),
    'already registered': alreadyRegisteredMail({ to, publicUrl, account: name }),
    'confirm an address': verifyEmailMail({ ...link, account: name }),
    'reset a password': passwordResetMail({ ...link, account: name }),
    invitation: invitationMail({ ...link, inviter: name, into: name, role: 'developer' }),
    'password changed': passwordChangedMail({ to, publicUrl, account: name }),
    welcome: welcomeMail({ ...link, account: name }),
    'address changed': emailChangedMail({ to, publicUrl, account: name }),
  };
}

describe.each(Object.entries(mailsOf('ada')))('the mail "%s"', (_name, mail) => {
  test('says where it comes from, and what to do if it was not you', () => {
    expect(mail.to).toBe('ada@hub.example');
    expect(mail.subject).toContain('hub.example:8443');
    expect(mail.text).toMatch(/^Hello,\n\n/);
    expect(mail.text).toMatch(/If it was not you, |If you do not know (them|what this is), /);
  });

  test('holds only links to the public URL, each on a line of its own', () => {
    const links = mail.text.match(/\S+:\/\/\S+/g) ?? [];
    expect(links).toHaveLength(1);
    expect(new URL(links[0]!).origin).toBe('https://hub.example:8443');
    expect(mail.text.split('\n')).toContain(links[0]);
  });
});

test('the secret of a link is where no server and no Referer gets it', () => {
  for (const purpose of ['registration', 'verify_email', 'password_reset', 'invitation'] as const) {
    const url = new URL(linkTo(publicUrl, purpose, token));
    expect(url.hash).toBe(`#token=${token}`);
    expect(url.href.slice(0, url.href.indexOf('#'))).not.toContain(token);
  }
  for (const name of ['registration', 'confirm an address', 'reset a password', 'invitation'])
    expect(mailsOf('ada')[name]!.text).toContain(`#token=${token}\n`);
});

test('no name makes a line of its own, in the subject or in the text', () => {
  const lines = Object.fromEntries(
    Object.entries(mailsOf('ada')).map(([name, mail]) => [name, mail.text.split('\n').length]),
  );
  const nasty = fc.string({
    unit: fc.constantFrom('a', '\r', '\n', '\0', '\u0085', '\u2028', '\u2029', ':', ' ', '\t'),
  });
  fc.assert(
    fc.property(nasty, (name) => {
      for (const [kind, mail] of Object.entries(mailsOf(name))) {
        expect(mail.subject).toMatch(/^[^\p{Cc}\p{Zl}\p{Zp}]+$/u);
        expect(mail.text.split(/[\r\n\v\f\u0085\u2028\u2029]/)).toHaveLength(lines[kind]!);
      }
    }),
  );
});

describe('a mail address', () => {
  test.each([
    ['ada@hub.example', 'ada@hub.example'],
    ['Ada.Lovelace+berth@Hub.Example', 'ada.lovelace+berth@hub.example'],
    ["o'brien@localhost", "o'brien@localhost"],
  ])('%s is one, in lower case', (text, address) => expect(parseEmailAddress(text)).toBe(address));

  test.each([
    '',
    'ada',
    '@hub.example',
    'ada@',
    'ada@hub@example',
    'ada@hub.example\n',
    '\nada@hub.example',
    'ada@hub.example\r\nBcc: eve@evil.example',
    'ada@hub.example, eve@evil.example',
    'ada@hub.example;eve@evil.example',
    'Ada <ada@hub.example>',
    '"ada\r\n"@hub.example',
    'ada lovelace@hub.example',
    'ada@-hub.example',
    'ada@hub..example',
    'ada@[127.0.0.1]',
    'ädä@hub.example',
    `${'a'.repeat(65)}@hub.example`,
    `ada@${'hub.'.repeat(63)}example`,
  ])('%j is none', (text) => expect(parseEmailAddress(text)).toBeUndefined());

  test('has nothing in it that a header or a command of SMTP could take for its end', () => {
    const hostile = fc.string({
      unit: fc.constantFrom('a', '@', '.', '\r', '\n', '\0', '<', '>', ',', ';', '"', ' ', '(', ':'),
    });
    fc.assert(
      fc.property(fc.tuple(hostile, hostile), ([left, right]) => {
        const address = parseEmailAddress(`a${left}@${right}a`);
        if (address !== undefined) expect(address).toMatch(/^[a.]+@[a.]+$/);
      }),
    );
  });
});
