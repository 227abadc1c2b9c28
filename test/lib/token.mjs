// Access tokens made by hand from a system's keyring: right ones, and every kind of wrong one.
import { createPrivateKey, sign } from 'node:crypto';
import fs from 'node:fs';

const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410: an Ed25519 seed follows

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
const base64url = (value) => Buffer.from(value).toString('base64url');

export class Signer {
  /** data: the data folder of a server. */
  constructor(data) {
    const line = fs.readFileSync(`${data}/keyring`, 'utf8').split('\n').filter((l) => l.startsWith('sign ')).at(-1);
    const [, kid, seed] = line.split(' ');
    this.kid = kid;
    this.key = createPrivateKey({ key: Buffer.concat([PKCS8, Buffer.from(seed, 'base64url')]), format: 'der', type: 'pkcs8' });
  }

  /** Rightly signed, whatever it says; `change` may replace members, null takes one away. */
  token(claims = {}, header = {}) {
    const now = Math.floor(Date.now() / 1000);
    const whole = {
      iss: 'slipway', aud: 'slipway', jti: '0192f7a0-0000-7000-8000-00000000000a', sub: 'alice', user_id: 'alice',
      roles: ['admin'], permissions: [], iat: now, exp: now + 600, ...claims,
    };
    const head = { alg: 'EdDSA', kid: this.kid, typ: 'at+jwt', ...header };
    for (const object of [whole, head]) for (const [k, v] of Object.entries(object)) if (v === null) delete object[k];
    return this.sign(head, whole);
  }

  sign(head, body) {
    const signed = `${base64url(text(head))}.${base64url(text(body))}`;
    return `${signed}.${base64url(sign(null, Buffer.from(signed), this.key))}`;
  }
}

export const unsigned = (head, body) => `${base64url(text(head))}.${base64url(text(body))}.`;
