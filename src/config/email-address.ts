import { z } from 'zod';

/** An address as browsers accept it, in lower case: no quotes, blanks, brackets, commas or line ends, so it is safe in a mail's header. */
export type EmailAddress = string & { readonly __brand: 'EmailAddress' };

/** https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1: a path of 256 with its brackets, and what stands before the @. */
const lengthMax = 254;
const localLengthMax = 64;

/** The address in lower case, as it is kept and compared; undefined where the text is none. */
export function parseEmailAddress(text: string): EmailAddress | undefined {
  const valid = text.length <= lengthMax && text.indexOf('@') <= localLengthMax && z.regexes.html5Email.test(text);
  return valid ? (text.toLowerCase() as EmailAddress) : undefined;
}
