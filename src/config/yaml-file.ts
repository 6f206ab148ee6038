import { LineCounter, isMap, isScalar, isSeq, parseDocument, type Node } from 'yaml';

export interface YamlSettings {
  readonly texts: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
}

/**
 * Reads `NAME: value` lines. Every scalar stays the text that was written (`failsafe`), as in the environment, so that
 * a password of digits is not a number; a list is its parts with commas between. Problems name lines and settings only:
 * the parser's own messages may quote a secret.
 */
export function readYamlSettings(source: string): YamlSettings {
  const lines = new LineCounter();
  const document = parseDocument(source, { schema: 'failsafe', prettyErrors: false, lineCounter: lines });
  if (document.errors.length > 0) {
    const problems = document.errors.map((error) => {
      const reason = error.code.toLowerCase().replaceAll('_', ' ');
      return `berth.yaml, line ${lines.linePos(error.pos[0]).line}: not valid YAML (${reason})`;
    });
    return { texts: new Map(), problems };
  }
  if (isEmpty(document.contents)) return { texts: new Map(), problems: [] };
  if (!isMap(document.contents)) {
    return { texts: new Map(), problems: ['berth.yaml: expected lines of the form NAME: value'] };
  }

  const texts = new Map<string, string>();
  const problems: string[] = [];
  for (const { key, value } of document.contents.items) {
    const name = scalarText(key);
    const text = textOf(value);
    if (name === undefined) problems.push('berth.yaml: expected lines of the form NAME: value');
    else if (text === undefined) problems.push(`${name} (in berth.yaml): expected one value or a list of values`);
    else texts.set(name, text);
  }
  return { texts, problems };
}

const isEmpty = (node: Node | null): boolean => node === null || scalarText(node) === '';

function textOf(node: unknown): string | undefined {
  if (node === null) return '';
  if (!isSeq(node)) return scalarText(node);
  const parts = node.items.map(scalarText);
  return parts.includes(undefined) ? undefined : parts.join(',');
}

function scalarText(node: unknown): string | undefined {
  return isScalar(node) && typeof node.value === 'string' ? node.value : undefined;
}
