// What steps print, read over HTTP: numbers without holes, pages, tails, levels, raw text, and the order of everything in
// the run's channel.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s, run, path;
const LINES = 250;
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const script = (id, text, more = {}) => ({ id, type: 'script', config: { command: ['sh', '-c', text] }, ...more });

before(async () => {
  s = await start({ name: 'logs' });
  await s.addAgent('one', { args: ['--max-tasks', '8'] });
  const t = await s.api.want(201, 'POST', '/workflow-templates', {
    name: 'printer',
    inputs: [{ name: 'token', type: 'string' }],
    nodes: [
      script('many', `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo line $i; done`),
      script('both', 'echo out; echo err >&2; sleep 0.2; echo out again; exit 3', { retry: { maxAttempts: 2, initialDelaySeconds: 0 }, onFailure: 'continue' }),
      script('secret', 'echo the token is ${{ inputs.token }}'),
      ...numbers(1, 5).map((i) => script(`n${i}`, 'echo a; echo b; echo c')),
    ],
  });
  run = await s.api.want(201, 'POST', '/workflow-runs', { templateId: t.id, inputs: { token: 'correct-horse' } });
  path = `/workflow-runs/${run.id}/steps`;
  run = await eventually(async () => {
    const now = await s.api.want(200, 'GET', `/workflow-runs/${run.id}`);
    return ['succeeded', 'failed', 'cancelled'].includes(now.status) ? now : [false, now];
  }, 'the run to end');
});
after(() => s?.stop());

const logs = (node, query = {}) => s.api.want(200, 'GET', `${path}/${node}/logs`, undefined, { query });

test('the run has succeeded', () => assert.equal(run.status, 'succeeded'));

test('lines come in order, numbered without holes', async () => {
  const all = await logs('many');
  assert.deepEqual(all.lines.map((l) => [l.seq, l.line]), numbers(1, LINES).map((i) => [i, `line ${i}`]));
  assert.deepEqual([all.nextSeq, all.complete, all.truncated], [LINES + 1, true, false]);
});

test('pages join without loss', async () => {
  const seen = [];
  for (let afterSeq = 0, complete = false; !complete;) {
    const page = await logs('many', { afterSeq, limit: 70 });
    assert.ok(page.lines.length > 0 && page.lines.length <= 70);
    seen.push(...page.lines.map((l) => l.seq));
    afterSeq = page.nextSeq - 1;
    complete = page.complete;
  }
  assert.deepEqual(seen, numbers(1, LINES));
  assert.deepEqual((await logs('many', { afterSeq: LINES + 50 })).lines, []);
});

test('tail answers the last lines', async () => {
  assert.deepEqual((await logs('many', { tail: 3 })).lines.map((l) => l.seq), numbers(LINES - 2, LINES));
  assert.equal((await logs('many', { tail: 5000 })).lines.length, LINES);
});

test('streams and levels are told apart, and each attempt has a log of its own', async () => {
  const last = await logs('both');
  assert.deepEqual(last.lines.map((l) => l.line).sort(), ['err', 'out', 'out again']);
  assert.equal(last.lines.find((l) => l.line === 'err').stream, 'stderr');
  assert.equal(last.lines.find((l) => l.line === 'out').stream, 'stdout');
  const first = await logs('both', { attempt: 1 });
  assert.deepEqual(first.lines.map((l) => l.seq), [1, 2, 3]);
  const grave = await logs('both', { level: 'error' });
  assert.ok(grave.lines.every((l) => l.level === 'error'));
  assert.equal(grave.nextSeq, 4);
});

test('raw text is what the step printed', async () => {
  const answer = await s.api.get(`${path}/many/logs`, { headers: { accept: 'text/plain' } });
  assert.equal(answer.type, 'text/plain');
  assert.equal(answer.text, numbers(1, LINES).map((i) => `line ${i}\n`).join(''));
});

test('secrets are masked before they are stored', async () => {
  assert.deepEqual((await logs('secret')).lines.map((l) => l.line.includes('correct-horse')), [false]);
});

test('nothing of a step is in the channel before its start or after its end', async () => {
  const [key] = await s.redis.keys(`*:e:*:run:${run.id}`);
  const entries = await s.redis.command('XRANGE', key, '-', '+');
  const all = entries.flatMap(([, fields]) => fields[fields.indexOf('b') + 1].split('\n')).map((text) => JSON.parse(text));
  const open = new Set();
  assert.deepEqual(all.map((e) => e.seq), numbers(1, all.length));
  for (const e of all) {
    if (e.type === 'step_started') open.add(`${e.nodeId} ${e.attempt}`);
    if (e.type === 'step_log') assert.ok(open.has(`${e.nodeId} ${e.attempt}`), JSON.stringify(e));
    if (e.type === 'step_log_end') assert.ok(open.delete(`${e.nodeId} ${e.attempt}`), JSON.stringify(e));
  }
  assert.deepEqual([...open], []);
  assert.equal(all.at(-1).type, 'workflow_completed');
});

test('faults of the query are told', async () => {
  for (const query of [{ limit: 0 }, { limit: 5001 }, { tail: 'x' }, { level: 'loud' }, { attempt: -1 }, { page: 1 }])
    assert.equal((await s.api.get(`${path}/many/logs`, { query })).code, 'VAL_FAILED', JSON.stringify(query));
});
