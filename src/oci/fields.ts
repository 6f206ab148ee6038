import { RegistryError } from './errors.ts';
import { quote } from './quote.ts';

/** A JSON object of a manifest, not looked into yet. */
export type Fields = { readonly [name: string]: unknown };

/** A manifest is refused: which field, what it must be, and what it is. */
export function invalidField(field: string, mustBe: string, value: unknown): RegistryError {
  return new RegistryError('manifestInvalid', {
    message: `${field} must be ${mustBe}, not ${quote(value)}`,
    detail: { field },
  });
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** True if the field is missing, or null as Go writes an empty value: every client written in Go reads both alike. */
export function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

export function objectAt(value: unknown, field: string): Fields {
  if (!isFields(value)) throw invalidField(field, 'an object', value);
  return value;
}

export function arrayAt(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalidField(field, 'an array', value);
  return value;
}

/** Strings that cannot be kept as text in PostgreSQL or sent as UTF-8 unharmed are refused here, rather than changed later. */
export function isKeepable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

export function textAt(value: unknown, field: string): string {
  if (typeof value !== 'string') throw invalidField(field, 'a string', value);
  if (!isKeepable(value)) throw invalidField(field, 'text without NUL or half surrogate pairs', value);
  return value;
}

/** https://github.com/opencontainers/image-spec/blob/main/annotations.md#rules */
export function annotationsAt(value: unknown, field: string): Record<string, string> {
  if (isAbsent(value)) return {};
  const entries = Object.entries(objectAt(value, field));
  for (const [key, text] of entries) {
    textAt(key, `a key of ${field}`);
    if (typeof text !== 'string' || !isKeepable(text)) textAt(text, `${field}[${quote(key)}]`);
  }
  return value as Record<string, string>;
}

/**
 * Clients written in Go match field names without regard to case (`ſ` and the Kelvin sign included), and the last one
 * wins: to them `Layers` after `layers` is the list of layers. We would check and keep one list, they would pull the other.
 */
export function refuseLookalikes(
  object: Fields,
  field: string,
  names: ReadonlySet<string>,
  folded: ReadonlySet<string>,
): void {
  for (const key of Object.keys(object)) {
    if (names.has(key) || !folded.has(foldCase(key))) continue;
    throw new RegistryError('manifestInvalid', {
      message: `${field} holds ${quote(key)}, which some clients read as another field; mind the case`,
      detail: { field },
    });
  }
}

export function foldCase(name: string): string {
  return name.toUpperCase().toLowerCase();
}
