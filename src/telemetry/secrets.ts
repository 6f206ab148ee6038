/** Names under which secrets travel, in lower case. */
export const secretNames: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'password',
  'token',
  'access_token',
  'refresh_token',
  'secret',
]);
const depthMax = 8;

/**
 * What is a secret by its look, in whatever text somebody put it (an address, a name, the message of an error): tokens of
 * ours, JSON Web Tokens, the value behind a secret's name in a query, and the password of an address.
 */
const secretTexts = new RegExp(
  [
    'bth_[0-9A-Za-z]{20,}',
    'eyJ[\\w-]{8,}\\.[\\w-]+(?:\\.[\\w-]*)?',
    `(?<=[?&](?:${[...secretNames].join('|')})=)[^&\\s]+`,
    '(?<=//[^/\\s:@]*:)[^/\\s@]+(?=@)',
  ].join('|'),
  'g',
);
/** One of these is in each; most texts have none of them, and that is known sooner than that nothing matches. */
const marks = ['bth_', 'eyJ', '@', ...[...secretNames].map((name) => `${name}=`)];

function hideInText(text: string): string {
  return marks.some((mark) => text.includes(mark)) ? text.replace(secretTexts, '***') : text;
}

/**
 * A copy of plain objects and arrays in which what has a secret's name, or looks like one, reads `***`, at any depth up to
 * eight; what lies deeper is left out. (pino's own redaction needs a path for every depth and 20 to 40 µs a line.)
 */
export function hideSecrets(value: unknown, depth = depthMax): unknown {
  if (typeof value === 'string') return hideInText(value);
  if (Array.isArray(value)) return depth === 0 ? [] : value.map((item) => hideSecrets(item, depth - 1));
  return isPlain(value) ? hideIn(value, depth) : value;
}

function hideIn(object: Readonly<Record<string, unknown>>, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  if (depth === 0) return copy;
  for (const [name, value] of Object.entries(object)) {
    copy[name] = secretNames.has(name.toLowerCase()) ? '***' : hideSecrets(value, depth - 1);
  }
  return copy;
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
