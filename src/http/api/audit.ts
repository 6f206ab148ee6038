/** `/api/v1/audit`: who changed what, or was not let. */
import { z } from 'zod';
import { auditPlace, auditVisibility } from '../../access/audit.ts';
import type { Database, Queryer } from '../../database/pool.ts';
import type { Replica } from '../../database/replica.ts';
import { recordAudit } from '../../events/audit.ts';
import { exportAudit } from '../../events/audit-export.ts';
import {
  auditActionsOf,
  searchAudit,
  type AuditFilter,
  type AuditRecord,
  type AuditVisibility,
} from '../../events/audit-search.ts';
import { ApiError } from '../../oci/problem.ts';
import type { ApiCaller } from './caller.ts';
import { defineOperation, type Operation } from './operation.ts';
import { pageQuery, pageSchema } from './pages.ts';

const time = z.iso.datetime({ offset: true }).transform((text) => new Date(text));
const text = z.string().min(1).max(512);

const filterQuery = {
  who: text.optional().meta({ description: 'The name of an account or robot.' }),
  action: text
    .transform((asked, context) => {
      const actions = auditActionsOf(asked);
      if (actions.length === 0) context.addIssue('is no action; name one, or several by what they begin with: token.');
      return actions;
    })
    .optional()
    .meta({ description: 'An action, or the beginning of several up to a dot: `token.`', example: 'manifest.push' }),
  outcome: z.enum(['done', 'denied']).optional(),
  namespace: text.optional().meta({ description: 'The name of a namespace.' }),
  repository: text.optional().meta({
    description: 'The name of a repository, instead of a namespace. One that is no more is looked for by its name.',
  }),
  target: text.optional().meta({ description: 'What it was done to; with `*` at the end, what begins with it.' }),
  address: text.optional().meta({ description: "The client's address." }),
  request_id: text.optional().meta({ description: 'The `X-Request-Id` of an answer.' }),
  since: time.optional().meta({ description: 'Not before this.' }),
  until: time.optional().meta({ description: 'Before this.' }),
};
const searchQuery = z.strictObject({ ...pageQuery(z.tuple([z.iso.datetime(), z.int().min(0)])), ...filterQuery });
const formats = { ndjson: 'application/x-ndjson', csv: 'text/csv; charset=utf-8' } as const;
const exportQuery = z.strictObject({ format: z.enum(['ndjson', 'csv']), ...filterQuery });

const recordSchema = z
  .strictObject({
    id: z.int(),
    at: z.iso.datetime(),
    actor: z.string().meta({ description: 'Who: an account, a robot, `anonymous`, or a command of the operator.' }),
    userId: z.int().nullable(),
    credentialId: z.int().nullable().meta({ description: 'The password, token or session that was used.' }),
    address: z.string().nullable(),
    client: z.string().nullable().meta({ description: 'The User-Agent.' }),
    requestId: z.string().nullable(),
    action: z.string(),
    outcome: z.enum(['done', 'denied']),
    target: z.string(),
    before: z.unknown().meta({ description: 'The fields that changed, as they were; null when there are none.' }),
    after: z
      .unknown()
      .meta({ description: 'As they are. Of a denied attempt `times`, when it was made more than once.' }),
    reason: z.string().nullable(),
  })
  .meta({ id: 'AuditRecord' });

const description =
  'Newest first. Administrators see everything, everybody their own rows and those of the namespaces that they own.';
const shared = {
  method: 'get',
  tags: ['audit'],
  access: 'signed-in',
  apiScope: 'audit:read',
  effect: 'reads',
} as const;

interface AuditParts {
  readonly database: Database;
  readonly replica: Replica | undefined;
}

export function auditOperations({ database, replica }: AuditParts): readonly Operation[] {
  return [
    defineOperation({
      ...shared,
      id: 'searchAudit',
      path: '/audit',
      summary: 'Search the audit log',
      description,
      query: searchQuery,
      answers: { 200: pageSchema(recordSchema) },
      async handler({ caller, query, queryer }) {
        const { visible, filter } = await readFilter(queryer, caller, query);
        const [at, id] = query.cursor ?? [];
        const after = at === undefined || id === undefined ? undefined : { at: new Date(at), id };
        const page = { limit: query.limit, after };
        const { records, next } = await searchAudit(database, visible, filter, page, replica);
        return {
          status: 200,
          body: { items: records.map(bodyOf) },
          next: next && [next.at.toISOString(), next.id],
        };
      },
    }),
    defineOperation({
      ...shared,
      id: 'exportAudit',
      path: '/audit/export',
      summary: 'Export the audit log',
      description: `${description} A file with a row for each: NDJSON, or CSV (RFC 4180) with nothing that a spreadsheet would compute.`,
      query: exportQuery,
      streams: Object.values(formats),
      answers: { 200: null },
      async handler({ caller, query, queryer, actor }) {
        const { visible, filter } = await readFilter(queryer, caller, query);
        const { format, ...asked } = query;
        async function* pieces(): AsyncGenerator<string> {
          await recordAudit(queryer, actor, { action: 'audit.export', target: format, after: asked, outcome: 'done' });
          yield* exportAudit(database, visible, filter, format, replica);
        }
        return {
          status: 200,
          headers: { 'Content-Disposition': `attachment; filename="audit.${format}"` },
          stream: { type: formats[format], pieces: pieces() },
        };
      },
    }),
  ];
}

type Filters = Omit<z.output<typeof exportQuery>, 'format'>;

async function readFilter(
  queryer: Queryer,
  { subject, apiScopes }: ApiCaller,
  query: Filters,
): Promise<{ visible: AuditVisibility; filter: AuditFilter }> {
  const visible = await auditVisibility(queryer, subject, apiScopes);
  const { who, action: actions, outcome, namespace, repository, target, address, since, until } = query;
  if (namespace !== undefined && repository !== undefined)
    throw new ApiError('invalid', 'query.namespace: leave it out, the name of the repository says it', {
      errors: [{ path: 'query.namespace', message: 'must not stand beside a repository' }],
    });
  const place = await auditPlace(queryer, visible, { namespace, repository });
  const targets = target?.endsWith('*') === true ? { targetPrefix: target.slice(0, -1) } : { target };
  const filter = { ...place, ...targets, who, actions, outcome, address, requestId: query.request_id, since, until };
  return { visible, filter };
}

function bodyOf(record: AuditRecord): z.input<typeof recordSchema> {
  return { ...record, at: record.at.toISOString() };
}
