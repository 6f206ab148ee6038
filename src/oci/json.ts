import { quote } from './quote.ts';

export interface JsonLimits {
  /** Nested objects and arrays, the outermost included. */
  readonly depthMax: number;
  /** Keys in one object; 10,000 if not given. Half a million of them in 4 MiB would stop every other request for 0.4 s. */
  readonly keysMax?: number;
}

/** What makes a text no JSON that every reader reads alike. */
export class JsonError extends Error {
  /** In UTF-16 units from the beginning, where known. */
  readonly position: number | undefined;

  constructor(problem: string, position?: number, options?: ErrorOptions) {
    super(position === undefined ? problem : `${problem} at position ${position}`, options);
    this.name = 'JsonError';
    this.position = position;
  }
}

/** A byte order mark is kept in the text, so that it is seen and refused. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * JSON that two readers cannot understand differently (RFC 8259 §4 and §8.1 leave it to each of them): UTF-8 without
 * a mark, each key once per object. A `__proto__` key becomes an own property and changes no prototype.
 * Time is linear in the input.
 * @throws JsonError
 */
export function parseStrictJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  const text = decode(bytes);
  refuseDeepOrRepeated(text, limits.depthMax, limits.keysMax ?? 10_000);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw fromSyntaxError(error, text);
  }
}

function decode(bytes: Uint8Array): string {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw new JsonError('the text is not UTF-8', undefined, { cause });
  }
  if (text.charCodeAt(0) === 0xfeff) throw new JsonError('a byte order mark is not allowed', 0);
  return text;
}

/** V8 shows a piece of the input in some messages and the position in others. */
function fromSyntaxError(error: unknown, text: string): JsonError {
  const said = error instanceof Error ? error.message : String(error);
  const found = /^(.*?)(?: in JSON)? at position (\d+)/s.exec(said);
  const position = found ? Number(found[2]) : said.startsWith('Unexpected end') ? text.length : undefined;
  const problem = (found?.[1] ?? said).slice(0, 200).replace(/[^\x20-\x7e]/g, '?');
  return new JsonError(problem, position, { cause: error });
}

/** One open object or array. Frames are reused along the depth, so that a million small objects allocate nothing. */
interface Frame {
  isObject: boolean;
  readonly few: string[];
  /** Takes over from `few` when an object has more keys than a linear search is good for. */
  many: Set<string> | undefined;
}

const fewMax = 8;
const quoteSign = 0x22;
const comma = 0x2c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/**
 * Looks only at quotes, braces, brackets and commas, in any text: what is not JSON may pass, since JSON.parse comes after.
 * It runs before JSON.parse so that the depth is bounded there.
 */
function refuseDeepOrRepeated(text: string, depthMax: number, keysMax: number): void {
  const endOfString = stringEnds(text);
  const frames: Frame[] = [];
  let depth = 0;
  let keyComes = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case quoteSign: {
        const end = endOfString(at + 1);
        if (keyComes) addKey(frames[depth - 1]!, text.slice(at + 1, end), at, keysMax);
        keyComes = false;
        at = end;
        break;
      }
      case openBrace:
      case openBracket:
        if (depth === depthMax) throw new JsonError(`more than ${depthMax} nested objects and arrays`, at);
        keyComes = text.charCodeAt(at) === openBrace;
        open((frames[depth++] ??= { isObject: false, few: [], many: undefined }), keyComes);
        break;
      case closeBrace:
      case closeBracket:
        if (depth === 0) return;
        depth--;
        keyComes = false;
        break;
      case comma:
        keyComes = depth > 0 && frames[depth - 1]!.isObject;
        break;
    }
  }
}

function open(frame: Frame, isObject: boolean): void {
  frame.isObject = isObject;
  frame.few.length = 0;
  frame.many = undefined;
}

/**
 * Gives the index of the quote that ends the string begun before `from`, or the text's length if none does. Searches
 * with indexOf, which is many times faster than a loop, and remembers the next backslash so that none is searched twice.
 */
function stringEnds(text: string): (from: number) => number {
  const find = (sign: string, from: number) => {
    const found = text.indexOf(sign, from);
    return found < 0 ? text.length : found;
  };
  let backslash = find('\\', 0);
  return (from) => {
    let end = find('"', from);
    let plainFrom = from;
    for (;;) {
      if (backslash < plainFrom) backslash = find('\\', plainFrom);
      if (backslash >= end) return end;
      plainFrom = backslash + 2;
      if (end < plainFrom) end = find('"', plainFrom);
    }
  };
}

function addKey(frame: Frame, written: string, position: number, keysMax: number): void {
  const key = written.includes('\\') ? unescape(written) : written;
  if (frame.many ? frame.many.has(key) : frame.few.includes(key))
    throw new JsonError(`the key ${quote(key)} is there twice`, position);
  if (frame.many) frame.many.add(key);
  else if (frame.few.push(key) > fewMax) frame.many = new Set(frame.few);
  if (frame.many && frame.many.size > keysMax) throw new JsonError(`more than ${keysMax} keys in one object`, position);
}

function unescape(written: string): string {
  try {
    return String(JSON.parse(`"${written}"`));
  } catch {
    return written; // JSON.parse of the whole text will say what is wrong with it
  }
}
