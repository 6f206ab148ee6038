/** `/api/v1/account/totp`: the second factor of one's own account. */
import { z } from 'zod';
import type { Proofs } from '../../access/proofs.ts';
import { activateTotp, beginTotp, removeTotp, renewRecoveryCodes } from '../../access/second-factor.ts';
import { findUser, type UserRow } from '../../access/sql/accounts.ts';
import type { Queryer } from '../../database/pool.ts';
import type { Actor } from '../../events/actor.ts';
import { lockPerson } from './account.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import { codeField, continueSession, newSessionSchema, passwordField, personOf } from './people.ts';

export interface SecondFactorParts {
  readonly proofs: Proofs;
  readonly ttlHours: number;
  /** The registry's name, as the app shows it. */
  readonly issuer: string;
}

const recoveryCodes = z
  .array(z.string())
  .meta({ description: 'Each takes the place of the app once. They are shown here, and never again.' });
const begunSchema = z
  .strictObject({
    secret: z.string().meta({ description: 'In base32, to be typed into an app that cannot scan. Not shown again.' }),
    uri: z.string().meta({ description: 'otpauth://, to be scanned as a QR code.' }),
  })
  .meta({ id: 'NewSecondFactor' });
const proofBody = z.strictObject({ password: passwordField, code: codeField });

const common = { tags: ['account'], access: 'signed-in', apiScope: 'account:write', effect: 'changes' } as const;

export function secondFactorOperations({ proofs, ttlHours, issuer }: SecondFactorParts): readonly Operation[] {
  /** The account in person, before anything is guessed. */
  const personRow = async (queryer: Queryer, caller: ApiCaller): Promise<UserRow> =>
    (await findUser(queryer, { id: personOf(caller).id }))!;

  /** Password and code, both. */
  async function proveBoth(
    queryer: Queryer,
    caller: ApiCaller,
    { password, code }: z.output<typeof proofBody>,
    actor: Actor,
  ): Promise<void> {
    const user = await personRow(queryer, caller);
    await proofs.password(user.name, password, actor);
    await proofs.code(user, code, actor);
  }

  return [
    defineOperation({
      ...common,
      id: 'beginSecondFactor',
      method: 'post',
      path: '/account/totp',
      summary: 'Begin to set up a second factor',
      description: 'It does not count before a code of the app was confirmed.',
      body: z.strictObject({ password: passwordField }),
      answers: { 201: begunSchema },
      prepare: ({ caller, body, actor }) => proofs.password(personOf(caller).name, body.password, actor),
      async handler({ caller, queryer }) {
        return { status: 201, body: await beginTotp(queryer, await lockPerson(queryer, caller), issuer) };
      },
    }),
    defineOperation({
      ...common,
      id: 'confirmSecondFactor',
      method: 'post',
      path: '/account/totp/confirm',
      summary: 'Sign in with a second factor from now on',
      description:
        'The password alone no longer works, neither for docker nor for this API; tokens do. All other sessions and all docker ' +
        'logins with the password end. The session that asks goes on with a new secret: in its cookie, or in the answer.',
      body: z.strictObject({ code: codeField }),
      answers: { 200: z.strictObject({ recoveryCodes, session: newSessionSchema.nullable() }) },
      prepare: async ({ caller, body, queryer, actor }) =>
        proofs.pendingCode(await personRow(queryer, caller), body.code, actor),
      async handler({ caller, prepared, queryer, actor, request }) {
        const user = await lockPerson(queryer, caller);
        const { recoveryCodes: codes, passwordId } = await activateTotp(queryer, user, prepared, actor);
        const asking = { caller, request, actor };
        const { session, cookies } = await continueSession(queryer, asking, { user, passwordId, ttlHours });
        return { status: 200, body: { recoveryCodes: [...codes], session }, cookies };
      },
    }),
    defineOperation({
      ...common,
      id: 'removeSecondFactor',
      method: 'delete',
      path: '/account/totp',
      summary: 'Sign in without a second factor from now on',
      body: proofBody,
      answers: { 204: null },
      prepare: ({ caller, body, queryer, actor }) => proveBoth(queryer, caller, body, actor),
      async handler({ caller, queryer, actor }) {
        await removeTotp(queryer, await lockPerson(queryer, caller), actor);
        return { status: 204 };
      },
    }),
    defineOperation({
      ...common,
      id: 'renewRecoveryCodes',
      method: 'post',
      path: '/account/totp/recovery-codes',
      summary: 'Make new recovery codes in place of all older ones',
      body: proofBody,
      answers: { 201: z.strictObject({ recoveryCodes }) },
      prepare: ({ caller, body, queryer, actor }) => proveBoth(queryer, caller, body, actor),
      async handler({ caller, queryer, actor }) {
        const codes = await renewRecoveryCodes(queryer, await lockPerson(queryer, caller), actor);
        return { status: 201, body: { recoveryCodes: codes } };
      },
    }),
  ];
}
