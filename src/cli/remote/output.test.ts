import { expect, test } from 'vitest';
import { toJson, toTable, visible } from './output.ts';

test('a table is as wide as what stands in it', () => {
  interface Team {
    readonly name: string;
    readonly role: string | null;
  }
  const rows: Team[] = [
    { name: 'a', role: null },
    { name: 'backend', role: 'owner' },
  ];
  const columns = { team: ({ name }: Team) => name, role: ({ role }: Team) => role };
  expect(toTable(rows, columns)).toBe('TEAM     ROLE\na        -\nbackend  owner\n');
  expect(toTable([], columns)).toBe('');
});

const hostile = 'a\u001b[2Jb\nc\u009bd\u202ee\u2028f';

test('what others have written moves no cursor and makes no line', () => {
  expect(visible(hostile)).toBe('a?[2Jb?c?d?e?f');
  expect(toTable([hostile], { text: (text) => text }).split('\n')).toEqual(['TEXT', 'a?[2Jb?c?d?e?f', '']);
});

test.each([true, false])('JSON keeps all of it, escaped (for a person: %j)', (pretty) => {
  const text = toJson({ text: hostile, name: 'Anvils äöü 🔨' }, pretty);
  expect(JSON.parse(text)).toEqual({ text: hostile, name: 'Anvils äöü 🔨' });
  expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
  expect(text.split('\n')).toHaveLength(pretty ? 4 : 1);
});
