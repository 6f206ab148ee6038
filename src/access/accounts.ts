/** Accounts: who there is, and the first one. */
import type { Database, Queryer } from '../database/pool.ts';
import { parseRepositoryName } from '../oci/reference.ts';
import { hashPassword, verifyPassword } from './passwords.ts';
import {
  claimNamespace,
  findPassword,
  insertPassword,
  insertUser,
  lockAdministrator,
  replacePassword,
} from './sql/accounts.ts';

/** A name or password that cannot be taken; the message is for the person who chose it. */
export class AccountError extends Error {
  override readonly name = 'AccountError';
}

const usernameLengthMax = 64;
const passwordLengthMin = 8;
const passwordLengthMax = 256;

export interface NewAccount {
  readonly username: string;
  readonly password: string;
  readonly admin: boolean;
}

/** A user name is also the first component of repository names, so it must be able to be one. */
function checkAccount({ username, password }: NewAccount): void {
  const valid = username.length <= usernameLengthMax && !username.includes('/') && isRepositoryName(username);
  if (!valid)
    throw new AccountError(
      `the user name "${username.slice(0, 80)}" is not valid: use at most ${usernameLengthMax} lower-case letters and digits, parted by single dots, dashes or underscores`,
    );
  if (password.length < passwordLengthMin || password.length > passwordLengthMax) {
    throw new AccountError(`the password must have between ${passwordLengthMin} and ${passwordLengthMax} characters`);
  }
}

function isRepositoryName(text: string): boolean {
  try {
    parseRepositoryName(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Adds an account together with its namespace.
 * @throws AccountError when the name is taken or cannot be one, or the password is too short
 */
export async function addAccount(database: Database, account: NewAccount): Promise<void> {
  checkAccount(account);
  const secretHash = await hashPassword(account.password);
  await database.transaction((queryer) => insertAccount(queryer, account, secretHash));
}

async function insertAccount(queryer: Queryer, { username, admin }: NewAccount, secretHash: string): Promise<void> {
  const userId = await insertUser(queryer, username, admin);
  if (userId === undefined) throw new AccountError(`there is already a user named ${username}`);
  await insertPassword(queryer, userId, secretHash);
  const ownerId = await claimNamespace(queryer, username, userId);
  if (ownerId !== userId) throw new AccountError(`the name ${username} is already the namespace of other repositories`);
}

/**
 * Makes sure that the administrator of the settings exists. A password given there is the truth: when it is not the
 * account's, it becomes so and everything that came from the old one ends. One process at a time: of several that start on
 * an empty database one makes the account, and the others find it.
 * @param password undefined when the settings have none
 * @param generate called only when a new account needs a password; keeps it before the account is there
 */
export async function ensureAdmin(
  database: Database,
  username: string,
  password: string | undefined,
  generate: () => Promise<string>,
): Promise<void> {
  await database.transaction(async (queryer) => {
    await lockAdministrator(queryer);
    const existing = await findPassword(queryer, username);
    if (existing === undefined) {
      const account = { username, password: password ?? (await generate()), admin: true };
      checkAccount(account);
      await insertAccount(queryer, account, await hashPassword(account.password));
    } else if (password !== undefined && !(await verifyPassword(password, existing.secret_hash))) {
      checkAccount({ username, password, admin: true });
      await replacePassword(queryer, existing.user_id, await hashPassword(password));
    }
  });
}
