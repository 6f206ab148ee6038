/** Registration, forgotten passwords and invitations: by links, and without a word about who is there. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSecret } from '../../src/access/secrets.ts';
import { apiOf, type Api } from '../support/api.ts';
import { startTestBerth } from '../support/berth.ts';
import { mailPublicUrl, startMailBerth, type MailBerth } from '../support/mail-berth.ts';
import { dockerLogin, enableSecondFactor, signIn, trySignIn } from '../support/people.ts';

let berth: MailBerth;
let anyone: Api;
let people = 0;
beforeAll(async () => {
  berth = await startMailBerth({ BERTH_REGISTRATION: 'open', BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: '0' });
  anyone = await apiOf(berth.url);
});
afterAll(() => berth.stop());

const newName = (): string => `user${(people += 1)}`;
const newAddress = (): string => `${newName()}@mail.example`;
const password = 'a fine password';

async function newPerson() {
  const login = await berth.addUser(newName());
  const email = `${login.username}@mail.example`;
  await berth.database.query('UPDATE users SET email = $2, email_verified_at = now() WHERE name = $1', [
    login.username,
    email,
  ]);
  return { ...login, email };
}

describe('registering', () => {
  test('by a mailed link makes an account with a namespace and a confirmed address', async () => {
    const email = newAddress();
    const asked = await anyone.post('/registrations', { email });
    expect([asked.status, asked.text]).toEqual([202, '']);
    const token = await berth.linkTo(email);
    const username = newName();
    const made = await anyone.post('/registrations/confirm', { token, username, password });
    expect([made.status, made.body]).toEqual([201, { name: username, email }]);
    const { api } = await signIn(berth.url, { username, password });
    expect((await api.get('/account')).body).toMatchObject({ email, emailVerified: true, admin: false });
    expect((await api.get(`/namespaces/${username}`)).status).toBe(200);
    expect((await anyone.post('/registrations/confirm', { token, username: newName(), password })).status).toBe(404);
  });

  test('with an address that has an account says the same, and only the mail says more', async () => {
    const ada = await newPerson();
    const answers = [
      await anyone.post('/registrations', { email: ada.email }),
      await anyone.post('/registrations', { email: newAddress() }),
    ];
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).toEqual(new Set(['202 ']));
    const [mail] = await berth.mailsTo(ada.email);
    expect(mail!.text).toContain(ada.username);
    expect(mail!.text).not.toContain('#token=');
  });

  test('keeps the link when the name cannot be taken, and refuses all such names in the same words', async () => {
    const ada = await newPerson();
    await (await apiOf(berth.url, ada)).post('/namespaces', { name: 'acme' });
    const email = newAddress();
    await anyone.post('/registrations', { email });
    const token = await berth.linkTo(email);
    const answers = [];
    for (const username of ['admin', 'acme', 'settings', ada.username]) {
      const answer = await anyone.post('/registrations/confirm', { token, username, password });
      answers.push(`${answer.status} ${(answer.body as { detail: string }).detail.replaceAll(username, 'NAME')}`);
    }
    expect(new Set(answers)).toEqual(new Set(['409 the name NAME cannot be taken; choose another one']));
    const weak = await anyone.post('/registrations/confirm', { token, username: newName(), password: 'short' });
    expect(weak.status).toBe(400);
    expect((await anyone.post('/registrations/confirm', { token, username: newName(), password })).status).toBe(201);
  });

  test('takes one account by one link, whoever else uses it at the same moment', async () => {
    const email = newAddress();
    await anyone.post('/registrations', { email });
    const token = await berth.linkTo(email);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => anyone.post('/registrations/confirm', { token, username: newName(), password })),
    );
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 404, 404, 404, 404]);
  });

  test('mails three times an hour at most, and the newest link is the one that works', async () => {
    const email = newAddress();
    for (let i = 0; i < 5; i += 1) await anyone.post('/registrations', { email });
    await berth.settled();
    const tokens = (await berth.mailsTo(email, 3)).map(({ text }) => /#token=(\w+)/.exec(text)![1]!);
    await expect(berth.mailsTo(email, 0)).resolves.toHaveLength(0);
    const live = await berth.database.query(
      'SELECT 1 FROM one_time_links WHERE email = $1 AND used_at IS NULL AND expires_at > now()',
      [email],
    );
    expect(live).toHaveLength(1);
    const statuses = [];
    for (const token of tokens)
      statuses.push((await anyone.post('/registrations/confirm', { token, username: newName(), password })).status);
    expect(statuses.toSorted((a, b) => a - b)).toEqual([201, 404, 404]);
  });

  test('by a link that is too old does not work', async () => {
    const email = newAddress();
    await anyone.post('/registrations', { email });
    const token = await berth.linkTo(email);
    await berth.database.query('UPDATE one_time_links SET expires_at = now() WHERE email = $1', [email]);
    expect((await anyone.post('/registrations/confirm', { token, username: newName(), password })).status).toBe(404);
  });

  test.each(['no address', 'a@b@c', 'two@mail.example, three@mail.example', 'a@b.example\r\nBcc: all@b.example', ''])(
    'with %j is refused before anybody is asked',
    async (email) => {
      expect((await anyone.post('/registrations', { email })).status).toBe(400);
    },
  );

  test.each(['admin', 'isAdmin', 'email', 'emailVerified', 'namespace'])('takes no field %s', async (field) => {
    const email = newAddress();
    const token = createSecret().text;
    const answer = await anyone.post('/registrations/confirm', { token, username: newName(), password, [field]: true });
    expect(answer.status).toBe(400);
    expect((await anyone.post('/registrations', { email, [field]: true })).status).toBe(400);
  });
});

describe('a forgotten password', () => {
  test('is set anew by a mailed link, by name or address; what came from the old one ends', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    await anyone.post('/password-resets', { account: ada.username });
    const older = await berth.linkTo(ada.email);
    await anyone.post('/password-resets', { account: ada.email.toUpperCase() });
    const token = await berth.linkTo(ada.email);
    expect(token).not.toBe(older);
    const confirm = async (link: string) =>
      (await anyone.post('/password-resets/confirm', { token: link, newPassword: password })).status;
    expect((await api.get('/account')).status).toBe(200);
    expect([await confirm(older), await confirm(token), await confirm(token)]).toEqual([404, 204, 404]);
    expect((await api.get('/account')).status).toBe(401);
    expect(await dockerLogin(berth.url, ada)).toBe(false);
    expect(await dockerLogin(berth.url, { ...ada, password })).toBe(true);
    expect((await berth.mailsTo(ada.email))[0]!.headers.get('subject')).toContain('was changed');
  });

  test('says the same and mails nothing where there is no account, no confirmed address, or a disabled one', async () => {
    const [gone, unconfirmed] = [await newPerson(), await newPerson()];
    await berth.database.query('UPDATE users SET disabled_at = now() WHERE name = $1', [gone.username]);
    await berth.database.query('UPDATE users SET email_verified_at = NULL WHERE name = $1', [unconfirmed.username]);
    const answers = [];
    for (const account of ['nobody', 'nobody@mail.example', gone.username, gone.email, unconfirmed.email, 'No Name!']) {
      const { status, text } = await anyone.post('/password-resets', { account });
      answers.push(`${status} ${text}`);
    }
    expect(new Set(answers)).toEqual(new Set(['202 ']));
    await berth.settled();
    for (const { email } of [gone, unconfirmed]) await expect(berth.mailsTo(email, 0)).resolves.toHaveLength(0);
    const links = await berth.database.query(
      `SELECT 1 FROM one_time_links l JOIN users u ON u.id = l.user_id WHERE u.name = ANY($1::text[])`,
      [[gone.username, unconfirmed.username]],
    );
    expect(links).toHaveLength(0);
  });

  test('leaves a second factor on', async () => {
    const ada = await newPerson();
    const { recoveryCodes } = await enableSecondFactor((await signIn(berth.url, ada)).api, ada.password);
    await anyone.post('/password-resets', { account: ada.email });
    const token = await berth.linkTo(ada.email);
    expect((await anyone.post('/password-resets/confirm', { token, newPassword: password })).status).toBe(204);
    const login = { username: ada.username, password };
    expect((await trySignIn(berth.url, login)).status).toBe(401);
    expect((await trySignIn(berth.url, { ...login, code: recoveryCodes[0]! })).status).toBe(201);
  });

  test('cannot be set by a link that was made for something else', async () => {
    const email = newAddress();
    await anyone.post('/registrations', { email });
    const token = await berth.linkTo(email);
    expect((await anyone.post('/password-resets/confirm', { token, newPassword: password })).status).toBe(404);
    expect((await anyone.post('/email-verifications/confirm', { token })).status).toBe(404);
  });
});

describe('who may register', () => {
  test('where it is closed nobody; an administrator invites all the same', async () => {
    const closed = await startMailBerth();
    try {
      const [nobody, admin] = [await apiOf(closed.url), await apiOf(closed.url, closed.admin)];
      expect((await nobody.post('/registrations', { email: 'ada@mail.example' })).status).toBe(403);
      const invited = await admin.post('/users/invitations', { email: 'ada@mail.example' });
      expect(invited.body).toMatchObject({ mailed: true, link: null });
      const token = await closed.linkTo('ada@mail.example');
      const made = await nobody.post('/registrations/confirm', { token, username: 'ada', password });
      expect(made.status).toBe(201);
    } finally {
      await closed.stop();
    }
  });

  test('by invitation those with an open invitation, and nobody hears who that is', async () => {
    const own = await startMailBerth({ BERTH_REGISTRATION: 'invitation' });
    try {
      const nobody = await apiOf(own.url);
      const owner = await apiOf(own.url, await own.addUser('owner'));
      await owner.post('/namespaces', { name: 'acme' });
      await own.database.query(
        `INSERT INTO invitations (namespace_id, role, invitee, created_by, expires_at)
         SELECT n.id, 2, 'ada@mail.example', u.id, now() + interval '1 day'
         FROM namespaces n, users u WHERE n.name = 'acme' AND u.name = 'owner'`,
      );
      const answers = [];
      for (const email of ['eve@mail.example', 'Ada@mail.example'])
        answers.push(await nobody.post('/registrations', { email }));
      expect(answers.map(({ status, text }) => `${status} ${text}`)).toEqual(['202 ', '202 ']);
      await own.linkTo('ada@mail.example');
      await own.settled();
      await expect(own.mailsTo('eve@mail.example', 0)).resolves.toHaveLength(0);
      const links = await own.database.query(`SELECT 1 FROM one_time_links WHERE email = 'eve@mail.example'`);
      expect(links).toHaveLength(0);
    } finally {
      await own.stop();
    }
  });

  test('without a mail server nobody, and nothing waits to be mailed; links come from administrators', async () => {
    const plain = await startTestBerth({ BERTH_REGISTRATION: 'open' });
    try {
      const [nobody, admin] = [await apiOf(plain.url), await apiOf(plain.url, plain.admin)];
      expect((await nobody.post('/registrations', { email: 'ada@mail.example' })).status).toBe(403);
      expect((await nobody.post('/password-resets', { account: 'admin' })).status).toBe(403);
      const invited = await admin.post('/users/invitations', { email: 'ada@mail.example' });
      const { link } = invited.body as { link: string };
      const token = link.slice(link.indexOf('#token=') + '#token='.length);
      const made = await nobody.post('/registrations/confirm', { token, username: 'ada', password });
      expect(made.body).toEqual({ name: 'ada', email: 'ada@mail.example' });
      const queued = await plain.database.query(
        `SELECT 1 FROM graphile_worker.jobs WHERE task_identifier = 'send_mail' OR task_identifier LIKE 'answer%'`,
      );
      expect(queued).toHaveLength(0);
    } finally {
      await plain.stop();
    }
  });
});

test('one address cannot have mails sent without end', async () => {
  const own = await startMailBerth({ BERTH_REGISTRATION: 'open', BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: '2' });
  try {
    const nobody = await apiOf(own.url);
    const statuses = [
      (await nobody.post('/registrations', { email: newAddress() })).status,
      (await nobody.post('/password-resets', { account: 'nobody' })).status,
      (await nobody.post('/registrations', { email: newAddress() })).status,
      (await nobody.post('/password-resets', { account: 'nobody' })).status,
    ];
    expect(statuses).toEqual([202, 202, 429, 429]);
  } finally {
    await own.stop();
  }
});

test('an administrator’s mails go to the address of the account, which using the link confirms', async () => {
  const admin = await apiOf(berth.url, berth.admin);
  const username = newName();
  const email = `${username}@mail.example`;
  const made = await admin.post('/users', { username, email });
  expect(made.body).toMatchObject({ mailed: true, link: null, emailVerified: false });
  const token = await berth.linkTo(email);
  expect((await anyone.post('/password-resets/confirm', { token, newPassword: password })).status).toBe(204);
  expect((await admin.get(`/users/${username}`)).body).toMatchObject({ email, emailVerified: true });

  const other = `other.${email}`;
  const changed = await admin.patch(`/users/${username}`, { email: other });
  expect(changed.body).toMatchObject({ email: other, emailVerified: false });
  const verification = await berth.linkTo(other);
  expect((await anyone.post('/email-verifications/confirm', { token: verification })).status).toBe(204);
  expect((await admin.get(`/users/${username}`)).body).toMatchObject({ emailVerified: true });
});

test('links lead to the public address, whatever address was asked', async () => {
  const email = newAddress();
  await anyone.post('/registrations', { email }).set('Host', 'evil.example');
  const [mail] = await berth.mailsTo(email);
  expect(mail!.text).toContain(`${mailPublicUrl}/sign-up#token=`);
  expect(mail!.text).not.toContain('evil');
});

describe('the time of an answer', () => {
  const samples = 15;
  const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;

  /** Medians of both, asked in turn; the first of each is not counted. */
  async function timesOf(known: () => Promise<unknown>, unknown: () => Promise<unknown>) {
    const times = { known: [] as number[], unknown: [] as number[] };
    for (let i = 0; i <= samples; i += 1)
      for (const [name, ask] of [
        ['known', known],
        ['unknown', unknown],
      ] as const) {
        const began = performance.now();
        await ask();
        if (i > 0) times[name].push(performance.now() - began);
      }
    return { known: median(times.known), unknown: median(times.unknown) };
  }

  test('says nothing about who has an account, at any operation that asks nobody to sign in', async () => {
    const slow = await startMailBerth({
      BERTH_REGISTRATION: 'open',
      BERTH_RATE_LIMIT_MAILS_PER_ADDRESS_PER_HOUR: '0',
      BERTH_SIGN_IN_FAILURES_FREE: '0',
      BERTH_SIGN_IN_FAILURES_PER_ADDRESS_FREE: '0',
      BERTH_SIGN_IN_FAILURES_PER_ACCOUNT_FREE: '0',
    });
    try {
      const nobody = await apiOf(slow.url);
      await slow.addUser('ada');
      await slow.database.query(
        `UPDATE users SET email = 'ada@mail.example', email_verified_at = now() WHERE name = 'ada'`,
      );
      let n = 0;
      const signInAs = (username: string) => () =>
        nobody.post('/session', { username, password: `wrong password ${(n += 1)}` });
      const registerAs = (email: () => string) => () => nobody.post('/registrations', { email: email() });
      const resetOf = (account: () => string) => () => nobody.post('/password-resets', { account: account() });
      const confirmAs = (username: string) => () =>
        nobody.post('/registrations/confirm', { token: createSecret().text, username, password });
      const pairs = [
        await timesOf(signInAs('ada'), signInAs('bob')),
        await timesOf(
          registerAs(() => 'ada@mail.example'),
          registerAs(() => `nobody${(n += 1)}@mail.example`),
        ),
        await timesOf(
          resetOf(() => 'ada'),
          resetOf(() => `nobody${(n += 1)}`),
        ),
        await timesOf(confirmAs('ada'), confirmAs('bob')),
      ];
      // A password costs tens of milliseconds where it is verified, a mail several where it is made: both would show.
      for (const { known, unknown } of pairs) {
        const difference = Math.abs(known - unknown);
        expect(difference).toBeLessThan(Math.max(8, 0.4 * Math.min(known, unknown)));
      }
    } finally {
      await slow.stop();
    }
  });
});
