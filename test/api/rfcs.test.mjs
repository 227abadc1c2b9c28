// What the RFCs ask for and we promise, and that each has a test whose title names the RFC and the section. A title says
// `RFC 6749 §4.1.2, §6: …`; inside of `describe('RFC 6749'` the number may be left out.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../lib/process.mjs';

const PROMISED = `
6238 5.2: a one-time password counts once
6265 4.1.2: a session is a cookie that no script reads
6749 2.3: one way to authenticate in each request
6749 2.3.1: Basic and post
6749 3.1.2.4: no redirect to an address that was not registered
6749 3.2: the token endpoint's forms
6749 3.3: scopes, never more than there is
6749 4.1: the code flow
6749 4.1.2: a code counts once, and ends what came of it when it comes twice
6749 4.1.2.1: errors at the redirect
6749 4.1.3: a code is bound to client and redirect
6749 4.4.3: client credentials
6749 5.1: what a token answer says
6749 5.2: what a refusal says
6749 6: refresh, rotation, reuse
6750 2.1: tokens in the header
6750 2.3: in the query on streams alone
6750 3: challenges
6750 3.1: their errors
7009 2.1: revocation
7009 2.2: of unknown tokens
7515 4.1.11: crit is refused
7517 4.5: keys by their kid
7517 5: the published set
7518 3.1: RS256 and ES256
7519 6: alg none is refused
7523 2.2: private_key_jwt
7523 3: what is checked of it, and that it counts once
7591 2: what a client registers
7636 4.4.1: PKCE is asked for
7636 4.6: and checked
7662 2.1: introspection, for whom
7662 2.2: what it says
8037 2: Ed25519 keys
8037 3.1: EdDSA
8252 7.3: any port on loopback
8414 2: the server's metadata
8414 3: the issuer in it
8628 3.1: the device grant, for whom
8628 3.2: what the device shows
8628 3.5: polling, and its errors
8628 5.2: a code that is guessed
8693 2.2.1: token exchange
8693 2.2.2: and its refusals
8725 3.1: no confused algorithms
9068 2: what an access token says
9068 2.2: in whose name
9068 4: how it is checked
9207 2: the issuer in the answer
9700 4.1.3: redirects match exactly
9700 4.14.2: refresh tokens rotate
9728 2: the resource's metadata
9728 5.1: and the way there
`.trim().split('\n').map((line) => /^(\d+) ([\w.]+): (.*)$/.exec(line).slice(1));

/** "6749 4.1.2" of each RFC and section that the titles of a file name. */
function named(text) {
  const found = [];
  let around;
  for (const line of text.split('\n')) {
    around = /^describe\(['"`]RFC (\d+)/.exec(line)?.[1] ?? (/^\}\);/.test(line) ? undefined : around);
    const title = /^\s*(?:test|describe)\((['"`])(.*?)\1,/.exec(line)?.[2];
    let rfc = around;
    for (const [, number, section] of (title ?? '').matchAll(/RFC (\d+)|(?:§|appendix )([\w.]*\w)/g)) {
      rfc = number ?? rfc;
      if (section && rfc) found.push(`${rfc} ${section}`);
    }
  }
  return found;
}

test('every promise has a test that names its RFC and section', () => {
  const folder = path.join(ROOT, 'test');
  const all = new Set(['api', 'scenario'].flatMap((name) => fs.readdirSync(path.join(folder, name)).filter((file) => file.endsWith('.mjs'))
    .flatMap((file) => named(fs.readFileSync(path.join(folder, name, file), 'utf8')))));
  assert.ok(all.size > 40, `${all.size} are named`);
  assert.deepEqual(PROMISED.filter(([rfc, section]) => !all.has(`${rfc} ${section}`)).map(([rfc, section, what]) => `RFC ${rfc} §${section}: ${what}`), []);
});
