// Every role at every guarded operation of the served document, with an API key and with an access token: a caller that has
// nothing but the role is refused with 403 and the permission it lacks, or let through, exactly as the table says. What
// happens to who is let through is not asked here: nothing exists under the ids, and no body is right.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { Signer } from '../lib/token.mjs';

// Written by hand, so that a right which a role gets or loses by accident is noticed. `*:read` is every reading one but
// audit:read, and no pattern makes anybody an agent: those two are given by name.
const ROLES = {
  admin: '*',
  'release-manager': '*:read component:* release:* promotion:request promotion:cancel deployment:rollback workflow:* freeze:create freeze:delete '
    + 'progressive:manage evidence:export',
  operator: '*:read environment:update target:* agent:* integration:update workflow:execute deployment:rollback promotion:cancel',
  approver: '*:read promotion:approve',
  viewer: '*:read',
  auditor: '*:read audit:read evidence:export',
  agent: 'agent:connect artifact:read',
};
const BY_NAME = { 'agent:connect': ['agent:connect'], 'audit:read': ['*', 'audit:*', 'audit:read'] };

function grants(role, permission) {
  const [resource, action] = permission.split(':');
  const patterns = BY_NAME[permission] ?? ['*', `*:${action}`, `${resource}:*`, permission];
  return ROLES[role].split(' ').some((pattern) => patterns.includes(pattern) && (pattern !== '*:read' || action === 'read'));
}

let s, operations, connections, tenant;
before(async () => {
  s = await start({ name: 'roles' });
  [{ tenant_id: tenant }] = JSON.parse((await s.slipway('key', 'list', '--json')).stdout);
  const { document } = await s.server.openapi();
  operations = Object.entries(document.paths).flatMap(([at, item]) => ['get', 'post', 'put', 'patch', 'delete']
    .filter((method) => item[method]?.['x-permission'] !== undefined)
    .map((method) => ({ method: method.toUpperCase(), at, permission: item[method]['x-permission'], body: item[method].requestBody !== undefined })));
  connections = new http.Agent({ keepAlive: true, maxSockets: 4 });
});
after(async () => {
  connections?.destroy();
  await s?.stop();
});

const NOBODY = '0192f7a0-0000-7000-8000-0000000000ee';

/** Answers {status, code, challenge}; of a stream that opens the head is enough. */
function ask({ method, at, body }, token) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json, text/event-stream', ...(body && { 'content-type': 'application/json', 'content-length': 2 }) };
    const { host, port } = s.server;
    const request = http.request({ host, port, method, path: at.replaceAll(/\{[^}]*\}/g, NOBODY), headers, agent: connections }, (response) => {
      const answer = { status: response.statusCode, challenge: response.headers['www-authenticate'] ?? '' };
      if (response.headers['content-length'] === undefined && answer.status === 200) {
        resolve(answer);
        request.destroy();
        return;
      }
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => { text += piece; }).on('error', reject);
      response.on('end', () => resolve({ ...answer, text, code: /"code":"(\w+)"/.exec(text)?.[1] ?? /"error":"(\w+)"/.exec(text)?.[1] }));
    });
    request.on('error', reject);
    request.end(body ? '{}' : undefined);
  });
}

/** What is wrong with the answer, if anything is. */
function judge(op, answer, may) {
  const seen = `${op.method} ${op.at}: ${answer.status} ${answer.text ?? ''}`;
  const refused = answer.status === 403 && answer.challenge.includes('error="insufficient_scope"');
  if (answer.status === 401 || answer.status >= 500) return seen;
  if (may) return refused && answer.challenge.includes(`scope="${op.permission}"`) ? `refused: ${seen}` : undefined;
  if (!refused) return `not refused: ${seen}`;
  return answer.challenge.includes(`scope="${op.permission}"`) && answer.text.includes(op.permission) ? undefined : `without ${op.permission}: ${seen}`;
}

async function sweep(role, token) {
  const wrong = [];
  const queue = [...operations];
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let op = queue.shift(); op; op = queue.shift()) {
      const fault = judge(op, await ask(op, token), op.permission === 'any' || grants(role, op.permission));
      if (fault) wrong.push(fault);
    }
  }));
  assert.deepEqual(wrong, []);
}

test('the published table says the same', async () => {
  const docs = await (await fetch(`${s.server.url}/docs`)).text();
  const table = docs.slice(docs.indexOf('<th>Permission</th><th>admin')).split('</table>')[0];
  const cells = (row, name) => [...row.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'g'))].map(([, text]) => text.replaceAll(/<[^>]*>/g, ''));
  const roles = cells(table, 'th').slice(1, -1);
  assert.deepEqual(roles, Object.keys(ROLES));
  const rows = table.split('<tr>').map((row) => cells(row, 'td')).filter((row) => row.length > 0);
  assert.ok(rows.length > 50, `${rows.length} permissions`);
  for (const [permission, ...may] of rows)
    assert.deepEqual(roles.filter((_, i) => may[i] === 'yes'), roles.filter((role) => grants(role, permission)), permission);
});

test('the document says of enough operations what they need', () => {
  assert.ok(operations.length > 70, `${operations.length} guarded operations`);
  for (const permission of new Set(operations.map((op) => op.permission))) assert.match(permission, /^([a-z-]+:[a-z-]+|any)$/);
});

for (const [i, role] of Object.keys(ROLES).entries()) {
  test(`${role}, by an API key`, async () => sweep(role, await s.makeKey('--role', role, '--name', role)));
  test(`${role}, by an access token`, async () => {
    const claims = { tenant_id: tenant, roles: [role], jti: `0192f7a0-0000-7000-8000-00000000000${i}` };
    return sweep(role, new Signer(s.server.data).token(claims));
  });
}

test('nobody who has no role, and no permission of any operation', async () => {
  const token = await s.makeKey('--permissions', 'plugin:manage', '--name', 'nothing');
  for (const op of operations.filter(({ permission }) => permission !== 'any' && permission !== 'plugin:manage'))
    assert.equal(judge(op, await ask(op, token), false), undefined);
});
