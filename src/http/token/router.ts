/** The token end-points: GET with Basic, POST with OAuth2 grants, and the keys that verify what they issue. */
import { Router, urlencoded, type NextFunction, type Request, type Response } from 'express';
import { z } from 'zod';
import type { RequestOrigin } from '../../access/actor.ts';
import type { Authenticator } from '../../access/authenticate.ts';
import { parseBasic } from '../../access/authenticate.ts';
import { anonymousCredentialId, type Caller } from '../../access/caller.ts';
import { UnauthorizedError } from '../../access/errors.ts';
import type { SigningKeys } from '../../access/keys.ts';
import { formatScope, parseScopes, scopesMax, type Scope } from '../../access/scopes.ts';
import type { IssuedToken, TokenService } from '../../access/token-service.ts';
import { RegistryError } from '../../oci/errors.ts';
import { answerOf, toRegistryErrors } from '../oci/errors.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Origins } from '../origin.ts';

export const tokenPath = '/auth/token';
const keysPath = '/auth/jwks';

export interface TokenRouterParts {
  readonly authenticator: Authenticator;
  readonly tokenService: TokenService;
  readonly keys: SigningKeys;
  readonly origins: Origins;
  readonly logger: Logger;
  readonly bodyBytesMax: number;
}

const anonymous: Caller = { credentialId: anonymousCredentialId, kid: null, scopes: null };

export function createTokenRouter({
  authenticator,
  tokenService,
  keys,
  origins,
  logger,
  bodyBytesMax,
}: TokenRouterParts): Router {
  const router = Router();
  const originOf = (req: Request, res: Response): RequestOrigin => ({
    address: origins.client(req),
    client: req.headers['user-agent'] ?? null,
    requestId: res.get('X-Request-Id') ?? null,
  });

  /** https://distribution.github.io/distribution/spec/auth/token/#requesting-a-token */
  async function getToken(req: Request, res: Response): Promise<void> {
    const asked = scopesOf(req.query['scope']);
    const { authorization } = req.headers;
    const basic = authorization === undefined ? null : parseBasic(authorization);
    const origin = originOf(req, res);
    const caller = basic === null ? anonymous : await authenticator.verifyBasic(basic.username, basic.password, origin);
    const issued = await tokenService.issue(caller, basic?.username ?? '', asked, origin);
    const offline = basic !== null && req.query['offline_token'] === 'true';
    const refreshToken = offline ? await tokenService.createRefreshToken(caller, origin) : undefined;
    answer(res, { token: issued.token, ...bodyOf(issued, refreshToken) });
  }

  /** https://distribution.github.io/distribution/spec/auth/oauth/ */
  async function postToken(req: Request, res: Response): Promise<void> {
    const form = parseForm(req.body);
    const asked = scopesOf(form.scope);
    const origin = originOf(req, res);
    if (form.grant_type === 'refresh_token') {
      const { caller, username } = await tokenService.redeem(form.refresh_token, origin);
      answer(res, bodyOf(await tokenService.issue(caller, username, asked, origin), form.refresh_token));
      return;
    }
    const caller = await authenticator.verifyBasic(form.username, form.password, origin);
    const issued = await tokenService.issue(caller, form.username, asked, origin);
    const refreshToken =
      form.access_type === 'offline' ? await tokenService.createRefreshToken(caller, origin) : undefined;
    answer(res, bodyOf(issued, refreshToken));
  }

  router.get(tokenPath, getToken);
  router.post(tokenPath, urlencoded({ extended: false, limit: bodyBytesMax }), postToken);
  router.get(keysPath, async (_req, res) => {
    res.set('Cache-Control', 'public, max-age=300').json(await keys.jwks());
  });
  router.use((error: unknown, req: Request, res: Response, next: NextFunction) => {
    if (res.headersSent) return next(error);
    const errors = toRegistryErrors(isBodyError(error) ? bodyRefusal(error) : error);
    const { status, headers, body } = answerOf(errors, '', '');
    if (status >= 500)
      logger.error({ requestId: res.get('X-Request-Id'), err: errors[0]!.cause ?? error }, 'a token request failed');
    else
      logger.info(
        { requestId: res.get('X-Request-Id'), status, reason: errors[0]!.message, username: usernameOf(req) },
        'a token was refused',
      );
    const oauth =
      req.method === 'POST'
        ? { error: status === 401 ? 'invalid_grant' : 'invalid_request', error_description: errors[0]!.message }
        : {};
    res
      .status(status)
      .set(status === 401 ? { 'WWW-Authenticate': 'Basic realm="Berth", charset="UTF-8"' } : headers)
      .json({ ...oauth, ...(JSON.parse(body) as object) });
  });
  return router;
}

/** RFC 6749 section 5.1: whoever caches a token gives it away. */
function answer(res: Response, body: object): void {
  res.set('Cache-Control', 'no-store').json(body);
}

function bodyOf(issued: IssuedToken, refreshToken: string | undefined): object {
  return {
    access_token: issued.token,
    scope: issued.access.map(formatScope).join(' '),
    expires_in: issued.expiresInSeconds,
    issued_at: issued.issuedAt.toISOString(),
    ...(refreshToken !== undefined && { refresh_token: refreshToken }),
  };
}

const formSchema = z.discriminatedUnion('grant_type', [
  z.object({
    grant_type: z.literal('password'),
    // A robot's name holds its repository's.
    username: z.string().max(512),
    password: z.string().max(4096),
    access_type: z.enum(['online', 'offline']).optional(),
    scope: z.union([z.string(), z.array(z.string())]).optional(),
  }),
  z.object({
    grant_type: z.literal('refresh_token'),
    refresh_token: z.string().min(1).max(4096),
    scope: z.union([z.string(), z.array(z.string())]).optional(),
  }),
]);

function parseForm(body: unknown): z.infer<typeof formSchema> {
  const result = formSchema.safeParse(body ?? {});
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new RegistryError('parameterInvalid', {
    message: `the token request is not valid: ${issue.path.join('.')}: ${issue.message}; grant_type is password or refresh_token`,
  });
}

function scopesOf(value: unknown): Scope[] {
  const texts = (Array.isArray(value) ? value : [value]).filter((text) => typeof text === 'string');
  const scopes = parseScopes(texts);
  if (scopes.length > scopesMax)
    throw new RegistryError('parameterInvalid', {
      message: `${scopes.length} scopes in one request; this registry takes ${scopesMax}`,
    });
  return scopes;
}

/** What Express's own body parsers throw: their status is the client's fault. */
function isBodyError(error: unknown): error is Error & { status: number } {
  return (
    error instanceof Error &&
    !(error instanceof RegistryError) &&
    !(error instanceof UnauthorizedError) &&
    'status' in error &&
    typeof error.status === 'number' &&
    error.status < 500
  );
}

function bodyRefusal(error: Error & { status: number }): RegistryError {
  return error.status === 413
    ? new RegistryError('bodyTooLarge', { cause: error })
    : new RegistryError('parameterInvalid', { message: error.message, cause: error });
}

function usernameOf(req: Request): string | undefined {
  try {
    return req.headers.authorization === undefined
      ? undefined
      : parseBasic(req.headers.authorization).username.slice(0, 64);
  } catch {
    return undefined;
  }
}
