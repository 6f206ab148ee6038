/** `/api/v1/repositories/NAME/-`: what an owner can see and change of a repository. */
import { json, Router, type Request, type Response } from 'express';
import { z } from 'zod';
import { actorOf, type RequestOrigin } from '../../access/actor.ts';
import type { Authenticator } from '../../access/authenticate.ts';
import { enforce, repositoryUnknown } from '../../access/enforce.ts';
import type { Lookup, Standing } from '../../access/lookup.ts';
import { decide, visibilities, type RepositoryAction } from '../../access/policy.ts';
import type { Database } from '../../database/pool.ts';
import { RegistryError } from '../../oci/errors.ts';
import { parseRepositoryName, type RepositoryName } from '../../oci/reference.ts';
import type { Repositories } from '../../registry/repositories.ts';
import { sendProblem } from './problem.ts';

export interface RepositoryRouterParts {
  readonly authenticator: Authenticator;
  readonly lookup: Lookup;
  readonly repositories: Repositories;
  readonly database: Database;
  readonly bodyBytesMax: number;
}

/** `-` cannot be a name component, so whatever the name holds the path can be read; without it the name ends the path. */
const path = /^\/api\/v1\/repositories\/(?<name>.+?)(?:\/-)?$/;

const changeSchema = z.strictObject({ visibility: z.enum(visibilities) });

const originOf = (req: Request): RequestOrigin => ({
  address: req.socket.remoteAddress ?? null,
  client: req.headers['user-agent'] ?? null,
  requestId: null,
});

export function createRepositoryRouter({
  authenticator,
  lookup,
  repositories,
  database,
  bodyBytesMax,
}: RepositoryRouterParts): Router {
  const router = Router();

  async function authorize(
    req: Request,
    action: RepositoryAction,
  ): Promise<{ name: RepositoryName; standing: Standing & { repositoryId: number } }> {
    const name = parseRepositoryName(req.params['name'] as string);
    const caller = await authenticator.authenticate(req.headers.authorization, originOf(req));
    const standing = await lookup(caller, name);
    const decision = decide(standing.subject, caller.scopes, name, action, standing.facts);
    if (decision.outcome === 'invisible') throw repositoryUnknown(name, standing.subject);
    enforce(decision, standing.subject, name, action);
    const { repositoryId } = standing;
    if (repositoryId === null) throw repositoryUnknown(name);
    return { name, standing: { ...standing, repositoryId } };
  }

  router.get(path, async (req: Request, res: Response) => {
    const { name, standing } = await authorize(req, 'pull');
    res.json({ name, visibility: standing.facts.visibility });
  });

  router.patch(path, json({ limit: bodyBytesMax }), async (req: Request, res: Response) => {
    // Whoever may delete all of a repository may also say who sees it.
    const { name, standing } = await authorize(req, 'settings');
    const change = changeSchema.safeParse(req.body);
    if (!change.success) {
      const issue = change.error.issues[0]!;
      throw new RegistryError('parameterInvalid', {
        message: `the change is not valid: ${[issue.path.join('.'), issue.message].filter((part) => part !== '').join(': ')}; send {"visibility": "private"} or {"visibility": "public"}`,
      });
    }
    const actor = actorOf(standing.subject!, originOf(req));
    await database.transaction((queryer) =>
      repositories.setVisibility(queryer, standing.repositoryId, change.data.visibility, actor),
    );
    res.json({ name, visibility: change.data.visibility });
  });

  router.all(path, (req: Request, res: Response) => {
    res.set('Allow', 'GET, HEAD, PATCH');
    throw new RegistryError('methodNotAllowed', {
      message: `this address takes GET, HEAD and PATCH, not ${req.method}`,
    });
  });
  router.use(sendProblem);
  return router;
}
