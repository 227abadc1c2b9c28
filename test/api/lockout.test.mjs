// Guessing stops, and strangers lock nobody out. Browsers are told apart by their cookies, networks by a trusted
// proxy's header.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Browser } from '../lib/browser.mjs';
import { start } from '../lib/slipway.mjs';

const PASSWORD = 'a long enough sentence';
let s;
before(async () => (s = await start({ name: 'lockout', workers: 1, args: ['--trust-proxy', '127.0.0.0/8'] })));
after(() => s?.stop());

const person = async (email) => {
  const made = await s.api.request('POST', '/v1/users', { email, name: 'A person', password: PASSWORD }, { absolute: true });
  assert.equal(made.status, 201, made.text);
};
class From extends Browser {
  constructor(address) {
    super(s.server.url);
    this.address = address;
  }

  send(method, path, { headers, ...rest } = {}) {
    return super.send(method, path, { headers: { ...headers, 'x-forwarded-for': this.address }, ...rest });
  }

  async try(email, password) {
    await this.get('/v1/auth/login');
    return this.submit({ email, password });
  }
}
const guess = async (browser, email, times) => {
  const seen = [];
  for (let i = 0; i < times; i++) seen.push((await browser.try(email, `wrong ${i}`)).status);
  return seen;
};

test('from one network a person is guessed at ten times, and then not even the right password is looked at', async () => {
  await person('ada@example.org');
  const stranger = new From('198.51.100.7');
  assert.deepEqual(await guess(stranger, 'ADA@example.org', 11), [...Array(10).fill(401), 429]);
  const refused = await stranger.try('ada@example.org', PASSWORD);
  assert.equal(refused.status, 429);
  assert.match(refused.text, /Too many wrong guesses/);
  assert.ok(Number(refused.headers['retry-after']) > 800);
  assert.equal((await new From('198.51.100.8').try('ada@example.org', PASSWORD)).status, 303, 'from elsewhere it goes on');
});

test('who is not there is locked like who is', async () => {
  assert.deepEqual(await guess(new From('198.51.100.20'), 'nobody@example.org', 11), [...Array(10).fill(401), 429]);
});

test('an IPv6 network is one, whichever of its addresses asks', async () => {
  const seen = [];
  for (let i = 0; i < 11; i++) seen.push(...await guess(new From(`2001:db8::${i}`), 'six@example.org', 1));
  assert.equal(seen.at(-1), 429);
});

test('guesses from everywhere lock strangers out, and not the browser in which the person signed in', async () => {
  await person('bob@example.org');
  const own = new From('203.0.113.1');
  assert.equal((await own.try('bob@example.org', PASSWORD)).status, 303);
  let last;
  for (let network = 0; network < 11; network++) last = (await guess(new From(`192.0.2.${network}`), 'bob@example.org', 10)).at(-1);
  assert.equal(last, 429);
  assert.equal((await new From('203.0.113.2').try('bob@example.org', PASSWORD)).status, 429, 'a stranger with the right password waits');
  own.cookies.delete('slipway-session');
  assert.equal((await own.try('bob@example.org', PASSWORD)).status, 303);
});

test('that browser\'s own count is its own, and the mark of another is worth nothing', async () => {
  await person('cy@example.org');
  await person('di@example.org');
  const cy = new From('203.0.113.9'), di = new From('203.0.113.10');
  await cy.try('cy@example.org', PASSWORD);
  await di.try('di@example.org', PASSWORD);
  assert.deepEqual(await guess(cy, 'cy@example.org', 11), [...Array(10).fill(401), 429]);
  di.cookies.set('slipway-known', cy.cookies.get('slipway-known'));
  assert.deepEqual(await guess(di, 'di@example.org', 11), [...Array(10).fill(401), 429]);
  assert.equal((await new From('203.0.113.11').try('cy@example.org', PASSWORD)).status, 303);
});

test('who gets it right is charged nothing', async () => {
  await person('eve@example.org');
  const seen = [];
  for (let i = 0; i < 15; i++) seen.push((await new From('203.0.113.50').try('eve@example.org', PASSWORD)).status);
  assert.deepEqual(seen, Array(15).fill(303));
});
