/** Organizations and ways to log in, made by the API as their owners make them, for clients that know names and secrets only. */
import { TOTP } from 'otpauth';
import type { Response, Test } from 'supertest';
import type { Grant } from '../../src/access/grants.ts';
import type { RoleName } from '../../src/access/roles.ts';
import { apiOf, type Api } from './api.ts';
import type { Login } from './berth.ts';

/** A credential, and the end of it. */
interface MadeLogin extends Login {
  revoke(): Promise<void>;
}

const all: readonly Grant[] = [{ repositories: '*', actions: ['pull', 'push', 'delete'] }];

/** @throws Error when the answer is not a 2xx */
export async function succeed(request: Test): Promise<Response> {
  const answer = await request;
  if (!answer.ok) throw new Error(`${answer.status} for ${request.method} ${request.url}: ${answer.text}`);
  return answer;
}

const create = async <Made>(api: Api, path: string, body: unknown): Promise<Made> =>
  (await succeed(api.post(path, body))).body as Made;
const revoke = async (api: Api, path: string): Promise<void> => void (await succeed(api.delete(path)));

/** An organization, whose owner is the one who asks. */
export async function addOrganization(owner: Api, name: string): Promise<void> {
  await create(owner, '/namespaces', { name });
}

/** @param admin of the registry: an owner can only invite */
export async function addMember(admin: Api, organization: string, username: string, role: RoleName): Promise<void> {
  await succeed(admin.put(`/namespaces/${organization}/members/${username}`, { role }));
}

/** From now on the password alone does no longer do. */
export async function addSecondFactor(url: string, login: Login): Promise<void> {
  const api = await apiOf(url, login);
  const { password } = login;
  const { secret } = await create<{ secret: string }>(api, '/account/totp', { password });
  await succeed(api.post('/account/totp/confirm', { code: new TOTP({ secret }).generate() }));
}

/**
 * A personal access token.
 * @param api of this user, with name and password
 */
export async function addToken(api: Api, username: string, name: string, grants = all): Promise<MadeLogin> {
  const { id, secret } = await create<{ id: number; secret: string }>(api, '/tokens', { name, grants });
  return { username, password: secret, revoke: () => revoke(api, `/tokens/${id}`) };
}

/** A robot of a namespace, `NAMESPACE+NAME`. */
export async function addRobot(
  api: Api,
  namespace: string,
  name: string,
  grants: readonly Grant[],
): Promise<MadeLogin> {
  return robotOf(api, `/namespaces/${namespace}/robots`, { name, grants });
}

/** A robot of one repository, `NAMESPACE/REPOSITORY+NAME`. */
export async function addRepositoryRobot(
  api: Api,
  repository: string,
  name: string,
  actions: Grant['actions'],
): Promise<MadeLogin> {
  return robotOf(api, `/repositories/${repository}/-/robots`, { name, actions });
}

async function robotOf(api: Api, path: string, body: object): Promise<MadeLogin> {
  const made = await create<{ id: number; name: string; secret: string }>(api, path, body);
  return { username: made.name, password: made.secret, revoke: () => revoke(api, `/robots/${made.id}`) };
}
