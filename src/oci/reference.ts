import { type Digest, parseDigest } from './digest.ts';
import { RegistryError } from './errors.ts';
import { quote } from './quote.ts';

/** `<name>` of https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests, at most 255 characters. */
export type RepositoryName = string & { readonly __brand: 'RepositoryName' };

/** `<tag-or-digest>` as a tag, of the same section: at most 128 characters. */
export type Tag = string & { readonly __brand: 'Tag' };

export type Reference = { kind: 'digest'; digest: Digest } | { kind: 'tag'; tag: Tag };

const nameCharsMax = 255;
/** The spec's grammar. At each character only one way is open, so a mismatch costs linear time however the name was chosen. */
const namePattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** @throws RegistryError nameInvalid, saying what is wrong with the name. */
export function parseRepositoryName(text: string): RepositoryName {
  if (text.length <= nameCharsMax && namePattern.test(text)) return text as RepositoryName;
  throw new RegistryError('nameInvalid', {
    message: `${quote(text)} is not a repository name: ${whyNoName(text)}`,
    detail: { name: text.slice(0, nameCharsMax) },
  });
}

function whyNoName(text: string): string {
  if (text === '') return 'it is empty';
  if (text.length > nameCharsMax) return `it has more than ${nameCharsMax} characters`;
  if (namePattern.test(text.toLowerCase())) return 'it must be lower case';
  return 'use lower case letters and digits, one of . _ __ or dashes between them, and single slashes between components';
}

/** @throws RegistryError tagInvalid */
export function parseTag(text: string): Tag {
  if (tagPattern.test(text)) return text as Tag;
  throw new RegistryError('tagInvalid', {
    message: `${quote(text)} is not a tag: use 1 to 128 letters, digits, _ . and -, not beginning with . or -`,
    detail: { tag: text.slice(0, 128) },
  });
}

/**
 * A tag cannot hold a colon and a digest must, so a text with one is meant as a digest.
 * @throws RegistryError digestInvalid or tagInvalid
 */
export function parseReference(text: string): Reference {
  return text.includes(':') ? { kind: 'digest', digest: parseDigest(text) } : { kind: 'tag', tag: parseTag(text) };
}

/** The first path component; `_`, which the grammar forbids as a component, owns the names without a slash. */
export function namespaceOf(name: RepositoryName): string {
  const slash = name.indexOf('/');
  return slash < 0 ? '_' : name.slice(0, slash);
}
