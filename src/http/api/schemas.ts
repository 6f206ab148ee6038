/** Parts of requests and answers that many operations share. */
import { z } from 'zod';
import { parseRepositoryName } from '../../oci/reference.ts';

/** A repository's name in a path, as `{name+}`. Throws RegistryError `nameInvalid` by itself, with what is wrong. */
export const repositoryNameParam = z
  .string()
  .transform(parseRepositoryName)
  .meta({ description: "The repository's whole name; its slashes are not escaped.", example: 'acme/app' });
