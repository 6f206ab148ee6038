/** `/api/v1/signing-keys`: the keys that sign access tokens, for administrators of the registry. */
import { z } from 'zod';
import {
  revokeSigningKey,
  rotateSigningKey,
  signingKeyStates,
  type SigningKeyState,
} from '../../access/signing-keys.ts';
import type { Queryer } from '../../database/pool.ts';
import { administratorOf } from './people.ts';
import { defineOperation, type Operation } from './operation.ts';

const moment = z.iso.datetime();
const keySchema = z
  .strictObject({
    kid: z.string(),
    status: z.enum(['current', 'replaced', 'revoked']).meta({
      description: '`current` signs; `replaced` still verifies its last tokens; `revoked` is believed no longer.',
    }),
    createdAt: moment,
    replacedAt: moment.nullable(),
    revokedAt: moment.nullable(),
    can: z.array(z.enum(['revoke'])),
  })
  .meta({ id: 'SigningKey' });
const keysSchema = z.strictObject({ items: z.array(keySchema) });

function bodyOf({ kid, status, createdAt, replacedAt, revokedAt }: SigningKeyState): z.input<typeof keySchema> {
  return {
    kid,
    status,
    createdAt: createdAt.toISOString(),
    replacedAt: replacedAt?.toISOString() ?? null,
    revokedAt: revokedAt?.toISOString() ?? null,
    can: status === 'revoked' ? [] : ['revoke'],
  };
}

const listOf = async (queryer: Queryer): Promise<z.input<typeof keysSchema>> => ({
  items: (await signingKeyStates(queryer)).map(bodyOf),
});

export function signingKeyOperations(): readonly Operation[] {
  const common = { tags: ['administration'], access: 'signed-in' } as const;
  return [
    defineOperation({
      ...common,
      id: 'listSigningKeys',
      method: 'get',
      path: '/signing-keys',
      summary: 'List the keys of access tokens, the newest first',
      apiScope: 'admin:read',
      effect: 'reads',
      answers: { 200: keysSchema },
      async handler({ caller, queryer }) {
        administratorOf(caller);
        return { status: 200, body: await listOf(queryer) };
      },
    }),
    defineOperation({
      ...common,
      id: 'rotateSigningKey',
      method: 'post',
      path: '/signing-keys/rotate',
      summary: 'Sign with a new key from now on',
      description: 'In every process, without a restart. Tokens signed before stay valid until they expire.',
      apiScope: 'admin:write',
      effect: 'creates',
      answers: { 201: keysSchema },
      async handler({ caller, queryer, actor }) {
        administratorOf(caller);
        await rotateSigningKey(queryer, actor);
        return { status: 201, body: await listOf(queryer) };
      },
    }),
    defineOperation({
      ...common,
      id: 'revokeSigningKey',
      method: 'post',
      path: '/signing-keys/{kid}/revoke',
      summary: 'Drop a compromised key',
      description:
        'Every token that it signed fails with the next request; clients then ask for new ones by themselves. Where it was the ' +
        'current key, a new one takes its place.',
      apiScope: 'admin:write',
      effect: 'changes',
      params: z.strictObject({ kid: z.string().regex(/^[\w-]{1,128}$/, 'must be the id of a key') }),
      answers: { 200: keysSchema },
      async handler({ caller, params: { kid }, queryer, actor }) {
        administratorOf(caller);
        await revokeSigningKey(queryer, actor, kid);
        return { status: 200, body: await listOf(queryer) };
      },
    }),
  ];
}
