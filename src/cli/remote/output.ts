/** What the commands print: tables and sentences for people, a JSON value a line for programs. */

/** One line of text that cannot move a terminal's cursor: what others have written is shown, not obeyed. */
export const visible = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');

/** Characters that JSON leaves as they are, and terminals obey. */
const unescaped = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** The value as JSON, in many lines where a person reads it. */
export function toJson(value: unknown, pretty: boolean): string {
  const text = JSON.stringify(value, null, pretty ? 2 : undefined);
  return text.replaceAll(unescaped, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Headings, and what stands below them. */
export type Columns<Item> = Readonly<Record<string, (item: Item) => string | number | null | undefined>>;

/** Columns as wide as their widest entry; empty without rows. */
export function toTable<Item>(items: readonly Item[], columns: Columns<Item>): string {
  if (items.length === 0) return '';
  const rows = [
    Object.keys(columns).map((heading) => heading.toUpperCase()),
    ...items.map((item) => Object.values(columns).map((cell) => visible(String(cell(item) ?? '-')) || '-')),
  ];
  const widths = Object.keys(columns).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

export interface Printer {
  /** A table, or each item as a line of JSON as soon as it is there. */
  list<Item>(items: AsyncIterable<Item>, columns: Columns<Item>): Promise<void>;
  /** Sentences, or the answer that they speak of. */
  done(sentences: string | readonly string[], answer?: unknown): void;
  /** Beside the output, and not part of it. */
  note(sentence: string): void;
}

export function createPrinter(json: boolean): Printer {
  return {
    async list(items, columns) {
      const rows = [];
      for await (const item of items) {
        if (json) process.stdout.write(`${toJson(item, false)}\n`);
        else rows.push(item);
      }
      process.stdout.write(toTable(rows, columns));
      if (!json && rows.length === 0) process.stderr.write('There are none.\n');
    },
    done(sentences, answer) {
      const lines = json ? (answer === undefined ? [] : [toJson(answer, false)]) : [sentences].flat().map(visible);
      process.stdout.write(lines.map((line) => `${line}\n`).join(''));
    },
    note(sentence) {
      process.stderr.write(`${visible(sentence)}\n`);
    },
  };
}
