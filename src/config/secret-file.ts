/** A secret that stands in a file of its own, as Docker and Kubernetes mount them: `BERTH_X_FILE` in place of `BERTH_X`. */
import { readFileSync } from 'node:fs';
import { settingNames, settingOf } from './settings.ts';

/** The names that take a file's path, one for every secret setting. */
export const secretFileNames: readonly string[] = settingNames
  .filter((name) => settingOf(name).secret)
  .map((name) => `${name}_FILE`);

/** The secret, without the line's end that editors and `echo` leave behind it, or what is wrong with the file. */
export function readSecretFile(path: string): { readonly text: string } | { readonly problem: string } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return { problem: code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code})` };
  }
  return text === '' ? { problem: 'the file is empty' } : { text };
}
