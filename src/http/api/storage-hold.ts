/** `/api/v1/storage/hold`: deletions from storage stand still while a backup is made; for administrators of the registry. */
import { z } from 'zod';
import {
  holdHoursMax,
  holdStorage,
  releaseStorage,
  storageHold,
  type StorageHold,
} from '../../registry/storage-hold.ts';
import { defineOperation, type Operation } from './operation.ts';
import { administratorOf } from './people.ts';

const holdSchema = z
  .strictObject({
    held: z.boolean(),
    since: z.iso.datetime().nullable(),
    until: z.iso.datetime().nullable().meta({ description: 'Deletions begin again at this time by themselves.' }),
    by: z.string().nullable(),
    can: z.array(z.enum(['hold', 'release'])),
  })
  .meta({ id: 'StorageHold', description: 'Whether deletions from storage stand still, as a backup needs it.' });

function partsOf(hold: StorageHold | null) {
  const until = hold?.until.toISOString() ?? null;
  const body: z.input<typeof holdSchema> = {
    held: hold !== null,
    since: hold?.since.toISOString() ?? null,
    until,
    by: hold?.by ?? null,
    can: hold === null ? ['hold'] : ['hold', 'release'],
  };
  return { body, version: { until } };
}

export function storageHoldOperations(): readonly Operation[] {
  const common = { path: '/storage/hold', tags: ['administration'], access: 'signed-in' } as const;
  const changing = { ...common, apiScope: 'admin:write', effect: 'changes', edits: 'ifMatchAllowed' } as const;
  return [
    defineOperation({
      ...common,
      id: 'getStorageHold',
      method: 'get',
      summary: 'Say whether deletions from storage stand still',
      apiScope: 'admin:read',
      effect: 'reads',
      answers: { 200: holdSchema },
      async handler({ caller, queryer }) {
        administratorOf(caller);
        return { status: 200, ...partsOf(await storageHold(queryer)) };
      },
    }),
    defineOperation({
      ...changing,
      id: 'holdStorage',
      method: 'put',
      summary: 'Hold deletions from storage while a backup is made',
      description:
        'In every process, at once. Then dump the database, copy the objects, and release. A hold that lasts already gets this end.',
      body: z.strictObject({
        hours: z.int().min(1).max(holdHoursMax).meta({ description: 'It ends by itself after so many hours.' }),
      }),
      answers: { 200: holdSchema },
      async handler({ caller, body: { hours }, queryer, actor, checkIfMatch }) {
        administratorOf(caller);
        checkIfMatch(partsOf(await storageHold(queryer)).version);
        return { status: 200, ...partsOf(await holdStorage(queryer, hours, actor)) };
      },
    }),
    defineOperation({
      ...changing,
      id: 'releaseStorage',
      method: 'delete',
      summary: 'Let deletions from storage go on',
      answers: { 204: null },
      async handler({ caller, queryer, actor, checkIfMatch }) {
        administratorOf(caller);
        checkIfMatch(partsOf(await storageHold(queryer)).version);
        await releaseStorage(queryer, actor);
        return { status: 204 };
      },
    }),
  ];
}
