/**
 * The operations that a server's own openapi.json declares, and requests made from their schemas: tests that go through all
 * of them meet the ones that are added tomorrow, too.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

export interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly example?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly minLength?: number;
  readonly format?: string;
  readonly $ref?: string;
}

export interface DeclaredParameter {
  readonly name: string;
  readonly in: 'path' | 'query';
  readonly required: boolean;
  readonly schema: Schema;
  /** Whether its value may hold slashes. */
  readonly manySegments: boolean;
}

export interface Declared {
  readonly id: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its prefix: `/api/v1/tokens/{id}`. */
  readonly template: string;
  readonly access: 'anyone' | 'signed-in';
  /** Path and query; headers are not among them. */
  readonly parameters: readonly DeclaredParameter[];
  readonly body: Schema | undefined;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentOperation>>>>;
}
interface DocumentOperation {
  readonly operationId: string;
  readonly security: readonly object[];
  readonly parameters?: readonly {
    readonly name?: string;
    readonly in?: string;
    readonly required?: boolean;
    readonly schema?: Schema;
    readonly 'x-many-segments'?: true;
  }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
}

/** In the order of the document. */
export async function declaredOperations(url: string): Promise<readonly Declared[]> {
  const document = (await (await fetch(`${url}/api/v1/openapi.json`)).json()) as Document;
  return Object.entries(document.paths).flatMap(([template, operations]) =>
    Object.entries(operations).map(([method, operation]): Declared => {
      const body = operation.requestBody?.content['application/json'].schema;
      return {
        id: operation.operationId,
        method: method.toUpperCase() as Declared['method'],
        template,
        access: operation.security.some((one) => Object.keys(one).length === 0) ? 'anyone' : 'signed-in',
        parameters: (operation.parameters ?? []).flatMap((each) =>
          each.in === 'path' || each.in === 'query'
            ? [
                {
                  name: each.name!,
                  in: each.in,
                  required: each.required === true,
                  schema: resolved(each.schema!, document),
                  manySegments: each['x-many-segments'] === true,
                },
              ]
            : [],
        ),
        body: body === undefined ? undefined : resolved(body, document),
      };
    }),
  );
}

/** Bodies of requests are trees: every reference can be put in its place. */
function resolved<T>(value: T, document: Document): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((each: unknown) => resolved(each, document)) as T;
  const { $ref } = value as Schema;
  if ($ref !== undefined) {
    const target = $ref
      .slice(2)
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
    return resolved(target, document) as T;
  }
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, resolved(each, document)])) as T;
}

/** Texts for fields whose schema has a pattern or a format and no example of its own. */
const texts: Readonly<Record<string, string>> = {
  'date-time': new Date(Date.now() + 24 * 3600 * 1000).toISOString(),
  email: 'ada@example.com',
  repositories: 'acme/*',
  kid: 'AAAAAAAAAAAAAAAA',
  id: '1',
  user: 'ada',
  token: '1',
  code: '123456',
};

/** Compiling a schema takes longer than most requests. */
const examples = new WeakMap<Schema, unknown>();

/** A value that the schema takes, with every field that there is. @throws Error when it does not; then `texts` needs another entry */
function exampleOf(schema: Schema, name: string): unknown {
  if (examples.has(schema)) return examples.get(schema);
  const value = valueOf(schema, name);
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  if (!ajv.validate(schema, value))
    throw new Error(`no example for ${name}: ${JSON.stringify(value)} is refused: ${ajv.errorsText()}`);
  examples.set(schema, value);
  return value;
}

function valueOf(schema: Schema, name: string): unknown {
  if (schema.example !== undefined) return schema.example;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  const [choice] = schema.anyOf ?? schema.oneOf ?? [];
  if (choice !== undefined) return valueOf(choice, name);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([key, each]) => [key, valueOf(each, key)]),
      );
    case 'array':
      return [valueOf(schema.items ?? {}, name)];
    case 'integer':
    case 'number':
      return schema.minimum ?? 1;
    case 'boolean':
      return true;
    default:
      return texts[schema.format ?? ''] ?? texts[name] ?? `x${name}`.padEnd(schema.minLength ?? 0, 'x');
  }
}

export interface Values {
  readonly path?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
}

/** The address of an operation. Path parameters that are not named get an example; of the query only what is required. */
export function addressOf(operation: Declared, { path = {}, query = {} }: Values = {}): string {
  const asked = new URLSearchParams();
  let address = operation.template;
  for (const parameter of operation.parameters) {
    const { name, schema, required } = parameter;
    if (parameter.in === 'query') {
      const value = query[name] ?? (required ? String(exampleOf(schema, name)) : undefined);
      if (value !== undefined) asked.set(name, value);
      continue;
    }
    const value = path[name] ?? String(exampleOf(schema, name));
    // Functions, lest a `$&` in a value be taken for something.
    address = address.replace(`{${name}}`, () =>
      parameter.manySegments ? value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(value),
    );
  }
  for (const [name, value] of Object.entries(query)) asked.set(name, value);
  return asked.size === 0 ? address : `${address}?${asked.toString()}`;
}

/** A body that the operation takes; undefined where it takes none. */
export const bodyFor = ({ body, id }: Declared): unknown => (body === undefined ? undefined : exampleOf(body, id));
