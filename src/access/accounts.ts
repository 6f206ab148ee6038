/** Accounts: who there is, and the first one. */
import type { Database, Queryer } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { recordAudit } from '../events/audit.ts';
import { ApiError } from '../oci/problem.ts';
import { commandLine } from './actor.ts';
import { accountNameLengthMax, isAccountName, isReservedName } from './names.ts';
import { hashPassword, verifyPassword } from './passwords.ts';
import {
  findPasswordOf,
  findUser,
  insertPassword,
  insertUser,
  lockAdministrator,
  lockUser,
  replacePassword,
  type UserRow,
} from './sql/accounts.ts';
import { insertNamespace } from './sql/namespaces.ts';
import { refreshGrantedRoles } from './sql/roles.ts';

/** A name or password that cannot be taken; the message is for the person who chose it. */
export class AccountError extends Error {
  override readonly name = 'AccountError';
}

export const passwordLengthMin = 8;
export const passwordLengthMax = 256;

export interface NewAccount {
  readonly username: string;
  readonly password: string;
  readonly admin: boolean;
}

/** A user name is also the first component of repository names, so it must be able to be one. @throws AccountError */
function checkUsername(username: string): void {
  if (!isAccountName(username))
    throw new AccountError(
      `the user name "${username.slice(0, 80)}" is not valid: use at most ${accountNameLengthMax} lower-case letters and digits, parted by single dots, dashes or underscores`,
    );
}

/** @throws AccountError */
export function checkPassword(password: string): void {
  if (password.length < passwordLengthMin || password.length > passwordLengthMax)
    throw new AccountError(`the password must have between ${passwordLengthMin} and ${passwordLengthMax} characters`);
}

/**
 * Adds an account together with its namespace.
 * @throws AccountError when the name is taken or cannot be one, or the password is too short
 */
export async function addAccount(database: Database, account: NewAccount, actor: Actor): Promise<void> {
  checkUsername(account.username);
  if (isReservedName(account.username))
    throw new AccountError(`the name ${account.username} is reserved; choose another one`);
  checkPassword(account.password);
  const secretHash = await hashPassword(account.password);
  await database.transaction((queryer) => insertAccount(queryer, account, secretHash, actor));
}

/** What is there of the name already, as the person at the command may know it; the API says only that the name is taken. */
class NameTakenError extends AccountError {}

/**
 * Adds an account whose name and password were checked, with its namespace, in the caller's transaction.
 * @param secretHash null for an account that gets its password by a link
 * @throws AccountError when the name is taken
 */
async function insertAccount(
  queryer: Queryer,
  { username, admin }: Omit<NewAccount, 'password'>,
  secretHash: string | null,
  actor: Actor,
): Promise<UserRow> {
  const userId = await insertUser(queryer, username, admin);
  if (userId === undefined) throw new NameTakenError(`there is already a user named ${username}`);
  if (secretHash !== null) await insertPassword(queryer, userId, secretHash);
  const namespaceId = await insertNamespace(queryer, username, 'user', userId);
  if (namespaceId === undefined)
    throw new NameTakenError(`the name ${username} is already the namespace of other repositories`);
  await refreshGrantedRoles(queryer, namespaceId);
  const entry = { action: 'user.create', namespaceId, target: username, after: { admin }, outcome: 'done' } as const;
  await recordAudit(queryer, actor, entry);
  return (await findUser(queryer, { id: userId }))!;
}

/**
 * Adds an account for whoever asks the API: a name that is taken, whatever by, or that nobody may have, is refused in the
 * same words.
 * @throws ApiError `conflict`
 */
export async function createAccount(
  queryer: Queryer,
  account: Omit<NewAccount, 'password'>,
  secretHash: string | null,
  actor: Actor,
): Promise<UserRow> {
  const { username } = account;
  const taken = (cause?: unknown): ApiError =>
    new ApiError('conflict', `the name ${username} cannot be taken; choose another one`, { cause });
  if (!isAccountName(username) || isReservedName(username)) throw taken();
  try {
    return await insertAccount(queryer, account, secretHash, actor);
  } catch (error) {
    throw error instanceof NameTakenError ? taken(error) : error;
  }
}

/** What is done by the settings, at the start of a process. */
const startup = commandLine('settings');

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
    const user = await lockUser(queryer, { name: username });
    if (user === undefined) {
      const account = { username, password: password ?? (await generate()), admin: true };
      checkUsername(username);
      checkPassword(account.password);
      await insertAccount(queryer, account, await hashPassword(account.password), startup);
      return;
    }
    if (password === undefined) return;
    const existing = await findPasswordOf(queryer, user.id);
    if (existing !== undefined && (await verifyPassword(password, existing.secret_hash))) return;
    checkPassword(password);
    await replacePassword(queryer, user.id, await hashPassword(password));
    const entry = { action: 'user.password', target: username, outcome: 'done' } as const;
    await recordAudit(queryer, startup, { ...entry, namespaceId: user.namespace_id ?? undefined });
  });
}
