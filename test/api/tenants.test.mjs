// Two tenants on one server see nothing of each other: neither in a list or a stream, nor by naming the other's things in
// a body or behind a thing of one's own. (By the id in the path alone: sweep.test.mjs, "another tenant finds nothing".)
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { HostAgent, jobOf, jobReaches, jobStream, makeEstate, makeRelease, promote, runOf } from '../lib/deployment.mjs';
import { figures } from '../lib/figures.mjs';
import { makeTemplate, unique, wait } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { WsStream } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const NOWHERE = '0190a5b0-0000-7000-8000-0000000000ab';
let s, one, other;

/** What a tenant has: two releases deployed one after the other over a target, and a template. */
async function fill(api) {
  const { environment, targets: [target], labels } = await makeEstate(api, 1);
  await new HostAgent(s, { api }).serve(labels);
  const releases = [await makeRelease(api), await makeRelease(api)];
  let job;
  for (const release of releases) {
    const promotion = await promote(api, release, environment);
    job = await jobReaches(api, await jobOf(api, await runOf(api, promotion)), 'succeeded');
    await eventually(async () => (await api.want(200, 'GET', `/promotions/${promotion.id}`)).status === 'deployed', 'the promotion to be over');
  }
  const template = await makeTemplate(api, [wait('hold', 0)]);
  return { environment, target, release: releases[1], component: releases[1].component, version: releases[1].version, job, template };
}

before(async () => {
  s = await start({ name: 'tenants' });
  one = await fill(s.api);
  await s.api.want(201, 'POST', '/rollbacks', { environmentId: one.environment.id, reason: 'a test' });
  other = s.server.client(await s.makeKey('--tenant', 'another', '--role', 'admin'));
});
after(() => s?.stop());

test('every list is empty for the other', async () => {
  const { document } = await s.server.openapi();
  const lists = Object.entries(document.paths).filter(([at, item]) => item.get && at.startsWith('/api/v1/') && !at.includes('{') && !at.includes('stream'))
    .map(([at]) => at).filter((at) => !['/api/v1/step-types', '/api/v1/audit-events', '/api/v1/audit-events/verify', '/api/v1/audit-events/export'].includes(at));
  assert.ok(lists.length >= 10, lists.join());
  const filled = [];
  for (const at of lists) {
    const theirs = await other.get(at), ours = await s.api.get(at);
    assert.deepEqual([theirs.status, theirs.data], [200, []], at);
    if (ours.data.length) filled.push(at.replace('/api/v1/', ''));
  }
  for (const name of ['environments', 'targets', 'agents', 'components', 'releases', 'promotions', 'deployment-jobs', 'rollbacks',
    'workflow-runs', 'workflow-templates', 'version-stickers'])
    assert.ok(filled.includes(name), `there are ${name} to hide: ${filled}`);
  const tenantsOf = async (client) => new Set((await client.get('/audit-events/export')).text.split('\n').filter(Boolean).map((line) => JSON.parse(line).tenantId));
  const sealed = (client) => eventually(async () => [...await tenantsOf(client)].join(), 'an entry to be sealed');
  const [theirs, ours] = [await sealed(other), await sealed(s.api)];
  assert.match(`${theirs} ${ours}`, /^[0-9a-f-]{36} [0-9a-f-]{36}$/);
  assert.notEqual(theirs, ours);
});

test('a body that names the other tenant\'s things is answered as if it named nothing', async () => {
  const mine = await fill(other), fresh = await makeRelease(other);
  const bodies = (x) => [
    ['/targets', { environmentId: x.environment.id, name: unique('t'), type: 'host', connection: { path: '/srv/a' } }],
    ['/releases', { name: unique('r'), components: [{ componentId: x.component.id, tag: 'x' }] }],
    ['/releases', { name: unique('r'), components: [{ componentId: mine.component.id, versionId: x.version.id }] }],
    ['/releases/from-latest', { name: unique('r'), componentIds: [x.component.id] }],
    ['/promotions', { releaseId: x.release.id, targetEnvironmentId: mine.environment.id, reason: 'a test' }],
    ['/promotions', { releaseId: mine.release.id, targetEnvironmentId: x.environment.id, reason: 'a test' }],
    ['/promotions', { releaseId: fresh.id, targetEnvironmentId: mine.environment.id, reason: 'a test', templateId: x.template.id }],
    ['/workflow-runs', { templateId: x.template.id }],
    ['/workflow-runs', { templateId: mine.template.id, context: { environmentId: x.environment.id } }],
    ['/workflow-runs', { templateId: mine.template.id, context: { releaseId: x.release.id } }],
    ['/rollbacks', { environmentId: x.environment.id, reason: 'a test' }],
    ['/rollbacks', { deploymentJobId: x.job.id, reason: 'a test' }],
    ['/rollbacks', { environmentId: mine.environment.id, toReleaseId: x.release.id, reason: 'a test' }],
  ];
  const none = { id: NOWHERE };
  const nothing = bodies({ environment: none, component: none, version: none, release: none, template: none, job: none });
  const shown = (a) => JSON.stringify([a.status, a.code, a.error?.validationErrors?.map((f) => [f.field, f.code])]);
  for (const [i, [at, body]] of bodies(one).entries()) {
    const answer = await other.post(at, body), unknown = await other.post(...nothing[i]);
    assert.match(answer.code, /_(UNKNOWN|UNRESOLVED|NOT_POSSIBLE)$/, `${at} ${JSON.stringify(body)}: ${answer.status} ${answer.text}`);
    assert.equal(shown(answer), shown(unknown), `${at} ${JSON.stringify(body)}`);
  }
  for (const at of [
    `/releases/${mine.release.id}/compare/${one.release.id}`,
    `/components/${mine.component.id}/versions/${one.version.id}`,
    `/components/${mine.component.id}/versions/${one.version.id}/artifact`,
  ]) assert.equal((await other.get(at)).status, 404, at);
  for (const at of [`targets?environmentId=${one.environment.id}`, `deployment-jobs?environmentId=${one.environment.id}`, `promotions?releaseId=${one.release.id}`,
    `version-stickers?targetId=${one.target.id}`, `workflow-runs?templateId=${one.template.id}`])
    assert.deepEqual(await other.want(200, 'GET', `/${at}`), [], at);
});

test('nobody\'s ticket or key opens the other\'s streams, and a dashboard counts only what is one\'s own', async () => {
  const key = await s.makeKey('--tenant', 'a-third', '--role', 'admin');
  const third = s.server.client(key);
  const ticket = async () => (await third.want(201, 'POST', '/stream-tickets')).ticket;
  const runs = await s.api.want(200, 'GET', '/workflow-runs');
  for (const at of [jobStream(one.job), `/workflow-runs/${runs[0].id}/stream`])
    for (const how of [{ token: key }, { query: { token: await ticket() } }]) {
      const answer = await new WsStream(s.server, at, how).refusal();
      assert.deepEqual([answer.status, answer.code], [404, 'RES_NOT_FOUND'], at);
    }
  const dashboard = new WsStream(s.server, '/dashboard/stream', { query: { token: await ticket(), since: '0' } });
  await dashboard.frame('synced');
  const shown = figures(dashboard);
  assert.deepEqual([shown.environments, shown.estate.targetsTotal, shown.estate.agentsOnline], [[], 0, 0]);
  await s.api.want(201, 'POST', '/environments', { name: unique('loud') });
  const own = await third.want(201, 'POST', '/environments', { name: unique('own') });
  await dashboard.until((d) => figures(d)?.environments.some((e) => e.environmentId === own.id), 'its own environment to be counted');
  assert.deepEqual(figures(dashboard).environments.map((e) => e.environmentId), [own.id]);
  assert.ok(!dashboard.frames.some((f) => JSON.stringify(f).includes(one.environment.id)), 'nothing of the other\'s is told');
  dashboard.close();
});
