/** Parts of requests and answers that many operations share. */
import { z } from 'zod';
import { parseRepositoryName } from '../../oci/reference.ts';

/** A repository's name in a path, as `{name+}`. Throws RegistryError `nameInvalid` by itself, with what is wrong. */
export const repositoryNameParam = z
  .string()
  .transform(parseRepositoryName)
  .meta({ description: "The repository's whole name; its slashes are not escaped.", example: 'acme/app' });

/** A repository's name in a body. */
export const repositoryNameField = z
  .string()
  .max(255)
  .transform(parseRepositoryName)
  .meta({ description: 'The whole name of a repository.', example: 'acme/app' });

/** `dry_run=1`: only say what would happen. */
export const dryRunQuery = z.strictObject({
  dry_run: z
    .enum(['0', '1'])
    .transform((text) => text === '1')
    .default(false)
    .meta({ description: '1: only say what would go.' }),
});
