/** What the API shows and takes of personal access tokens and of robots alike. */
import { z } from 'zod';
import { apiScopeNames } from '../../access/api-scopes.ts';
import { grantSchema, grantsMax } from '../../access/grants.ts';
import { credentialStatuses, overlapSecondsMax, statusOf, type Rotation } from '../../access/named-credentials.ts';
import type { NamedCredentialRow } from '../../access/sql/named-credentials.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { pageQuery } from './pages.ts';

const expiresAtField = z.iso
  .datetime({ offset: true })
  .transform((text) => new Date(text))
  .nullable()
  .optional()
  .meta({
    description: 'When it ends. By default after 90 days; null, never, where the registry sets no maximum.',
    override: ({ jsonSchema }) => void Object.assign(jsonSchema, { type: ['string', 'null'], format: 'date-time' }),
  });

/** What every new one is made of. */
export const newCredentialShape = {
  grants: z.array(grantSchema).max(grantsMax).meta({
    description: 'What it may do with which repositories, as far as its owner may. `*` stands for any characters.',
  }),
  apiScopes: z.array(z.enum(apiScopeNames)).max(apiScopeNames.length).default([]).meta({
    description: 'What of the management API it may use, as far as its owner may.',
  }),
  expiresAt: expiresAtField,
};

export const rotationSchema = z.strictObject({
  expiresAt: expiresAtField,
  overlapSeconds: z
    .int()
    .min(0)
    .max(overlapSecondsMax)
    .optional()
    .meta({
      description:
        'How long the old secret works on beside the new one. By default not at all, or for five minutes when it rotates itself: ' +
        'an answer that was lost can be asked for again, with the same Idempotency-Key, only with a secret that still works.',
    }),
});

export function rotationOf(body: z.output<typeof rotationSchema> | undefined, bySelf: boolean): Rotation {
  return { expiresAt: body?.expiresAt, overlapSeconds: body?.overlapSeconds, bySelf };
}

const moment = z.iso.datetime();

/** What is shown of every one. */
export const credentialShape = {
  id: z.int(),
  grants: z.array(z.strictObject({ repositories: z.string(), actions: z.array(z.string()) })),
  apiScopes: z.array(z.string()),
  createdAt: moment,
  expiresAt: moment.nullable(),
  status: z.enum(credentialStatuses).meta({ description: '`ending`: it has a successor, and works until expiresAt.' }),
  replacedBy: z.int().nullable().meta({ description: 'The one that it was rotated to.' }),
  lastUsed: z
    .strictObject({ at: moment, address: z.string().nullable(), client: z.string().nullable() })
    .nullable()
    .meta({ description: 'To the minute, and some seconds late.' }),
  can: z.array(z.enum(['rotate', 'revoke'])).meta({ description: 'What the caller may do with it.' }),
};

export const secretField = z.string().meta({ description: 'Shown once: only its hash is kept.' });

type Can = 'rotate' | 'revoke';

/** The common fields of a body. */
export function credentialBody(row: NamedCredentialRow, may: readonly Can[]) {
  const status = statusOf(row);
  return {
    id: row.id,
    grants: row.grants.map(({ repositories, actions }) => ({ repositories, actions: [...actions] })),
    apiScopes: [...row.api_scopes],
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    status,
    replacedBy: row.replaced_by,
    lastUsed:
      row.last_used_at === null
        ? null
        : { at: row.last_used_at.toISOString(), address: row.last_used_address, client: row.last_used_client },
    can: may.filter((each) => status === 'active' || (status === 'ending' && each === 'revoke')),
  };
}

/** The id of one, or `current`: the credential that asks. */
export const credentialIdParam = z
  .string()
  .regex(/^(?:current|[1-9]\d{0,14})$/, 'must be an id, or `current`')
  .transform((text) => (text === 'current' ? text : Number(text)))
  .meta({ description: 'The id, or `current` for the credential that asks.' });

export const credentialPageQuery = z.strictObject({
  ...pageQuery(z.tuple([z.int()])),
  ended: z
    .enum(['0', '1'])
    .transform((text) => text === '1')
    .default(false)
    .meta({ description: '1: also those that expired or were revoked.' }),
});

/** Where a page begins, for the database: with one more than it shows. */
export function pageOf({ cursor, limit, ended }: z.output<typeof credentialPageQuery>) {
  return { before: cursor?.[0] ?? null, limit: limit + 1, ended };
}

/** Whether this is the very credential that asks, by its own secret: an access token made with it is not it. */
export function isSelf({ caller }: ApiCaller, id: number): boolean {
  return caller.scopes === null && caller.credentialId === id;
}

/** @throws ApiError `forbidden` when the caller's credential was not made for this part of the API */
export function requireScope({ apiScopes }: ApiCaller, scope: (typeof apiScopeNames)[number]): void {
  if (apiScopes !== null && !apiScopes.includes(scope))
    throw new ApiError('forbidden', `this token was not made for the API scope ${scope}`, {
      next: `Make a token with the API scope ${scope}.`,
    });
}
