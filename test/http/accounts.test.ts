/** One's own account: password and address. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiOf } from '../support/api.ts';
import type { Login } from '../support/berth.ts';
import { startTestBerth } from '../support/berth.ts';
import { startMailBerth, type MailBerth } from '../support/mail-berth.ts';
import { cookieOf, dockerLogin, signIn, trySignIn } from '../support/people.ts';

let berth: MailBerth;
let people = 0;
beforeAll(async () => {
  berth = await startMailBerth();
});
afterAll(() => berth.stop());

interface Person extends Login {
  readonly email: string;
}

/** Somebody with a confirmed address. */
async function newPerson(): Promise<Person> {
  const name = `user${(people += 1)}`;
  const email = `${name}@mail.example`;
  const login = await berth.addUser(name);
  await berth.database.query('UPDATE users SET email = $2, email_verified_at = now() WHERE name = $1', [name, email]);
  return { ...login, email };
}

describe('changing the password', () => {
  test('ends other sessions and docker logins, continues this one, and is told by mail', async () => {
    const ada = await newPerson();
    const [here, there] = [await signIn(berth.url, ada), await signIn(berth.url, ada)];
    const newPassword = 'quite another password';
    const answer = await here.api.put('/account/password', { password: ada.password, newPassword });
    expect(answer.status).toBe(200);
    const session = cookieOf(answer)!;
    expect(answer.text).not.toContain(session);
    for (const { api } of [here, there]) expect((await api.get('/account')).status).toBe(401);
    expect((await (await apiOf(berth.url, { session })).get('/account')).status).toBe(200);
    expect(await dockerLogin(berth.url, ada)).toBe(false);
    expect(await dockerLogin(berth.url, { ...ada, password: newPassword })).toBe(true);
    const [mail] = await berth.mailsTo(ada.email);
    expect(mail!.headers.get('subject')).toContain('password');
  });

  test('takes the old one, and a new one that is long enough', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    const wrong = { password: 'wrong password', newPassword: 'quite another password' };
    expect((await api.put('/account/password', wrong)).status).toBe(403);
    expect((await api.put('/account/password', { password: ada.password, newPassword: 'short' })).status).toBe(400);
    expect((await api.get('/account')).status).toBe(200);
    expect(await dockerLogin(berth.url, ada)).toBe(true);
  });

  test('by whoever shows it with each request opens no session', async () => {
    const ada = await newPerson();
    const api = await apiOf(berth.url, ada);
    const answer = await api.put('/account/password', {
      password: ada.password,
      newPassword: 'quite another password',
    });
    expect(answer.body).toEqual({ session: null });
    expect(cookieOf(answer)).toBeUndefined();
  });

  test('twice at once happens once', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    const change = (newPassword: string) => api.put('/account/password', { password: ada.password, newPassword });
    const answers = await Promise.all([change('the first new one'), change('the second new one')]);
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    const winner = statuses[0] === 200 ? 'the first new one' : 'the second new one';
    expect((await trySignIn(berth.url, { ...ada, password: winner })).status).toBe(201);
  });
});

describe('changing the address', () => {
  test('counts once the new one is confirmed, and the old one is told', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    const wanted = `New.${ada.email}`;
    const asked = await api.patch('/account', { email: wanted, password: ada.password });
    expect(asked.body).toMatchObject({
      email: ada.email,
      emailVerified: true,
      pendingEmail: wanted.toLowerCase(),
    });
    expect((await api.get('/account')).headers['etag']).toBe(asked.headers['etag']);
    const token = await berth.linkTo(wanted.toLowerCase());
    const confirm = async () => (await apiOf(berth.url)).post('/email-verifications/confirm', { token });
    expect((await confirm()).status).toBe(204);
    expect((await confirm()).status).toBe(404);
    expect((await api.get('/account')).body).toMatchObject({
      email: wanted.toLowerCase(),
      emailVerified: true,
      pendingEmail: null,
    });
    const [mail] = await berth.mailsTo(ada.email);
    expect(mail!.text).toContain('no longer the address');
  });

  test('takes the password, and honours If-Match', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    expect((await api.patch('/account', { email: null, password: 'wrong password' })).status).toBe(403);
    const stale = await api.patch('/account', { email: null, password: ada.password }).set('If-Match', '"other"');
    expect(stale.status).toBe(412);
    const gone = await api.patch('/account', { email: null, password: ada.password });
    expect(gone.body).toMatchObject({ email: null, emailVerified: false, pendingEmail: null });
    expect((await berth.mailsTo(ada.email))[0]!.text).toContain('no longer the address');
  });

  test('to one that somebody has says nothing before the mailbox answers', async () => {
    const [ada, bob] = [await newPerson(), await newPerson()];
    const { api } = await signIn(berth.url, ada);
    const [taken, free] = [
      await api.patch('/account', { email: bob.email, password: ada.password }),
      await api.patch('/account', { email: `free.${ada.email}`, password: ada.password }),
    ];
    expect([taken.status, free.status]).toEqual([200, 200]);
    const replaced = await berth.linkTo(bob.email);
    const answer = await (await apiOf(berth.url)).post('/email-verifications/confirm', { token: replaced });
    expect(answer.status).toBe(404);
    await api.patch('/account', { email: bob.email, password: ada.password });
    const token = await berth.linkTo(bob.email);
    expect((await (await apiOf(berth.url)).post('/email-verifications/confirm', { token })).status).toBe(409);
  });

  test('sends three links an hour at most', async () => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    await api.patch('/account', { email: `next.${ada.email}`, password: ada.password });
    const again = async () => (await api.post('/account/email-verification')).status;
    expect([await again(), await again(), await again()]).toEqual([202, 202, 429]);
    await berth.mailsTo(`next.${ada.email}`, 3);
  });

  test('has nothing to confirm where everything is', async () => {
    const { api } = await signIn(berth.url, await newPerson());
    expect((await api.post('/account/email-verification')).status).toBe(409);
  });

  test('without a mail server is for administrators', async () => {
    const plain = await startTestBerth();
    try {
      const ada = await plain.addUser('ada');
      const { api } = await signIn(plain.url, ada);
      const answer = await api.patch('/account', { email: 'ada@mail.example', password: ada.password });
      expect(answer.status).toBe(422);
      expect((await api.get('/account')).body).toMatchObject({ email: null, pendingEmail: null });
      const jobs = await plain.database.query(`SELECT 1 FROM graphile_worker.jobs WHERE task_identifier = 'send_mail'`);
      expect(jobs).toHaveLength(0);
    } finally {
      await plain.stop();
    }
  });
});

test('a token reads the account, and changes neither password nor address, whatever it was made for', async () => {
  const ada = await newPerson();
  const made = await (
    await apiOf(berth.url, ada)
  ).post('/tokens', { name: 'ci', grants: [], apiScopes: ['account:read', 'account:write'] });
  const token = await apiOf(berth.url, { token: (made.body as { secret: string }).secret });
  expect((await token.get('/account')).body).toMatchObject({ name: ada.username, can: [] });
  const newPassword = 'quite another password';
  expect((await token.put('/account/password', { password: ada.password, newPassword })).status).toBe(403);
  expect((await token.patch('/account', { email: null, password: ada.password })).status).toBe(403);
  expect((await token.post('/account/email-verification')).status).toBe(403);
});

test.each(['admin', 'is_admin', 'email_verified_at', 'emailVerified', 'disabled', 'name'])(
  'nobody becomes more by sending the field %s',
  async (field) => {
    const ada = await newPerson();
    const { api } = await signIn(berth.url, ada);
    const answer = await api.patch('/account', { email: ada.email, password: ada.password, [field]: true });
    expect(answer.status).toBe(400);
    const [row] = await berth.database.query('SELECT is_admin, name FROM users WHERE name = $1', [ada.username]);
    expect(row).toEqual({ is_admin: false, name: ada.username });
  },
);
