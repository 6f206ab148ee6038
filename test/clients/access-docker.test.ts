/** Who may do what with docker, in every way to log in, and what docker tells them. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { buildImage, startDockerd, type Dockerd, type DockerUser } from '../support/dockerd.ts';
import { pauseAfterFirstBlob } from '../support/http-proxy.ts';
import {
  addMember,
  addOrganization,
  addRepositoryRobot,
  addRobot,
  addSecondFactor,
  addToken,
  succeed,
} from '../support/sign-in.ts';
import { titled, whyNot } from '../support/tools.ts';

const reason = whyNot('docker', 'dockerd');

describe.skipIf(reason !== undefined)(titled('docker and access', reason), () => {
  let berth: TestBerth;
  let dockerd: Dockerd;
  /** Alice owns the organization acme; bob is nobody there. */
  let logins: { alice: Login; bob: Login };
  let api: Api;
  /** Logged in with her password, as bob is. */
  let alice: DockerUser;
  let bob: DockerUser;

  beforeAll(async () => {
    [berth, dockerd] = await Promise.all([startTestBerth(), startDockerd()]);
    logins = { alice: await berth.addUser('alice'), bob: await berth.addUser('bob') };
    api = await apiOf(berth.url, logins.alice);
    [alice, bob] = [await loggedIn(logins.alice), await loggedIn(logins.bob)];
    await addOrganization(api, 'acme');
    await buildImage(dockerd, alice, 'app', 'hello');
    await pushed('acme/api:1');
    await pushed('acme/web:1');
  });
  afterAll(async () => {
    await dockerd?.stop();
    await berth?.stop();
  });

  /** Gives the image a name in the registry. */
  async function named(name: string, host = berth.host): Promise<string> {
    const image = `${host}/${name}`;
    await alice.do('tag', 'app', image);
    return image;
  }

  async function pushed(name: string): Promise<string> {
    const image = await named(name);
    await alice.do('push', image);
    return image;
  }

  async function loggedIn(login: Login): Promise<DockerUser> {
    const user = await dockerd.newUser();
    const ran = await user.login(berth.host, login);
    expect(ran.code, ran.output).toBe(0);
    return user;
  }

  /** What docker prints of something that must fail. */
  async function refusal(user: DockerUser, ...args: string[]): Promise<string> {
    const ran = await user.try(...args);
    expect(ran.code, ran.output).toBe(1);
    return ran.output;
  }

  const show = (name: string, visibility: string) => succeed(api.patch(`/repositories/${name}/-`, { visibility }));

  describe('a login', () => {
    test.each<[string, () => Promise<Login>]>([
      ['a password', async () => logins.alice],
      ['a token for everything', () => addToken(api, 'alice', 'everything')],
      [
        'a token for one repository',
        () => addToken(api, 'alice', 'one', [{ repositories: 'acme/api', actions: ['pull', 'push'] }]),
      ],
      [
        'a robot of an organization',
        () => addRobot(api, 'acme', 'ci', [{ repositories: 'acme/*', actions: ['pull', 'push'] }]),
      ],
      ['a robot of a repository', () => addRepositoryRobot(api, 'acme/api', 'ci', ['pull', 'push'])],
    ])('with %s pushes and pulls, and docker keeps none of it', async (_, make) => {
      const login = await make();
      const user = await loggedIn(login);
      const image = await named('acme/api:1');
      await user.do('push', image);
      await user.do('pull', image);
      const kept = JSON.parse(await readFile(path.join(user.env['DOCKER_CONFIG']!, 'config.json'), 'utf8')) as {
        auths: Record<string, { auth: string; identitytoken: string }>;
      };
      const { auth, identitytoken } = kept.auths[berth.host]!;
      expect(Buffer.from(auth, 'base64').toString()).toBe(`${login.username}:`);
      expect(identitytoken).not.toBe(login.password);
    });

    test('with the right token and a wrong name is refused', async () => {
      const token = await addToken(api, 'alice', 'right');
      for (const username of ['bob', 'ALICE', 'acme+ci', 'absent']) {
        const ran = await (await dockerd.newUser()).login(berth.host, { ...token, username });
        expect(ran.code).toBe(1);
        expect(ran.output).toContain('unauthorized: the user name or password is not right');
      }
    });

    test('with the password is refused once there is a second factor, and docker says what to use', async () => {
      const carol = await berth.addUser('carol');
      const token = await addToken(await apiOf(berth.url, carol), 'carol', 'laptop');
      const before = await loggedIn(carol);
      const image = await named('carol/app:1');
      await before.do('push', image);
      await addSecondFactor(berth.url, carol);
      expect(await refusal(before, 'pull', image)).toContain(
        'unauthorized: this login has ended (the refresh token is unknown, expired or revoked); log in again',
      );
      const ran = await (await dockerd.newUser()).login(berth.host, carol);
      expect(ran.code).toBe(1);
      expect(ran.output).toContain(
        'unauthorized: this account has a second factor: use a personal access token in place of the password',
      );
      const user = await loggedIn(token);
      await user.do('pull', image);
      await user.do('push', image);
    });

    test.each(['token', 'robot'])('that was made with a %s ends with it', async (kind) => {
      const grants = [{ repositories: 'acme/*', actions: ['pull' as const] }];
      const made =
        kind === 'token' ? await addToken(api, 'alice', 'brief', grants) : await addRobot(api, 'acme', 'brief', grants);
      const user = await loggedIn(made);
      const image = `${berth.host}/acme/api:1`;
      await user.do('pull', image);
      await made.revoke();
      const words =
        'unauthorized: this login has ended (the refresh token is unknown, expired or revoked); log in again';
      expect(await refusal(user, 'pull', image)).toContain(words);
      expect(await refusal(user, 'push', image)).toContain(words);
      const again = await user.login(berth.host, made);
      expect(again.output).toContain('unauthorized: these credentials were revoked or have expired');
    });

    test('that is over leaves what is public', async () => {
      const [secret, open] = [await pushed('alice/secret:1'), await pushed('alice/open:1')];
      await show('alice/open', 'public');
      const user = await loggedIn(logins.alice);
      await user.do('logout', berth.host);
      await user.do('pull', open);
      expect(await refusal(user, 'pull', secret)).toContain('unauthorized: authentication required; log in first');
      expect(await refusal(user, 'push', open)).toContain(
        'denied: you are not signed in, and alice/open can only be pulled without an account; sign in to push',
      );
    });
  });

  describe('a token for one repository', () => {
    test('that only pulls does not push, and docker says so', async () => {
      const grants = [{ repositories: 'acme/api', actions: ['pull' as const] }];
      const user = await loggedIn(await addToken(api, 'alice', 'ci-api', grants));
      await user.do('pull', `${berth.host}/acme/api:1`);
      expect(await refusal(user, 'push', await named('acme/api:1'))).toContain(
        'denied: the token ci-api may pull acme/api, not push',
      );
    });

    test('knows no other, whether it is there or not', async () => {
      const grants = [{ repositories: 'acme/api', actions: ['pull' as const, 'push' as const] }];
      const user = await loggedIn(await addToken(api, 'alice', 'ci-both', grants));
      for (const action of ['pull', 'push']) {
        const there = await refusal(user, action, await named('acme/web:1'));
        const absent = await refusal(user, action, await named('acme/not:1'));
        expect(there).toContain(`the token ci-both may pull, push acme/api, not ${action} acme/web`);
        expect(absent).toBe(there.replaceAll('acme/web', 'acme/not'));
      }
    });

    test('that is revoked between two layers of a push ends it, and no tag is left', async () => {
      const grants = [{ repositories: 'acme/fresh', actions: ['pull' as const, 'push' as const] }];
      const token = await addToken(api, 'alice', 'between', grants);
      const proxy = await pauseAfterFirstBlob(berth.port, () => token.revoke());
      try {
        const user = await dockerd.newUser();
        await user.login(proxy.host, token);
        expect(await refusal(user, 'push', await named('acme/fresh:1', proxy.host))).toContain(
          'unauthorized: these credentials were revoked or have expired',
        );
      } finally {
        await proxy.close();
      }
      expect(proxy.stored()).toBe(1);
      const owner = clientOf(berth.url, logins.alice);
      expect((await owner.request('get', '/v2/acme/fresh/tags/list')).body).toEqual({ name: 'acme/fresh', tags: [] });
      const { repositories } = (await owner.request('get', '/v2/_catalog')).body as { repositories: string[] };
      expect(repositories).not.toContain('acme/fresh');
    });
  });

  test('what is internal is for everybody with a login', async () => {
    const image = await pushed('acme/internal:1');
    await show('acme/internal', 'internal');
    const user = await dockerd.newUser();
    expect(await refusal(user, 'pull', image)).toContain('unauthorized: authentication required; log in first');
    await bob.do('pull', image);
    expect(await refusal(bob, 'push', image)).toContain('denied: your account may pull acme/internal, but not push');
  });

  test('a push into a namespace that is not there sounds like one into a foreign one', async () => {
    const foreign = await refusal(bob, 'push', await named('acme/mine:1'));
    expect(foreign).toContain('denied: you may not push to acme/mine: the namespace acme is not yours');
    const absent = await refusal(bob, 'push', await named('nobody/mine:1'));
    expect(absent).toBe(foreign.replaceAll('acme', 'nobody'));
  });

  test('who is taken out of a team or an organization loses it with the next command', async () => {
    await berth.addUser('dave');
    const dave = await loggedIn({ username: 'dave', password: 'password of dave' });
    await addOrganization(api, 'navy');
    await addMember(await apiOf(berth.url, berth.admin), 'navy', 'dave', 'reader');
    await succeed(api.post('/namespaces/navy/teams', { name: 'pushers', role: 'developer' }));
    await succeed(api.put('/namespaces/navy/teams/pushers/members/dave'));
    const image = await named('navy/ship:1');
    await dave.do('push', image);

    await succeed(api.delete('/namespaces/navy/teams/pushers/members/dave'));
    expect(await refusal(dave, 'push', image)).toContain(
      'denied: your role on navy/ship is reader; to push it takes developer',
    );
    await dave.do('pull', image);

    await succeed(api.delete('/namespaces/navy/members/dave'));
    expect(await refusal(dave, 'pull', image)).toContain(
      'the repository navy/ship does not exist, or you may not see it',
    );
  });

  test('a renamed repository is pulled by its old name, and a push there is told the new one', async () => {
    const image = await pushed('acme/before:1');
    await succeed(api.post('/repositories/acme/before/-/rename', { to: 'acme/after' }));
    await alice.do('pull', image);
    await alice.do('pull', `${berth.host}/acme/after:1`);
    expect(await refusal(alice, 'push', image)).toContain('denied: acme/before is called acme/after now: push there');
    await alice.do('push', await named('acme/after:2'));
  });
});
