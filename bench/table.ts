/** Figures as they are written down. */

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A figure to three digits, thousands parted. */
export function number(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The median, with the lowest and the highest. */
export function spread(values: readonly number[] | undefined): string {
  if (values === undefined || values.length === 0) return '';
  const middle = number(median(values));
  return values.length === 1 ? middle : `${middle} (${number(Math.min(...values))}-${number(Math.max(...values))})`;
}

/** A table in Markdown; the first line is its head. */
export function table(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length), 3));
  const text = lines.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`);
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [text[0]!, rule, ...text.slice(1)].join('\n');
}
