/**
 * Scopes of Docker's token protocol: `repository:NAME:pull,push`, `registry:catalog:*`.
 * https://distribution.github.io/distribution/spec/auth/scope/
 */

/** What a token says that its bearer asked for and may do: one entry of the `access` claim. */
export interface Scope {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** More scopes than this in one token request are refused: docker asks for a handful (one per mount source). */
export const scopesMax = 64;

const scopePattern = /^([a-z0-9]+)(?:\([a-z0-9]+\))?:([^\s]+):([a-z*]+(?:,[a-z*]+)*)?$/;

/**
 * Reads one scope. Returns undefined for what is not a scope: unknown scopes are ignored, not refused, as the protocol
 * says. A host with a port in the name (`repository:localhost:5000/a:pull`) is split at the last colon.
 */
export function parseScope(text: string): Scope | undefined {
  if (text.length > 1024) return undefined;
  const match = scopePattern.exec(text);
  if (match === null) return undefined;
  return { type: match[1]!, name: match[2]!, actions: match[3] === undefined ? [] : [...new Set(match[3].split(','))] };
}

/** Reads the `scope` parameters of a token request, each of which may hold several scopes parted by spaces. */
export function parseScopes(parameters: readonly string[]): Scope[] {
  return parameters
    .flatMap((parameter) => parameter.split(' '))
    .filter((text) => text !== '')
    .map(parseScope)
    .filter((scope) => scope !== undefined);
}

/** The scope as text, as a challenge names it. */
export function formatScope(scope: Scope): string {
  return `${scope.type}:${scope.name}:${scope.actions.join(',')}`;
}

/** Whether a list of scopes covers one action on one resource. */
export function scopesCover(scopes: readonly Scope[], type: string, name: string, action: string): boolean {
  for (const scope of scopes) {
    if (scope.type === type && scope.name === name && (scope.actions.includes(action) || scope.actions.includes('*')))
      return true;
  }
  return false;
}
