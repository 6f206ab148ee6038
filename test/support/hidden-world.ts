/**
 * Things that a stranger must not know of, next to names of the same length that nobody has, and the stranger's own things.
 * Whatever tells the two apart is a leak.
 */
import type { OutgoingHttpHeaders } from 'node:http';
import type { Login, TestBerth } from './berth.ts';
import { clientOf, tokenFor } from './client.ts';
import type { Declared, DeclaredParameter } from './declared.ts';
import { makeImage, type TestImage } from './images.ts';
import { basicOf, createSender, type SendOptions, type Sent } from './sender.ts';

/** What a name in a request is the name of. */
export type Kind =
  | 'repository'
  | 'namespace'
  | 'user'
  | 'team'
  | 'token'
  | 'robot'
  | 'invitation'
  | 'key'
  | 'session'
  | 'address';

export interface HiddenWorld {
  /** The first is the most telling one. Existing, absent and own ones of a kind are told apart by nothing but themselves. */
  readonly existing: Readonly<Record<Kind, readonly string[]>>;
  readonly absent: Readonly<Record<Kind, readonly string[]>>;
  /** The stranger's. */
  readonly own: Readonly<Record<Kind, string>>;
  /** Everybody who is a stranger here, by the headers that they send. */
  readonly strangers: Readonly<Record<string, OutgoingHttpHeaders>>;
  readonly eve: Login;
  readonly owner: Login;
  /** What was pushed to the first hidden repository as `v1`. */
  readonly image: TestImage;
  /** An upload session in it. */
  readonly uploadId: string;
}

/** Makes it all by the API, as people would. */
export async function makeHiddenWorld(berth: TestBerth): Promise<HiddenWorld> {
  // Ids of as many digits as those that nobody has.
  for (const table of ['credentials', 'invitations'])
    await berth.database.query(`ALTER TABLE ${table} ALTER COLUMN id RESTART WITH 1000`);
  const [owner, , , eve] = await Promise.all(['adalov', 'robert', 'carole', 'eve'].map((name) => berth.addUser(name)));
  const sender = createSender(berth.url);
  const as =
    (login: Login) =>
    async (method: string, path: string, body?: unknown): Promise<{ id: number; secret: string }> => {
      const answer = await sender.send(`/api/v1${path}`, { method, headers: basicOf(login), body });
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
      return answer.json as { id: number; secret: string };
    };
  const [ada, evil, admin] = [as(owner!), as(eve!), as(berth.admin)];

  await ada('POST', '/namespaces', { name: 'hidden', description: 'a hidden purpose' });
  const image = makeImage();
  await clientOf(berth.url, owner).pushImage('hidden/app', 'v1', image);
  await clientOf(berth.url, owner).pushImage('hidden/was', 'v1', makeImage());
  await ada('POST', '/repositories/hidden/was/-/rename', { to: 'hidden/now' });
  const upload = await clientOf(berth.url, owner).request('post', '/v2/hidden/app/blobs/uploads/');
  await admin('PUT', '/namespaces/hidden/members/robert', { role: 'developer' });
  await ada('POST', '/namespaces/hidden/teams', { name: 'backend' });
  await ada('PUT', '/namespaces/hidden/teams/backend/members/robert');
  await ada('PUT', '/repositories/hidden/app/-/members/teams/backend', { role: 'maintainer' });
  const invitation = await ada('POST', '/namespaces/hidden/invitations', { invitee: 'carole', role: 'reader' });
  const grants = [{ repositories: '*', actions: ['pull', 'push', 'delete', 'admin'] }];
  const token = await ada('POST', '/tokens', { name: 'secret-token', grants });
  const robot = await ada('POST', '/namespaces/hidden/robots', {
    name: 'ci',
    grants: [{ ...grants[0], repositories: 'hidden/*' }],
  });

  await evil('POST', '/namespaces', { name: 'evilco' });
  await clientOf(berth.url, eve).pushImage('evilco/own', 'v1', makeImage());
  await evil('POST', '/namespaces/evilco/teams', { name: 'minions' });
  const ownToken = await evil('POST', '/tokens', { name: 'all', grants });
  const ownRobot = await evil('POST', '/namespaces/evilco/robots', {
    name: 'bot',
    grants: [{ ...grants[0], repositories: 'evilco/*' }],
  });
  const ownInvitation = await evil('POST', '/namespaces/evilco/invitations', { invitee: 'eve-too', role: 'reader' });
  const jwt = await tokenFor(berth.url, ['repository:hidden/app:*', 'registry:catalog:*'], eve);
  const [key] = await berth.database.query<{ kid: string }>('SELECT kid FROM signing_keys');
  await berth.database.query(
    `UPDATE users SET email = 'carole@example.com', email_verified_at = now() WHERE name = 'carole'`,
  );
  const sessionOf = async (login: Login): Promise<string> => {
    await as(login)('POST', '/session', { ...login, cookie: false });
    const sessions = await sender.send('/api/v1/sessions', { headers: basicOf(login) });
    return String((sessions.json as { items: { id: number }[] }).items[0]!.id);
  };
  const [session, ownSession] = [await sessionOf(owner!), await sessionOf(eve!)];
  sender.close();

  return {
    existing: {
      repository: ['hidden/app', 'hidden/was', 'hidden/now'],
      namespace: ['hidden', 'carole'],
      user: ['carole', 'robert'],
      team: ['backend'],
      token: [String(token.id)],
      robot: [String(robot.id)],
      invitation: [String(invitation.id)],
      key: [key!.kid],
      session: [session],
      address: ['carole@example.com'],
    },
    absent: {
      repository: ['hidden/abs', 'absent/app', 'nobdys/app'],
      namespace: ['absent', 'nobdys'],
      user: ['absent', 'nobdys'],
      team: ['noteams'],
      token: ['8888'],
      robot: ['8888'],
      invitation: ['8888'],
      key: ['A'.repeat(key!.kid.length)],
      session: ['8888'],
      address: ['absent@example.com'],
    },
    own: {
      repository: 'evilco/own',
      namespace: 'evilco',
      user: 'eve',
      team: 'minions',
      token: String(ownToken.id),
      robot: String(ownRobot.id),
      invitation: String(ownInvitation.id),
      key: key!.kid,
      session: ownSession,
      address: 'eve@example.com',
    },
    strangers: {
      nobody: {},
      'an account': basicOf(eve!),
      'a token for everything': { Authorization: `Bearer ${ownToken.secret}` },
      'a robot': { Authorization: `Bearer ${ownRobot.secret}` },
      'an access token': { Authorization: `Bearer ${jwt}` },
    },
    eve: eve!,
    owner: owner!,
    image,
    uploadId: upload.headers['location']!.split('/').at(-1)!.split('?')[0]!,
  };
}

/** Names of parameters and fields that name nothing that could be hidden. */
const plainNames = new Set([
  'limit', 'cursor', 'ended', 'dry_run', 'action', 'actions', 'outcome', 'format', 'since', 'until', 'address', 'role',
  'description', 'visibility', 'grants', 'apiScopes', 'expiresAt', 'overlapSeconds', 'password', 'code', 'request_id',
  'newPassword', 'cookie', 'admin', 'disabled', 'hours',
]); // prettier-ignore

/** By where a `name` stands, what it is the name of. */
const kindsOfName: readonly (readonly [template: RegExp, kind: Kind])[] = [
  [/^\/api\/v1\/repositories/, 'repository'],
  [/^\/api\/v1\/namespaces/, 'namespace'],
  [/^\/api\/v1\/users/, 'user'],
];
const kindsOfId: readonly (readonly [template: RegExp, kind: Kind])[] = [
  [/\/tokens\/\{id\}/, 'token'],
  [/\/robots\/\{id\}/, 'robot'],
  [/\/invitations\/\{id\}/, 'invitation'],
  [/\/sessions\/\{id\}/, 'session'],
];
const kindsByName: Readonly<Record<string, Kind>> = {
  namespace: 'namespace',
  repository: 'repository',
  to: 'repository',
  target: 'repository',
  user: 'user',
  username: 'user',
  account: 'user',
  who: 'user',
  invitee: 'user',
  team: 'team',
  kid: 'key',
  email: 'address',
};

/**
 * What a parameter or field names; null when it names nothing.
 * @throws Error for one that nobody has thought about yet
 */
function kindOf({ id, template }: Declared, where: 'path' | 'query' | 'body', name: string): Kind | null {
  const byPlace = (kinds: readonly (readonly [RegExp, Kind])[]): Kind | undefined =>
    kinds.find(([pattern]) => pattern.test(template))?.[1];
  if (plainNames.has(name)) return null;
  // A new team, robot or token is called as its maker likes.
  if (name === 'name' && where === 'body' && /\/(teams(\/\{team\})?|robots|tokens)$/.test(template)) return null;
  // The secret of a link is nobody's name.
  if (name === 'token') return where === 'body' ? null : 'token';
  const kind =
    name === 'name' || name === 'search'
      ? byPlace(kindsOfName)
      : name === 'id'
        ? byPlace(kindsOfId)
        : kindsByName[name];
  if (kind !== undefined) return kind;
  throw new Error(`${id}: does ${where}.${name} name something that may be hidden? Say so in kindOf`);
}

/** A place in the requests of an operation where a name stands. */
export interface NamePlace {
  readonly where: 'path' | 'query' | 'body';
  readonly name: string;
  readonly kind: Kind;
}

export function namePlacesOf(operation: Declared): NamePlace[] {
  const ofParameters = operation.parameters.map(({ in: where, name }: DeclaredParameter) => ({ where, name }));
  const ofBody = Object.keys(operation.body?.properties ?? {}).map((name) => ({ where: 'body' as const, name }));
  return [...ofParameters, ...ofBody].flatMap(({ where, name }) => {
    const kind = kindOf(operation, where, name);
    return kind === null ? [] : [{ where, name, kind }];
  });
}

/** All that a client could tell two answers apart by, without what is new with each, and without the names asked for. */
export function seenIn(answer: Sent, ...names: readonly string[]): unknown {
  const { date: _date, 'x-request-id': requestId, ...rest } = answer.headers;
  // An entity tag is made of the body, which is compared itself.
  if (rest.etag !== undefined && answer.status < 300) rest.etag = '';
  let text = JSON.stringify({ status: answer.status, headers: rest, text: answer.text });
  if (typeof requestId === 'string') text = text.replaceAll(requestId, 'REQUEST');
  text = text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replaceAll(/\\"id\\":\d+/g, 'ID');
  const longestFirst = names.filter((each) => each !== '').toSorted((one, other) => other.length - one.length);
  for (const name of longestFirst) text = text.replaceAll(name, 'NAME').replaceAll(encodeURIComponent(name), 'NAME');
  return JSON.parse(text);
}

/** A request to the data plane about one repository. */
export type PlaneRequest = SendOptions & { readonly what: string; readonly path: string };

/** Every address of the data plane below a repository, with what is in the hidden one. */
export function planeRequests(name: string, { image, uploadId }: HiddenWorld): readonly PlaneRequest[] {
  const blob = image.layers[0]!.digest;
  const other = `sha256:${'0'.repeat(64)}`;
  const upload = `/v2/${name}/blobs/uploads/${uploadId}`;
  const octets = { 'Content-Type': 'application/octet-stream' };
  const manifest = { headers: { 'Content-Type': image.mediaType }, body: image.bytes.toString() };
  return [
    { what: 'a tag', path: `/v2/${name}/manifests/v1` },
    { what: 'a tag, its head', method: 'HEAD', path: `/v2/${name}/manifests/v1` },
    { what: 'a tag that is not there', path: `/v2/${name}/manifests/v2` },
    { what: 'a manifest', path: `/v2/${name}/manifests/${image.digest}` },
    { what: 'a manifest, if it is new', path: `/v2/${name}/manifests/v1`, headers: { 'If-None-Match': '*' } },
    { what: 'a blob', path: `/v2/${name}/blobs/${blob}` },
    { what: 'a blob, its head', method: 'HEAD', path: `/v2/${name}/blobs/${blob}` },
    { what: 'a part of a blob', path: `/v2/${name}/blobs/${blob}`, headers: { Range: 'bytes=0-0' } },
    { what: 'a part behind its end', path: `/v2/${name}/blobs/${blob}`, headers: { Range: 'bytes=99999999-' } },
    { what: 'the tags', path: `/v2/${name}/tags/list` },
    { what: 'no tags', path: `/v2/${name}/tags/list?n=0` },
    { what: 'the tags behind one', path: `/v2/${name}/tags/list?last=v0&n=1` },
    { what: 'the referrers', path: `/v2/${name}/referrers/${image.digest}` },
    { what: 'the referrers of nothing', path: `/v2/${name}/referrers/${other}` },
    { what: 'opening an upload', method: 'POST', path: `/v2/${name}/blobs/uploads/` },
    {
      what: 'a whole blob',
      method: 'POST',
      path: `/v2/${name}/blobs/uploads/?digest=${blob}`,
      headers: octets,
      body: '',
    },
    { what: 'mounting into it', method: 'POST', path: `/v2/${name}/blobs/uploads/?mount=${blob}&from=evilco/own` },
    { what: 'an upload', path: upload },
    { what: 'a chunk', method: 'PATCH', path: upload, headers: octets, body: 'x' },
    { what: 'closing an upload', method: 'PUT', path: `${upload}?digest=${other}` },
    { what: 'cancelling an upload', method: 'DELETE', path: upload },
    { what: 'pushing a tag', method: 'PUT', path: `/v2/${name}/manifests/v1`, ...manifest },
    { what: 'pushing a manifest', method: 'PUT', path: `/v2/${name}/manifests/${image.digest}`, ...manifest },
    { what: 'deleting a tag', method: 'DELETE', path: `/v2/${name}/manifests/v1` },
    { what: 'deleting a manifest', method: 'DELETE', path: `/v2/${name}/manifests/${image.digest}` },
    { what: 'deleting a blob', method: 'DELETE', path: `/v2/${name}/blobs/${blob}` },
    { what: 'a token for it', path: `/auth/token?service=berth&scope=repository:${name}:pull,push,delete` },
  ];
}
