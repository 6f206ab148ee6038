/** Invitations: to an account's name or to an address, without telling anybody who there is. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { apiOf, itemsOf, type Api } from '../support/api.ts';
import { startTestBerth, type Login, type TestBerth } from '../support/berth.ts';
import { clientOf } from '../support/client.ts';
import { makeImage } from '../support/images.ts';
import { auditOf, told } from '../support/organizations.ts';
import { startMailServer } from '../support/smtp.ts';

interface Invitation {
  readonly id: number;
  readonly invitee: string;
  readonly token?: string;
}

let berth: TestBerth;
const logins: Record<string, Login> = {};
const apis: Record<string, Api> = {};
let admin: Api;
const as = (name: string): Api => apis[name]!;
const sent = '/namespaces/acme/invitations';
beforeAll(async () => {
  berth = await startTestBerth();
  admin = await apiOf(berth.url, berth.admin);
  for (const name of ['ada', 'bob', 'cy', 'dan', 'eve']) {
    logins[name] = await berth.addUser(name);
    apis[name] = await apiOf(berth.url, logins[name]);
  }
  await as('ada').post('/namespaces', { name: 'acme' });
  await clientOf(berth.url, logins['ada']).pushImage('acme/app', 'v1', makeImage());
  await clientOf(berth.url, logins['ada']).pushImage('ada/own', 'v1', makeImage());
});
/** Nobody in, nobody invited. */
afterEach(async () => {
  await admin.put('/namespaces/acme/members/ada', { role: 'owner' });
  for (const { id } of await itemsOf<Invitation>(admin, sent)) await admin.delete(`${sent}/${id}`);
  for (const { user } of await itemsOf<{ user: string }>(admin, '/namespaces/acme/members'))
    if (user !== 'ada') await admin.delete(`/namespaces/acme/members/${user}`);
  for (const { name, can } of await itemsOf<{ name: string; can: { delete: boolean } }>(
    admin,
    '/repositories/acme/app/-/members',
  ))
    if (can.delete) await admin.delete(`/repositories/acme/app/-/members/users/${name}`);
});
afterAll(() => berth.stop());

async function invite(by: Api, invitee: string, role = 'developer', at = sent): Promise<Invitation> {
  const made = await by.post(at, { invitee, role });
  expect(made.status, made.text).toBe(201);
  return made.body as Invitation;
}
const received = (name: string) => itemsOf<Invitation>(as(name), '/invitations?limit=1');
const accept = (name: string, { id }: Invitation) => as(name).post(`/invitations/${id}/accept`);
const roleIn = async (name: string): Promise<unknown> =>
  ((await as(name).get('/namespaces/acme')).body as { role: unknown }).role;

describe('by name', () => {
  test('the account sees it, accepts it, and is in with the next request', async () => {
    const made = await as('ada').post(sent, { invitee: 'bob', role: 'developer' });
    expect(made.body).toEqual({
      id: expect.any(Number) as number,
      namespace: 'acme',
      repository: null,
      role: 'developer',
      invitee: 'bob',
      invitedBy: 'ada',
      createdAt: expect.any(String) as string,
      expiresAt: expect.any(String) as string,
      holds: true,
      can: { delete: true },
    });
    const { createdAt, expiresAt } = made.body as { createdAt: string; expiresAt: string };
    expect(Date.parse(expiresAt) - Date.parse(createdAt)).toBe(7 * 24 * 3600 * 1000);
    const [mine] = await received('bob');
    expect(mine).toMatchObject({ namespace: 'acme', can: { accept: true, decline: true } });
    expect(await received('eve')).toEqual([]);
    expect((await accept('eve', mine!)).status).toBe(404);
    expect((await as('eve').post(`/invitations/${mine!.id}/decline`)).status).toBe(404);
    const accepted = await accept('bob', mine!);
    expect(accepted.body).toEqual({ namespace: 'acme', repository: null, role: 'developer' });
    const push = await clientOf(berth.url, logins['bob']).request('post', '/v2/acme/app/blobs/uploads/');
    expect(push.status).toBe(202);
    expect((await accept('bob', mine!)).status).toBe(404);
    expect(await received('bob')).toEqual([]);
    const rows = (await auditOf(berth, 'acme')).slice(-3);
    expect(rows.map(({ action, actor, after }) => [action, actor, after])).toEqual([
      ['invitation.create', 'ada', { invitee: 'bob', role: 'developer' }],
      ['member.add', 'bob', { user: 'bob', role: 'developer' }],
      ['invitation.accept', 'bob', { user: 'bob', role: 'developer' }],
    ]);
  });

  test('the answer does not say whether there is such an account', async () => {
    const there = await as('ada').post(sent, { invitee: 'bob', role: 'reader' });
    const absent = await as('ada').post(sent, { invitee: 'zed', role: 'reader' });
    expect(there.status).toBe(201);
    const plain = ({ body }: { body: unknown }, name: string): unknown => {
      const { id: _id, createdAt: _at, expiresAt: _until, ...rest } = body as Record<string, unknown>;
      return JSON.parse(JSON.stringify(rest).replaceAll(`"${name}"`, '"NAME"'));
    };
    expect(plain(there, 'bob')).toEqual(plain(absent, 'zed'));
    const [first, second] = [
      await as('ada').post(sent, { invitee: 'bob', role: 'reader' }),
      await as('ada').post(sent, { invitee: 'zed', role: 'reader' }),
    ];
    expect(first.status).toBe(409);
    expect(told(first, 'bob')).toEqual(told(second, 'zed'));
  });

  test('is for the account of that moment, not for who takes the name later', async () => {
    const early = await invite(as('ada'), 'latecomer');
    const late = await apiOf(berth.url, await berth.addUser('latecomer'));
    expect(await itemsOf(late, '/invitations')).toEqual([]);
    expect((await late.post(`/invitations/${early.id}/accept`)).status).toBe(404);
  });

  test('can be declined, and withdrawn', async () => {
    const first = await invite(as('ada'), 'bob');
    expect((await as('bob').post(`/invitations/${first.id}/decline`)).status).toBe(204);
    expect((await accept('bob', first)).status).toBe(404);
    const second = await invite(as('ada'), 'bob');
    expect((await as('ada').delete(`${sent}/${second.id}`)).status).toBe(204);
    expect((await as('ada').delete(`${sent}/${second.id}`)).status).toBe(404);
    expect((await accept('bob', second)).status).toBe(404);
    expect((await auditOf(berth, 'acme')).slice(-4).map(({ action, actor }) => [action, actor])).toEqual([
      ['invitation.create', 'ada'],
      ['invitation.decline', 'bob'],
      ['invitation.create', 'ada'],
      ['invitation.revoke', 'ada'],
    ]);
  });

  test('gives the higher of two roles', async () => {
    for (const [has, invited, gets] of [
      ['reader', 'maintainer', 'maintainer'],
      ['maintainer', 'reader', 'maintainer'],
    ] as const) {
      const invitation = await invite(as('ada'), 'bob', invited);
      await admin.put('/namespaces/acme/members/bob', { role: has });
      expect((await accept('bob', invitation)).status).toBe(200);
      expect(await roleIn('bob')).toBe(gets);
      await admin.delete('/namespaces/acme/members/bob');
    }
  });

  test('accepted twice at once, it is accepted once', async () => {
    const invitation = await invite(as('ada'), 'bob');
    const answers = await Promise.all([accept('bob', invitation), accept('bob', invitation)]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 404]);
  });

  test('is not needed for members', async () => {
    await admin.put('/namespaces/acme/members/bob', { role: 'reader' });
    expect((await as('ada').post(sent, { invitee: 'bob', role: 'owner' })).status).toBe(409);
  });
});

describe('an invitation is worth no more than its inviter', () => {
  test('who lost the right, or was disabled, has invited nobody', async () => {
    await admin.put('/namespaces/acme/members/cy', { role: 'owner' });
    const invitation = await invite(as('cy'), 'bob');
    await as('ada').put('/namespaces/acme/members/cy', { role: 'maintainer' });
    expect(await received('bob')).toEqual([]);
    expect((await accept('bob', invitation)).status).toBe(409);
    expect(await itemsOf(as('ada'), sent)).toEqual([expect.objectContaining({ id: invitation.id, holds: false })]);
    await as('ada').put('/namespaces/acme/members/cy', { role: 'owner' });
    await berth.database.query("UPDATE users SET disabled_at = now() WHERE name = 'cy'");
    expect((await accept('bob', invitation)).status).toBe(409);
    await berth.database.query("UPDATE users SET disabled_at = NULL WHERE name = 'cy'");
    expect((await accept('bob', invitation)).status).toBe(200);
  });

  test('it ends with its days', async () => {
    const invitation = await invite(as('ada'), 'bob');
    await berth.database.query('UPDATE invitations SET expires_at = now() WHERE id = $1', [invitation.id]);
    expect((await accept('bob', invitation)).status).toBe(404);
    expect(await itemsOf(as('ada'), sent)).toEqual([]);
    await invite(as('ada'), 'bob');
  });

  test('who is removed cannot come back by one that was open', async () => {
    await admin.put('/namespaces/acme/members/bob', { role: 'reader' });
    await berth.database.query(
      `INSERT INTO invitations (namespace_id, role, invitee, user_id, created_by, expires_at)
       SELECT n.id, 4, 'bob', b.id, a.id, now() + interval '1 day'
       FROM namespaces n, users a, users b WHERE n.name = 'acme' AND a.name = 'ada' AND b.name = 'bob'`,
    );
    const [open] = await received('bob');
    await as('ada').delete('/namespaces/acme/members/bob');
    expect((await accept('bob', open!)).status).toBe(404);
  });

  test('below owner nobody invites, or sees who is invited', async () => {
    const invitation = await invite(as('ada'), 'eve');
    for (const role of ['reader', 'developer', 'maintainer']) {
      await admin.put('/namespaces/acme/members/bob', { role });
      expect((await as('bob').post(sent, { invitee: 'dan', role: 'reader' })).status).toBe(403);
      expect((await as('bob').get(sent)).status).toBe(403);
      expect((await as('bob').delete(`${sent}/${invitation.id}`)).status).toBe(403);
    }
    expect((await admin.post(sent, { invitee: 'dan', role: 'reader' })).status).toBe(201);
  });
});

describe('to one repository', () => {
  const at = '/repositories/acme/app/-/invitations';

  test('gives a role there, and nowhere else', async () => {
    const invitation = await invite(as('ada'), 'dan', 'developer', at);
    expect(invitation).toMatchObject({ namespace: 'acme', repository: 'acme/app' });
    expect(await itemsOf(as('ada'), at)).toHaveLength(1);
    expect(await itemsOf(as('ada'), sent)).toHaveLength(1);
    expect((await accept('dan', invitation)).status).toBe(200);
    const push = await clientOf(berth.url, logins['dan']).request('post', '/v2/acme/app/blobs/uploads/');
    expect(push.status).toBe(202);
    expect(await roleIn('dan')).toBe(null);
    expect((await as('ada').post(at, { invitee: 'dan', role: 'owner' })).status).toBe(409);
  });

  test('also of a person; its own owner withdraws it, and no other', async () => {
    const own = '/repositories/ada/own/-/invitations';
    const invitation = await invite(as('ada'), 'dan', 'reader', own);
    expect((await as('ada').delete(`${at}/${invitation.id}`)).status).toBe(404);
    expect((await as('ada').delete(`${sent}/${invitation.id}`)).status).toBe(404);
    expect((await as('dan').delete(`${own}/${invitation.id}`)).status).toBe(404);
    expect((await as('ada').delete(`${own}/${invitation.id}`)).status).toBe(204);
    expect((await as('ada').post('/namespaces/ada/invitations', { invitee: 'dan', role: 'reader' })).status).toBe(422);
  });

  test('its owner from outside the organization invites, until the role is gone', async () => {
    await admin.put('/repositories/acme/app/-/members/users/dan', { role: 'owner' });
    const invitation = await invite(as('dan'), 'eve', 'reader', at);
    await as('ada').delete('/repositories/acme/app/-/members/users/dan');
    expect((await accept('eve', invitation)).status).toBe(409);
    expect((await as('dan').post(at, { invitee: 'bob', role: 'reader' })).status).toBe(404);
  });
});

describe('by address', () => {
  test('without a mail server the inviter gets the token, and whoever has it accepts, once', async () => {
    const made = await invite(as('ada'), 'Dan@Example.com', 'reader');
    expect(made).toMatchObject({ invitee: 'dan@example.com', token: expect.stringMatching(/^bth_/) as string });
    const accepted = await as('dan').post('/invitations/accept', { token: made.token });
    expect(accepted.body).toEqual({ namespace: 'acme', repository: null, role: 'reader' });
    const again = await as('eve').post('/invitations/accept', { token: made.token });
    const invented = await as('eve').post('/invitations/accept', { token: 'bth_no' });
    expect(again.status).toBe(404);
    expect(told(again, '-')).toEqual(told(invented, '-'));
    expect(JSON.stringify(await auditOf(berth, 'acme'))).not.toContain('bth_');
    expect(JSON.stringify(berth.logs)).not.toContain(made.token);
  });

  test('whether or not somebody has the address', async () => {
    await berth.database.query(
      "UPDATE users SET email = 'bob@example.com', email_verified_at = now() WHERE name = 'bob'",
    );
    const there = await invite(as('ada'), 'bob@example.com');
    const absent = await invite(as('ada'), 'zed@example.com');
    expect(Object.keys(there)).toEqual(Object.keys(absent));
    expect(await received('bob')).toEqual([]);
  });

  test.each(['', 'a b', 'Bob', 'a/b', '@', 'bob@', 'a@b\n@c', 'x'.repeat(255)])('%j is no invitee', async (invitee) => {
    expect((await as('ada').post(sent, { invitee, role: 'reader' })).status).toBe(400);
  });
});

test('there is a bound on them, also on those that were withdrawn, of a namespace and of an account', async () => {
  const strict = await startTestBerth({ BERTH_INVITATIONS_MAX: '3', BERTH_INVITATION_EXPIRY_DAYS: '1' });
  try {
    const ada = await apiOf(strict.url, await strict.addUser('ada'));
    const bob = await apiOf(strict.url, await strict.addUser('bob'));
    const boss = await apiOf(strict.url, strict.admin);
    for (const name of ['one', 'two']) {
      await ada.post('/namespaces', { name });
      await boss.put(`/namespaces/${name}/members/bob`, { role: 'owner' });
    }
    for (const invitee of ['a', 'b', 'c']) {
      const { id } = await invite(ada, invitee, 'reader', '/namespaces/one/invitations');
      await ada.delete(`/namespaces/one/invitations/${id}`);
    }
    const body = { invitee: 'd', role: 'reader' };
    expect((await ada.post('/namespaces/one/invitations', body)).status).toBe(422);
    expect((await ada.post('/namespaces/two/invitations', body)).status).toBe(422);
    expect((await bob.post('/namespaces/one/invitations', body)).status).toBe(422);
    expect((await bob.post('/namespaces/two/invitations', body)).status).toBe(201);
  } finally {
    await strict.stop();
  }
});

test('with a mail server the link goes there, and the inviter does not see it', async () => {
  const smtp = await startMailServer();
  const mailing = await startTestBerth({
    BERTH_SMTP_URL: smtp.url,
    BERTH_MAIL_FROM: 'berth@example.com',
    BERTH_PUBLIC_URL: 'http://registry.example.com',
  });
  try {
    const ada = await apiOf(mailing.url, await mailing.addUser('ada'));
    const dan = await apiOf(mailing.url, await mailing.addUser('dan'));
    await ada.post('/namespaces', { name: 'acme' });
    const made = await invite(ada, 'dan@example.com', 'reader');
    expect(made).not.toHaveProperty('token');
    await vi.waitFor(() => expect(smtp.mails).toHaveLength(1), { timeout: 10_000 });
    const [mail] = smtp.mails;
    expect(mail!.recipients).toEqual(['dan@example.com']);
    expect(mail!.headers.get('subject')).toBe('ada invites you to acme at registry.example.com');
    const [, token] = /#token=(\S+)/.exec(mail!.text)!;
    expect((await dan.post('/invitations/accept', { token })).status).toBe(200);
    expect((await dan.get('/namespaces/acme')).body).toMatchObject({ role: 'reader' });
  } finally {
    await mailing.stop();
    await smtp.close();
  }
});
