/** What people prove themselves with: the password, and a code of the second factor. Each guess counts as a sign-in. */
import type { Database } from '../database/pool.ts';
import type { Actor } from '../events/actor.ts';
import { ApiError } from '../oci/problem.ts';
import type { Authenticator } from './authenticate.ts';
import { UnauthorizedError } from './errors.ts';
import type { NoteFailure } from './failed-sign-ins.ts';
import type { SignIn } from './limits/sign-in.ts';
import { checkPendingCode, noSecondFactor, spendCode, type PendingProof } from './second-factor.ts';
import { findUser, type UserRow } from './sql/accounts.ts';

export interface Login {
  readonly username: string;
  readonly password: string;
  /** Of the app, or a recovery code; not looked at where the account has no second factor. */
  readonly code: string | undefined;
}

export interface Proofs {
  /**
   * Who this is, by everything that the account asks for. The same answer, after the same time, for accounts that are absent
   * or disabled, and for wrong passwords and codes. Only whoever knows the password hears that a code is missing.
   * @returns the account, and the credential of its password
   * @throws UnauthorizedError, ApiError `secondFactorRequired`, and what the limits of sign-ins throw
   */
  signIn(login: Login, actor: Actor): Promise<{ readonly user: UserRow; readonly passwordId: number }>;
  /**
   * Whether whoever is signed in knows the password, too.
   * @returns its credential
   * @throws ApiError `forbidden` when it is wrong
   */
  password(username: string, password: string, actor: Actor): Promise<number>;
  /** Uses up a code of the second factor. @throws ApiError `forbidden` when it is wrong, `conflict` when there is none */
  code(user: UserRow, code: string, actor: Actor): Promise<void>;
  /** A code of the app that is being set up. @throws ApiError `forbidden` when it is wrong, `conflict` */
  pendingCode(user: UserRow, code: string, actor: Actor): Promise<PendingProof>;
}

export interface ProofParts {
  readonly database: Database;
  readonly authenticator: Authenticator;
  readonly signIn: SignIn;
  readonly noteFailure: NoteFailure;
}

const wrong = 'the user name, the password or the code is not right';

export function createProofs({ database, authenticator, signIn, noteFailure }: ProofParts): Proofs {
  const guess = <T>(user: UserRow, actor: Actor, check: () => Promise<T | undefined>): Promise<T | undefined> =>
    signIn({ username: user.name, address: actor.address ?? '', factor: 'code', more: false }, check);
  const spend = (user: UserRow, code: string, actor: Actor) =>
    guess(user, actor, async () => (await spendCode(database, user, code, actor)) || undefined);

  async function refused(username: string, reason: string, actor: Actor): Promise<UnauthorizedError> {
    await noteFailure(username, reason, actor);
    return new UnauthorizedError({ message: wrong });
  }

  return {
    async signIn({ username, password, code }, actor) {
      const row = await authenticator.verifyPasswordOf(username, password, actor);
      const user = row === undefined ? undefined : await findUser(database, { id: row.user_id });
      if (row === undefined || user === undefined) throw await refused(username, 'wrong password', actor);
      if (!row.totp) return { user, passwordId: row.credential_id };
      if (code === undefined)
        throw new ApiError('secondFactorRequired', 'this account has a second factor: its code is missing');
      if ((await spend(user, code, actor)) === undefined) throw await refused(username, 'wrong code', actor);
      return { user, passwordId: row.credential_id };
    },
    async password(username, password, actor) {
      const row = await authenticator.verifyPasswordOf(username, password, actor);
      if (row === undefined) throw new ApiError('forbidden', 'the password is not right');
      return row.credential_id;
    },
    async code(user, code, actor) {
      if (user.totp_enabled_at === null) throw noSecondFactor();
      if ((await spend(user, code, actor)) === undefined) throw wrongCode();
    },
    async pendingCode(user, code, actor) {
      const proof = await guess(user, actor, () => checkPendingCode(database, user.id, code));
      if (proof === undefined) throw wrongCode();
      return proof;
    },
  };
}

const wrongCode = (): ApiError =>
  new ApiError('forbidden', 'the code is not right, or was used before', {
    next: 'Wait for the next code of the app, or use a recovery code; see that the clock of the telephone is right.',
  });
