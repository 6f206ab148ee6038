/**
 * What an operation does not declare it does not take: every field of every body, at every depth, from the served
 * openapi.json. A field too many is refused, not ignored, and so is a value of another type.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestBerth, type TestBerth } from '../support/berth.ts';
import { addressOf, bodyFor, declaredOperations, type Declared, type Schema } from '../support/declared.ts';
import { basicOf, createSender, inTurns, type Sender } from '../support/sender.ts';

let berth: TestBerth;
let sender: Sender;
let operations: readonly Declared[];
let before: unknown;

beforeAll(async () => {
  berth = await startTestBerth();
  // An administrator in person: nobody may do more.
  sender = createSender(berth.url, basicOf(berth.admin));
  operations = (await declaredOperations(berth.url)).filter(({ method }) => method !== 'GET');
  await sender.send('/api/v1/namespaces', { method: 'POST', body: { name: 'acme' } });
  before = await facts();
});
afterAll(async () => {
  sender.close();
  await berth.stop();
});

/** How many rows every table has that a request could change. */
async function facts(): Promise<unknown> {
  const tables = await berth.database.query<{ name: string }>(
    `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'audit|known_addresses|migrations'
     ORDER BY 1`,
  );
  const counts = await Promise.all(
    tables.map(async ({ name }) => {
      const [row] = await berth.database.query<{ count: number }>(`SELECT count(*)::int AS count FROM ${name}`);
      return [name, row!.count];
    }),
  );
  const users = await berth.database.query('SELECT name, is_admin, disabled_at, email FROM users ORDER BY id');
  return [Object.fromEntries(counts), users];
}

const extraFields: Readonly<Record<string, unknown>> = {
  is_admin: true, isAdmin: true, admin: true, id: 1, userId: 1, user_id: 1, role: 'owner', owner: 'admin', ownerId: 1,
  kind: 'system', credentialId: 1, rootId: 1, grants: [{ repositories: '*', actions: ['admin'] }], apiScopes: ['admin:write'],
  createdAt: '2000-01-01T00:00:00Z', expiresAt: null, revokedAt: null, disabledAt: null, secret: 'bth_x', secretHash: 'x',
  passwordHash: 'x', namespace: '_', namespaceId: 1, repositoryId: 1, visibility: 'public', can: ['everything'],
  emailVerified: true, email_verified_at: '2000-01-01T00:00:00Z', totp: false, constructor: { prototype: { admin: true } },
}; // prettier-ignore

/** Sends a body, with whatever else the operation needs. */
async function send(operation: Declared, body: unknown, query: Readonly<Record<string, string>> = {}) {
  const names = { name: operation.template.includes('/repositories/') ? 'acme/app' : 'acme', namespace: 'acme' };
  const text = JSON.stringify(body);
  return sender.send(addressOf(operation, { path: names, query }), {
    method: operation.method,
    headers: { 'Content-Type': 'application/json', 'If-Match': '"none"' },
    body: text,
  });
}

const withBodies = (): readonly Declared[] => operations.filter(({ body }) => body !== undefined);

/** A body that is right but for one thing, at this path. */
function changed(value: unknown, path: readonly (string | number)[], change: (at: unknown) => unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return change(value);
  if (Array.isArray(value))
    return value.map((each, i) => (i === key ? changed(each, rest, change) : (each as unknown)));
  return { ...(value as object), [key]: changed((value as Record<string, unknown>)[key], rest, change) };
}

interface Place {
  readonly path: readonly (string | number)[];
  readonly schema: Schema;
}

/** Every field of a body, and the body itself. */
function placesIn(schema: Schema, path: readonly (string | number)[] = []): Place[] {
  const here = [{ path, schema }];
  const [first] = schema.anyOf ?? schema.oneOf ?? [];
  if (first !== undefined && first.type === 'object') return [...here, ...placesIn(first, path).slice(1)];
  if (schema.items !== undefined) return [...here, ...placesIn(schema.items, [...path, 0])];
  const fields = Object.entries(schema.properties ?? {});
  return [...here, ...fields.flatMap(([name, each]) => placesIn(each, [...path, name]))];
}

const isObject = ({ schema }: Place): boolean => schema.properties !== undefined;

test('a field too many is refused, wherever it stands and whatever it is called', async () => {
  const cases = withBodies().flatMap((operation) =>
    placesIn(operation.body!)
      .filter(isObject)
      .flatMap(({ path, schema }) => [
        ...Object.entries(extraFields)
          .filter(([name]) => !Object.hasOwn(schema.properties ?? {}, name))
          .map(([name, value]) => ({ operation, path, name, value })),
        // In other letters, too: to a database or another program it may be the same field.
        ...Object.keys(schema.properties ?? {}).flatMap((name) =>
          [name.toUpperCase(), `${name} `, `${name}[]`, `${name}.${name}`].map((other) => ({
            operation,
            path,
            name: other,
            value: 'x' as unknown,
          })),
        ),
      ]),
  );
  expect(cases.length).toBeGreaterThan(500);
  const taken = await inTurns(cases, async ({ operation, path, name, value }) => {
    const body = changed(bodyFor(operation), path, (at) => ({ ...(at as object), [name]: value }));
    const { status, text } = await send(operation, body);
    // All of them are told at once, so nothing else needs to be right. 403: it is not for administrators at all.
    return status === 400 && text.includes('is not known here') ? null : { id: operation.id, path, name, status, text };
  });
  expect(taken.filter((each) => each !== null).slice(0, 5)).toEqual([]);
  expect(await facts()).toEqual(before);
});

test('a prototype is nobody’s field', async () => {
  const names = ['__proto__', 'prototype', 'toString', 'hasOwnProperty', 'valueOf'];
  for (const operation of withBodies()) {
    const text = JSON.stringify(bodyFor(operation));
    for (const name of names) {
      const body = `{"${name}":{"admin":true,"is_admin":true},${text.slice(1)}`;
      const target = addressOf(operation, { path: { name: 'acme/app', namespace: 'acme' } });
      const answer = await sender.send(target, {
        method: operation.method,
        headers: { 'Content-Type': 'application/json', 'If-Match': '"none"' },
        body,
      });
      expect({ id: operation.id, name, status: answer.status, text: answer.text }).toMatchObject({
        id: operation.id,
        status: 400,
        text: expect.stringContaining('"path":"body') as string,
      });
    }
  }
  expect(({} as { admin?: boolean }).admin).toBeUndefined();
  expect(await facts()).toEqual(before);
});

test('a field twice is refused: two readers would see two requests', async () => {
  for (const operation of withBodies()) {
    const body = bodyFor(operation) as Record<string, unknown>;
    for (const [name, value] of Object.entries(body)) {
      const text = `{"${name}":${JSON.stringify(value)},${JSON.stringify(body).slice(1)}`;
      const target = addressOf(operation, { path: { name: 'acme/app', namespace: 'acme' } });
      const answer = await sender.send(target, {
        method: operation.method,
        headers: { 'Content-Type': 'application/json' },
        body: text,
      });
      expect({ id: operation.id, name, status: answer.status }).toEqual({ id: operation.id, name, status: 400 });
      expect(answer.text).toContain('the body is not valid JSON');
    }
  }
});

const wrongValues: readonly unknown[] = [null, true, false, 0, -1, 1.5, 1e300, '', 'x', [], ['x'], [[]], {}, { a: 1 }];

/** Whether the schema itself says that a value of this type may stand there. */
function takes(schema: Schema, value: unknown): boolean {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return choices.some((each) => takes(each, value));
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  if (schema.enum !== undefined) return schema.enum.includes(value);
  return types.some((each) => each === type || (each === 'integer' && Number.isInteger(value)));
}

test('a value of another type is refused, whatever could be made of it', async () => {
  const cases = withBodies().flatMap((operation) =>
    placesIn(operation.body!).flatMap(({ path, schema }) =>
      wrongValues.filter((value) => !takes(schema, value)).map((value) => ({ operation, path, value })),
    ),
  );
  expect(cases.length).toBeGreaterThan(300);
  const taken = await inTurns(cases, async ({ operation, path, value }) => {
    const { status, text } = await send(
      operation,
      changed(bodyFor(operation), path, () => value),
    );
    // The refusal is about the body, and not about something else that is not right.
    return status === 400 && text.includes('"path":"body') ? null : { id: operation.id, path, value, status, text };
  });
  expect(taken.filter((each) => each !== null).slice(0, 5)).toEqual([]);
  expect(await facts()).toEqual(before);
});

test('a parameter too many is refused, in every operation', async () => {
  const all = await declaredOperations(berth.url);
  const names = [
    'admin',
    'is_admin',
    'user_id',
    'role',
    'fields',
    'include',
    '_method',
    '__proto__',
    'constructor',
    'access_token',
  ];
  const cases = all.flatMap((operation) =>
    names
      .filter((name) => operation.parameters.every((parameter) => parameter.name !== name))
      .map((name) => ({ operation, name })),
  );
  const taken = await inTurns(cases, async ({ operation, name }) => {
    const body = operation.method === 'GET' ? undefined : bodyFor(operation);
    const { status, text } = await send(operation, body, { [name]: 'true' });
    return status === 400 && text.includes('is not known here') ? null : { id: operation.id, name, status, text };
  });
  expect(taken.filter((each) => each !== null)).toEqual([]);
  expect(await facts()).toEqual(before);
});

test('an operation without a body takes none', async () => {
  for (const operation of operations.filter(({ body }) => body === undefined)) {
    const { status, text } = await send(operation, { admin: true });
    expect({ id: operation.id, status }).toEqual({ id: operation.id, status: 400 });
    expect(text).toContain('this operation takes no body');
  }
  expect(await facts()).toEqual(before);
});
