/** OpenAPI 3.1, generated from the operations themselves. https://spec.openapis.org/oas/v3.1.1 */
import { z } from 'zod';
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiResponsesObject } from 'zod-openapi';
import { defineOperation, type Operation } from './operation.ts';
import { problemMediaType, problemTypePrefix, titleOfStatus } from './problem.ts';

const problemSchema = z
  .strictObject({
    type: z
      .string()
      .regex(new RegExp(`^${problemTypePrefix}[a-z-]+$`))
      .meta({ description: 'Stable; what programs compare.' }),
    title: z.string().meta({ description: 'The same for all problems of the type.' }),
    status: z.int(),
    detail: z.string().meta({ description: 'What happened to this request.' }),
    next: z.string().meta({ description: 'What the caller can do now.' }),
    requestId: z.string().optional().meta({ description: 'The X-Request-Id of this answer; the log knows it.' }),
    errors: z
      .array(z.strictObject({ path: z.string(), message: z.string() }))
      .optional()
      .meta({ description: 'Every field that is not as it must be: `body.name`, `query.limit`, `header.If-Match`.' }),
  })
  .meta({ id: 'Problem', description: 'Problem details, RFC 9457.' });

const text = { type: 'string' } as const;
const headers = {
  ETag: { description: 'The version of what is shown; for If-Match and If-None-Match.', schema: text },
  Link: {
    description: 'The address of the next page, with `rel="next"` (RFC 8288); absent on the last.',
    schema: text,
  },
  RetryAfter: { description: 'Seconds until it is worth trying again.', schema: { type: 'integer', minimum: 0 } },
  IdempotencyReplayed: { description: '`true` when this is the answer to an earlier, equal request.', schema: text },
} as const;
const parameters = {
  IfMatch: {
    name: 'If-Match',
    in: 'header',
    description: 'The ETag of what is to be changed, as it was read; 412 when it is another by now.',
    schema: text,
  },
  IfNoneMatch: { name: 'If-None-Match', in: 'header', description: '304 when this is still its ETag.', schema: text },
  IdempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    description:
      'A random text, best a UUID. The same credential, operation and key get the first answer again for 24 hours, and create nothing.',
    schema: { type: 'string', pattern: '^[\\x21-\\x7e]{16,255}$' },
  },
  CsrfToken: {
    name: 'X-CSRF-Token',
    in: 'header',
    description: 'Needed with a session cookie, and only then.',
    schema: text,
  },
} as const;

const securitySchemes = {
  basic: {
    type: 'http',
    scheme: 'basic',
    description: 'Name and password (without a second factor), or name and token.',
  },
  bearer: { type: 'http', scheme: 'bearer', description: 'A token that begins with bth_.' },
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: '__Host-berth_session',
    description: 'A browser session; over plain http the cookie is called berth_session.',
  },
} as const;
const signedIn = Object.keys(securitySchemes).map((scheme) => ({ [scheme]: [] }));

type ApiDocument = ReturnType<typeof createDocument>;

/** The document of these operations. */
export function describeApi(operations: readonly Operation[]): ApiDocument {
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {};
  for (const operation of operations)
    (paths[operation.template.openApiPath] ??= {})[operation.method] = describe(operation);
  const statuses = new Set(operations.flatMap(problemStatuses));
  const document = createDocument({
    openapi: '3.1.1',
    info: {
      title: 'Berth',
      version: '1',
      description:
        'The management API of this registry. Unknown fields and parameters are refused. `{name}` of a repository may hold slashes, unescaped.',
    },
    paths,
    components: {
      parameters: parameters as never,
      headers: headers as never,
      securitySchemes,
      responses: Object.fromEntries([...statuses].map((status) => [`Problem${status}`, problemResponse(status)])),
    },
  });
  for (const { template, method } of operations)
    markSlashes(document, template.openApiPath, method, template.manySegments);
  return document;
}

function describe(operation: Operation): ZodOpenApiOperationObject {
  const { id, summary, description, tags, params, query, body, effect, edits, access, apiScope, streams } = operation;
  const used = [
    ...(effect === 'reads' ? (streams === undefined ? ['IfNoneMatch'] : []) : ['CsrfToken']),
    ...(effect === 'creates' ? ['IdempotencyKey'] : []),
    ...(edits === undefined ? [] : ['IfMatch']),
  ];
  return {
    operationId: id,
    summary,
    ...(description !== undefined && { description }),
    tags: [...tags],
    parameters: used.map((name) => ({ $ref: `#/components/parameters/${name}` })) as never,
    requestParams: { ...(params && { path: params }), ...(query && { query }) },
    ...(body && { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: responsesOf(operation),
    security: access === 'anyone' ? [{}, ...signedIn] : signedIn,
    ...(apiScope !== null && { 'x-api-scope': apiScope }),
  };
}

function responsesOf(operation: Operation): ZodOpenApiResponsesObject {
  const { answers, effect, edits, query, streams } = operation;
  const hasEtag = streams === undefined && (effect === 'reads' || edits !== undefined);
  const names = [
    ...(hasEtag ? [['ETag', 'ETag']] : []),
    ...(query !== undefined && 'cursor' in query.shape ? [['Link', 'Link']] : []),
    ...(effect === 'creates' ? [['Idempotency-Replayed', 'IdempotencyReplayed']] : []),
  ];
  const used = Object.fromEntries(names.map(([name, key]) => [name, { $ref: `#/components/headers/${key}` }]));
  const good = Object.entries(answers).map(([status, schema]) => [
    status,
    {
      description: titleOfStatus(Number(status)),
      headers: used,
      ...(schema !== null && { content: { 'application/json': { schema } } }),
      ...(streams !== undefined && {
        content: Object.fromEntries(streams.map((type) => [type, { schema: { type: 'string' as const } }])),
      }),
    },
  ]);
  const unchanged = effect === 'reads' && hasEtag ? [['304', { description: titleOfStatus(304) }]] : [];
  const problems = problemStatuses(operation)
    .filter((status) => !(status in answers))
    .map((status) => [String(status), { $ref: `#/components/responses/Problem${status}` }]);
  return Object.fromEntries([...good, ...unchanged, ...problems]) as ZodOpenApiResponsesObject;
}

/** What every operation of the kind may answer when it does not do what was asked. */
function problemStatuses({ effect, edits, access, apiScope }: Operation): number[] {
  return [
    400,
    401,
    ...(access === 'signed-in' || effect !== 'reads' || apiScope !== null ? [403] : []),
    404,
    ...(effect === 'reads' ? [] : [409, 413, 415, 422]),
    ...(edits === undefined ? [] : [412]),
    // Where it is merely allowed, an operation may still ask for it: a deletion that was not looked at before.
    ...(edits === undefined ? [] : [428]),
    429,
    500,
    503,
  ];
}

function problemResponse(status: number) {
  const retry = status === 429 || status === 503;
  return {
    description: titleOfStatus(status),
    content: { [problemMediaType]: { schema: problemSchema } },
    ...(retry && { headers: { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } } }),
  };
}

/** OpenAPI has no words for a path parameter of several segments, so an extension says it. */
function markSlashes(document: ApiDocument, path: string, method: Operation['method'], names: readonly string[]): void {
  for (const parameter of document.paths?.[path]?.[method]?.parameters ?? []) {
    if ('in' in parameter && parameter.in === 'path' && names.includes(parameter.name))
      Object.assign(parameter, { 'x-many-segments': true });
  }
}

/** The document, served as an operation of its own. */
export function openApiOperation(document: () => ApiDocument): Operation {
  return defineOperation({
    id: 'getOpenApi',
    method: 'get',
    path: '/openapi.json',
    summary: 'Read this description of the API',
    tags: ['api'],
    access: 'anyone',
    apiScope: null,
    effect: 'reads',
    cache: 'public',
    answers: { 200: z.custom<ApiDocument>().meta({ description: 'OpenAPI 3.1.', override: { type: 'object' } }) },
    handler: async () => ({ status: 200, body: document() }),
  });
}
