/** Longer values tell a reader nothing more, and would let a client choose the size of answers and log lines. */
const quotedCharsMax = 80;

/**
 * A value of a client as an error message may show it: bounded, and in printable ASCII only, because docker prints
 * messages to a terminal as they are and a value may hold escape sequences.
 */
export function quote(value: unknown): string {
  if (typeof value !== 'string') return describe(value);
  const shown = value.length > quotedCharsMax ? value.slice(0, quotedCharsMax) : value;
  const printable = JSON.stringify(shown).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return shown === value ? printable : `${printable}... (${value.length} characters)`;
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value);
}
