import { Command } from 'commander';
import type { Actor } from '../events/actor.ts';
import type { Queryer } from '../database/pool.ts';
import type { UserRow } from '../access/sql/accounts.ts';
import { parseEmailAddress, type EmailAddress } from '../config/email-address.ts';
import { loadConfig } from '../config/load.ts';
import { createLogger } from '../telemetry/logger.ts';
import { readPassword } from './read-password.ts';
import { UsageError } from './usage-error.ts';

export const userCommand = (): Command =>
  new Command('user')
    .description('Manage accounts.')
    .addCommand(addCommand())
    .addCommand(listCommand())
    .addCommand(inviteCommand())
    .addCommand(changeCommand('disable', 'Stop everything of an account with the next request.', { disabled: true }))
    .addCommand(changeCommand('enable', 'Let a disabled account in again.', { disabled: false }))
    .addCommand(changeCommand('promote', 'Make an account an administrator of the registry.', { admin: true }))
    .addCommand(changeCommand('demote', 'Make an administrator a plain account.', { admin: false }))
    .addCommand(resetPasswordCommand())
    .addCommand(verifyEmailCommand())
    .addCommand(totpOffCommand())
    .addCommand(signOutCommand());

/** What a command works with. The rooms of the server are loaded when one runs. */
interface Room {
  readonly queryer: Queryer;
  readonly actor: Actor;
}

/** Does one thing in one transaction, whether or not a server is running. */
async function inDatabase<T>(command: string, work: (room: Room) => Promise<T>): Promise<T> {
  const config = loadConfig();
  const [{ withDatabase }, { commandLine }] = await Promise.all([
    import('../app/facts.ts'),
    import('../access/actor.ts'),
  ]);
  const actor = commandLine(`berth user ${command}`);
  return withDatabase(config, createLogger(config.log), (database) =>
    database.transaction((queryer) => work({ queryer, actor })),
  );
}

/** The account of this name, locked. */
async function lockNamed(queryer: Queryer, name: string): Promise<UserRow> {
  return (await import('../access/account-changes.ts')).lockUserNamed(queryer, name);
}

/** Where links lead. They are printed, whether or not there is a mail server: whoever asks hands them over. */
async function siteWithoutMail() {
  const { siteOf } = await import('../access/links.ts');
  return { ...siteOf(loadConfig()), sendsMail: false };
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function sayLink({ link, expiresAt }: { readonly link: string | null; readonly expiresAt: Date }): void {
  say(`It works once, until ${expiresAt.toISOString()}:`);
  say(link!);
}

function addressOf(text: string): EmailAddress {
  const address = parseEmailAddress(text);
  if (address === undefined) throw new UsageError(`${JSON.stringify(text)} is no e-mail address`);
  return address;
}

interface AddOptions {
  readonly admin: boolean;
  readonly passwordStdin: boolean;
}

const addCommand = (): Command =>
  new Command('add')
    .description('Add an account. Without --password-stdin a password is generated and printed once.')
    .argument('<name>', 'lower-case letters and digits, with single . _ or - between them')
    .option('--admin', 'the account may do everything', false)
    .option('--password-stdin', 'read the password from the standard input', false)
    .action(async (username: string, { admin, passwordStdin }: AddOptions) => {
      const config = loadConfig();
      const chosen = passwordStdin ? { password: await readPassword(process.stdin) } : {};
      const { addUser } = await import('../app.ts');
      const { password } = await addUser(config, createLogger(config.log), { username, admin, ...chosen });
      say(`Added ${admin ? 'the administrator' : 'the user'} ${username}.`);
      if (password !== undefined) say(`Password (it is not shown again): ${password}`);
    });

/** Rows of one statement. */
const listedAtOnce = 1000;

const listCommand = (): Command =>
  new Command('list')
    .description('Print all accounts: name, address, and what is special about them, parted by tabs.')
    .action(async () => {
      const { listUsers } = await import('../access/sql/accounts.ts');
      await inDatabase('list', async ({ queryer }) => {
        let after = '';
        for (let rows; rows === undefined || rows.length === listedAtOnce; after = rows.at(-1)?.name ?? after) {
          rows = await listUsers(queryer, { search: '', after, limit: listedAtOnce });
          for (const row of rows) say(lineOf(row));
        }
      });
    });

function lineOf(user: UserRow): string {
  const notes = [
    ...(user.is_admin ? ['administrator'] : []),
    ...(user.disabled_at === null ? [] : ['disabled']),
    ...(user.totp_enabled_at === null ? [] : ['second factor']),
    ...(user.email !== null && user.email_verified_at === null ? ['address not confirmed'] : []),
  ];
  return [user.name, user.email ?? '', notes.join(', ')].join('\t');
}

const inviteCommand = (): Command =>
  new Command('invite')
    .description('Print a link by which somebody makes an account of their own, also where registration is closed.')
    .argument('<address>', 'their e-mail address')
    .action(async (address: string) => {
      const email = addressOf(address);
      const [{ inviteUser }, site] = await Promise.all([import('../access/registration.ts'), siteWithoutMail()]);
      const given = await inDatabase('invite', ({ queryer, actor }) => inviteUser(queryer, email, site, actor));
      say(`Give this link to ${email}, and to nobody else.`);
      sayLink(given);
    });

const changeCommand = (
  name: 'disable' | 'enable' | 'promote' | 'demote',
  description: string,
  change: { readonly disabled?: boolean; readonly admin?: boolean },
): Command =>
  new Command(name)
    .description(description)
    .argument('<name>', 'the account')
    .action(async (username: string) => {
      const [{ changeUser }, site] = await Promise.all([import('../access/account-changes.ts'), siteWithoutMail()]);
      await inDatabase(name, ({ queryer, actor }) => changeUser(queryer, username, change, { site, actor }));
      const done = { disable: 'disabled', enable: 'enabled', promote: 'an administrator', demote: 'a plain account' };
      say(`${username} is ${done[name]} now.`);
    });

const resetPasswordCommand = (): Command =>
  new Command('reset-password')
    .description('Print a link by which somebody chooses a new password, or set it with --password-stdin.')
    .argument('<name>', 'the account')
    .option('--password-stdin', 'read the password from the standard input', false)
    .action(async (username: string, { passwordStdin }: { readonly passwordStdin: boolean }) => {
      if (passwordStdin) return setPassword(username, await readPassword(process.stdin));
      const [{ givePasswordLink }, site] = await Promise.all([import('../access/registration.ts'), siteWithoutMail()]);
      const given = await inDatabase('reset-password', async ({ queryer, actor }) =>
        givePasswordLink(queryer, await lockNamed(queryer, username), 'reset', site, actor),
      );
      say(`Give this link to ${username}, and to nobody else.`);
      sayLink(given);
    });

/** The owner hears of it by mail, where there is a mail server. */
async function setPassword(username: string, password: string): Promise<void> {
  const [{ changePassword }, { checkPassword }, { hashPassword }, { siteOf }] = await Promise.all([
    import('../access/account-changes.ts'),
    import('../access/accounts.ts'),
    import('../access/passwords.ts'),
    import('../access/links.ts'),
  ]);
  checkPassword(password);
  const secretHash = await hashPassword(password);
  const site = siteOf(loadConfig());
  await inDatabase('reset-password', async ({ queryer, actor }) => {
    const user = await lockNamed(queryer, username);
    await changePassword(queryer, user, secretHash, { action: 'user.password', site, actor });
  });
  say(`${username} has a new password. Whoever was signed in with the old one no longer is.`);
}

const verifyEmailCommand = (): Command =>
  new Command('verify-email')
    .description('Print a link that confirms the address of an account, or gives it another one.')
    .argument('<name>', 'the account')
    .option('--address <address>', 'the address; by default the one that it has')
    .action(async (username: string, { address }: { readonly address?: string }) => {
      const asked = address === undefined ? undefined : addressOf(address);
      const [{ makeVerification }, { linkTo }, site] = await Promise.all([
        import('../access/registration.ts'),
        import('../access/mail.ts'),
        siteWithoutMail(),
      ]);
      const { email, made } = await inDatabase('verify-email', async ({ queryer, actor }) => {
        const user = await lockNamed(queryer, username);
        const wanted = asked ?? user.email;
        if (wanted === null) throw new UsageError(`${username} has no address; name one with --address`);
        return { email: wanted, made: await makeVerification(queryer, user, wanted, actor) };
      });
      say(`Give this link to ${username}, who has the address ${email} once it is used.`);
      sayLink({ link: linkTo(site.publicUrl, 'verify_email', made.token), expiresAt: made.expiresAt });
    });

const totpOffCommand = (): Command =>
  new Command('totp-off')
    .description('Take the second factor away from somebody who lost it.')
    .argument('<name>', 'the account')
    .action(async (username: string) => {
      const { removeTotp } = await import('../access/second-factor.ts');
      await inDatabase('totp-off', async ({ queryer, actor }) =>
        removeTotp(queryer, await lockNamed(queryer, username), actor),
      );
      say(`${username} signs in with the password alone now.`);
    });

const signOutCommand = (): Command =>
  new Command('sign-out')
    .description('End all sessions and docker logins of an account. Personal access tokens stay.')
    .argument('<name>', 'the account')
    .action(async (username: string) => {
      const { signOutEverywhere } = await import('../access/sessions.ts');
      await inDatabase('sign-out', async ({ queryer, actor }) =>
        signOutEverywhere(queryer, await lockNamed(queryer, username), actor),
      );
      say(`${username} is signed out everywhere.`);
    });
