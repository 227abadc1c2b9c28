// A browser as far as forms and cookies go; scripts it has none, redirects it shows. For a real one see test/browser.

import { createHash, randomBytes } from 'node:crypto';

const decoded = (text) => text.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

export class Browser {
  constructor(url) {
    this.url = url;
    this.cookies = new Map();
    this.lines = []; // Set-Cookie, as they came
  }

  async send(method, path, { headers = {}, body } = {}) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(new URL(path, this.url), { method, body, redirect: 'manual', headers: { ...(cookie && { cookie }), ...headers } });
    for (const line of answer.headers.getSetCookie()) {
      this.lines.push(line);
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/; Max-Age=0\b/.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const text = await answer.text();
    const form = /<form [^>]*action="([^"]*)"[^>]*>(.*?)<\/form>/s.exec(text);
    if (form) {
      this.action = decoded(form[1]);
      this.hidden = Object.fromEntries([...form[2].matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(([, n, v]) => [n, decoded(v)]));
    }
    return { status: answer.status, headers: Object.fromEntries(answer.headers), text };
  }

  get(path, headers) {
    return this.send('GET', path, { headers });
  }

  post(path, fields, headers) {
    return this.send('POST', path, { headers, body: new URLSearchParams(fields) });
  }

  /** Sends the first form of the page that was looked at last. */
  submit(fields = {}) {
    return this.post(this.action, { ...this.hidden, ...fields });
  }

  async login(email, password, tenant = 'default') {
    await this.get('/v1/auth/login');
    const answer = await this.submit({ tenant, email, password });
    if (answer.status !== 303) throw new Error(`${email} does not get in: ${answer.status} ${answer.text}`);
    return this;
  }
}

/** The access token that a public client gets from whoever is signed in at the browser. */
export async function takeToken(browser, url, client_id, redirect_uri, scope) {
  const code_verifier = randomBytes(32).toString('base64url');
  const code_challenge = createHash('sha256').update(code_verifier).digest('base64url');
  const query = new URLSearchParams({ client_id, redirect_uri, response_type: 'code', code_challenge, code_challenge_method: 'S256', ...(scope && { scope }) });
  await browser.get(`/v1/auth/authorize?${query}`);
  const { headers: { location } } = await browser.submit({ decision: 'allow' });
  const code = new URL(location).searchParams.get('code');
  const answer = await fetch(`${url}/v1/auth/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', client_id, redirect_uri, code, code_verifier }) });
  return (await answer.json()).access_token;
}
