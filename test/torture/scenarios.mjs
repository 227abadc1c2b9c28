// What is tortured. A row: name; args of the server; set(w) once, with nothing armed; before(w) each time, with nothing
// armed; once(w, made): what is done with calls failing, judged by w (world.mjs). What once() itself throws is wrong.
import { randomBytes } from 'node:crypto';
import { FakeAgent, registrationToken } from '../lib/agent.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { holding, reaches, run, script, streamOf, unique, wait } from '../lib/run.mjs';
import { eventually } from '../lib/wait.mjs';
import { Work } from './work.mjs';
import { Wrong } from './world.mjs';

const environments = '/environments';

async function overTls(w) {
  w.certificate = await makeCertificate(w.files, 'server');
  return ['--tls-listen', '127.0.0.1:0', '--tls-cert', w.certificate.cert, '--tls-key', w.certificate.key];
}

export const scenarios = [
  {
    name: 'get',
    once: (w) => w.call('GET', `${environments}/${w.fixed.id}`),
  },
  {
    name: 'get-kept',
    once: (w) => w.call('GET', `${environments}/${w.fixed.id}`, undefined, { kept: true }),
  },
  {
    name: 'list',
    once: (w) => w.call('GET', environments, undefined, { query: { pageSize: '5', sort: '-name', name: 'fixed' } }),
  },
  {
    name: 'create',
    async once(w) {
      const body = { name: unique('made'), config: { variables: { A: 'b' } } };
      const headers = { 'idempotency-key': unique('key') };
      w.asked = { body, headers };
      w.made = (await w.call('POST', environments, body, { want: 201, headers }))?.data;
    },
    /** What was acknowledged is there; and whatever became of it, the same once more is done now or a replay. */
    async check(w) {
      const { body, headers } = w.asked;
      if (w.made) await w.call('GET', `${environments}/${w.made.id}`);
      const again = await eventually(async () => {
        const answer = await w.call('POST', environments, body, { want: [201, 409], headers });
        if (answer.status === 409 && answer.code !== 'RES_IDEMPOTENCY_IN_PROGRESS') throw new Wrong(`the same key once more: ${answer.text}`);
        return answer.status === 201 && answer;
      }, 'the key to be free or answered', { stopOn: Wrong });
      if (w.made && again.data.id !== w.made.id) throw new Wrong('one idempotency key made two documents');
    },
  },
  {
    name: 'change',
    async once(w) {
      const changed = await w.call('PUT', `${environments}/${w.fixed.id}`, { config: { variables: { SAID: unique('changed') } } });
      if (changed) w.said = changed.data;
    },
    async check(w) {
      const now = await w.call('GET', `${environments}/${w.fixed.id}`);
      if (w.said && now.data.revision === w.said.revision && now.data.config.variables.SAID !== w.said.config.variables.SAID) throw new Wrong('an acknowledged change is not there');
    },
  },
  {
    name: 'refuse',
    async once(w) {
      await w.call('POST', environments, undefined, { want: 400, raw: '{"name": ' });
      await w.call('POST', environments, { name: 7, surplus: true }, { want: 400 });
      await w.call('GET', `${environments}/nowhere`, undefined, { want: [400, 404] });
      await w.call('GET', environments, undefined, { want: 401, token: 'slp_wrong' });
    },
  },
  {
    name: 'delete',
    before: (w) => w.api.want(201, 'POST', environments, { name: unique('gone') }),
    once: (w, made) => w.call('DELETE', `${environments}/${made.id}`, undefined, { want: 204 }),
  },
  {
    name: 'cancel-run',
    before: (w) => holding(w.api),
    async once(w, r) {
      const cancelled = await w.call('POST', `/workflow-runs/${r.id}/cancel`, {});
      if (cancelled) await reaches(w.api, r, 'cancelled');
    },
  },
  {
    name: 'stream-ws',
    async set(w) {
      w.ended = await run(w.api, [wait('a', 0.01)]);
      await reaches(w.api, w.ended, 'succeeded');
    },
    once: (w) => w.readToEnd(streamOf(w.ended)),
  },
  {
    name: 'stream-sse',
    async set(w) {
      w.ended = await run(w.api, [wait('a', 0.01)]);
      await reaches(w.api, w.ended, 'succeeded');
    },
    once: (w) => w.readToEnd(streamOf(w.ended), { kind: 'sse' }),
  },
  {
    name: 'stream-deflate',
    async set(w) {
      w.ended = await run(w.api, [wait('a', 0.01)]);
      await reaches(w.api, w.ended, 'succeeded');
    },
    once: (w) => w.readToEnd(streamOf(w.ended), { deflate: true }),
  },
  {
    name: 'tls',
    args: overTls,
    async set(w) {
      w.ended = await run(w.api, [wait('a', 0.01)]);
      await reaches(w.api, w.ended, 'succeeded');
    },
    async once(w) {
      await w.call('GET', `${environments}/${w.fixed.id}`, undefined, { at: w.secure });
      await w.readToEnd(streamOf(w.ended), { at: w.secure });
    },
  },
  {
    name: 'tls-reload',
    args: overTls,
    async once(w) {
      const { process } = w.server, before = process.text().length;
      process.signal('SIGHUP');
      await eventually(() => /serve\.reload .*certificate=(taken|refused)/.test(process.text().slice(before)), 'the certificate to be read again, or refused');
      await w.call('GET', `${environments}/${w.fixed.id}`, undefined, { at: w.secure });
    },
  },
  {
    name: 'live-ws',
    async once(w) {
      const r = await w.startRun([wait('a', 0.02), wait('b', 0.02)]);
      if (r) await w.watch(r, 'ws');
    },
  },
  {
    name: 'live-sse',
    async once(w) {
      const r = await w.startRun([wait('a', 0.02), wait('b', 0.02)]);
      if (r) await w.watch(r, 'sse');
    },
  },
  {
    name: 'dashboard',
    once: (w) => w.readSome('/dashboard/stream', 'synced'),
  },
  {
    name: 'agent',
    before: (w) => registrationToken(w.api),
    async once(w, token) {
      const body = { name: unique('agent'), version: '1.0.0', capabilities: ['script'] };
      const made = await w.call('POST', '/agents/register', body, { want: 201, token: undefined, headers: { 'x-agent-token': token } });
      if (!made) return;
      const { agentId, token: bearer, refreshToken } = made.data;
      await w.call('POST', `/agents/${agentId}/heartbeat`, {}, { token: bearer });
      await w.call('POST', '/agents/token', { refreshToken }, { token: undefined });
    },
  },
  {
    name: 'task-stream',
    async set(w) {
      w.zone = unique('zone');
      w.agent = await new FakeAgent(w.s).register({ labels: { zone: w.zone } });
    },
    async once(w) {
      const r = await w.startRun([script('say', 'echo one', { labels: { zone: w.zone } })]);
      const work = new Work(w.agent, w.server);
      try {
        if (r) await w.watch(r, 'ws');
      } finally {
        await work.end();
      }
    },
  },
  {
    name: 'redis-cut',
    async once(w) {
      await w.s.redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await w.s.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
      const calm = w.calm;
      await eventually(async () => {
        w.calm = false;
        return w.call('GET', `${environments}/${w.fixed.id}`);
      }, 'Redis to be back');
      w.calm = calm;
    },
  },
  {
    name: 'documents',
    async once(w) {
      for (const path of ['/openapi.json', '/asyncapi.json', '/readyz', '/startupz', '/metrics'])
        await w.call('GET', path, undefined, { absolute: true });
    },
  },
  {
    name: 'artifact',
    args: ['--blob-check', '1d'],
    async set(w) {
      w.component = await w.api.want(201, 'POST', '/components', { name: unique('component') });
    },
    async before(w) {
      const bytes = randomBytes(200_000);
      const { createHash } = await import('node:crypto');
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      const made = await w.api.want(201, 'POST', `/components/${w.component.id}/versions`, { tag: unique('v'), digest });
      return { at: `/components/${w.component.id}/versions/${made.id}/artifact`, bytes };
    },
    async once(w, { at, bytes }) {
      const put = await w.call('PUT', at, undefined, { want: [200, 201], raw: bytes, headers: { 'content-type': 'application/octet-stream' } });
      const got = await w.call('GET', at, undefined, { want: put ? 200 : [200, 404, 409], headers: { accept: '*/*' } });
      if (got?.status === 200 && Number(got.headers['content-length']) !== bytes.length) throw new Wrong('the artifact is not what was sent');
    },
  },
];
