// `slipway watch`: a run in a terminal, live, to its end, across a restart of the server.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { SLIPWAY, run as runProgram } from '../lib/process.mjs';
import { Gate, chain, reaches, run, script } from '../lib/run.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';

let s;
before(async () => {
  s = await start({ name: 'watch', workers: 1 });
  fs.writeFileSync(s.nest.file('key'), `${s.key}\n`, { mode: 0o600 });
  await s.addAgent();
});
after(() => s?.stop());

const args = (...more) => ['watch', 'run', ...more, '--url', s.server.url, '--key-file', s.nest.file('key')];
const watch = (...more) => runProgram(SLIPWAY, args(...more));

test('shows steps and lines, and ends as the run ended', async () => {
  const good = await run(s.api, [script('build', 'echo hello; echo oops >&2'), script('ship', 'echo bye')], chain('build', 'ship'));
  const seen = await watch(good.id);
  assert.equal(seen.code, 0, seen.stderr);
  const lines = seen.stdout.split('\n');
  for (const line of ['build            | hello', 'build            | oops', 'ship             | bye'])
    assert.ok(lines.includes(line), `no line "${line}" in\n${seen.stdout}`);
  assert.match(seen.stdout, /^run started$/m);
  assert.match(seen.stdout, /^build +\| ended: succeeded after/m);
  assert.match(seen.stdout, /^run succeeded after/m);
  assert.ok(!seen.stdout.includes('\x1b'), 'colours are for terminals');

  const bad = await run(s.api, [script('fail', 'exit 3')]);
  assert.equal((await watch(bad.id)).code, 1);
  const gate = new Gate(s.nest);
  const stopped = await run(s.api, [script('hold', `echo here; ${gate.shell}`)]);
  const watching = watch(stopped.id);
  await reaches(s.api, stopped, 'running');
  await s.api.want(200, 'POST', `/workflow-runs/${stopped.id}/cancel`, {});
  assert.equal((await watching).code, 3);
});

test('what a step prints does not command the terminal', async () => {
  const r = await run(s.api, [script('trick', "printf 'a\\033]0;title\\007b\\n'")]);
  const { stdout } = await watch(r.id);
  assert.match(stdout, /^trick +\| a\?\]0;title\?b$/m);
});

test('--json prints the messages, --since leaves out what was seen', async () => {
  const r = await run(s.api, [script('say', 'echo one')]);
  await reaches(s.api, r, 'succeeded');
  const messages = (text) => text.trim().split('\n').map((line) => JSON.parse(line));
  const all = messages((await watch(r.id, '--json')).stdout);
  assert.equal(all[0].type, 'ready');
  assert.equal(all.at(-1).type, 'end');
  const events = all.filter((m) => /^(workflow|step)_/.test(m.type));
  assert.deepEqual(events.map((e) => e.seq), events.map((_, i) => i + 1));
  const late = await watch(r.id, '--json', '--since', String(events.length));
  assert.equal(late.code, 0, 'the result is asked for when its event was left out');
  assert.deepEqual(messages(late.stdout).map((m) => m.type), ['ready', 'synced', 'end']);
});

test('ends in order when it is interrupted', async () => {
  const gate = new Gate(s.nest);
  const r = await run(s.api, [script('hold', `echo before; ${gate.shell}`)]);
  const watching = s.nest.start('interrupted', SLIPWAY, args(r.id));
  await eventually(() => watching.text().includes('| before'), 'the first line to be shown');
  watching.signal('SIGINT');
  assert.deepEqual(await watching.ended(), { code: 130, signal: null });
  gate.open();
  await reaches(s.api, r, 'succeeded');
});

test('goes on behind what it saw when the server was killed and came back', async () => {
  const gate = new Gate(s.nest);
  const r = await run(s.api, [script('hold', `echo before; ${gate.shell}; echo behind`)]);
  const watching = s.nest.start('watching', SLIPWAY, args(r.id));
  await eventually(() => watching.text().includes('| before'), 'the first line to be shown');
  await s.server.kill();
  await eventually(() => watching.text().includes('connection lost'), 'the cut to be told');
  await s.server.start();
  gate.open();
  assert.deepEqual(await watching.ended(), { code: 0, signal: null });
  const shown = watching.text().split('\n').filter((line) => line.startsWith('hold ') && /before|behind/.test(line));
  assert.deepEqual(shown.map((line) => line.split('| ')[1]), ['before', 'behind']);
});

test('shows the dashboard until it is told to leave', async () => {
  const watching = s.nest.start('dashboard', SLIPWAY, ['watch', 'dashboard', '--url', s.server.url, '--key-file', s.nest.file('key')]);
  const dev = await s.api.want(201, 'POST', '/environments', { name: 'dev' });
  await s.api.want(201, 'POST', `/environments/${dev.id}/freeze-windows`, {
    start: new Date(Date.now() - 60_000).toISOString(), end: new Date(Date.now() + 3600_000).toISOString(), reason: 'holidays',
  });
  await eventually(() => watching.text().includes(`${dev.id} | freeze started`), 'the freeze to be shown');
  watching.signal('SIGINT');
  assert.deepEqual(await watching.ended(), { code: 130, signal: null });
});

test('what cannot be watched is 4, with the reason', async () => {
  const unknown = await watch('01900000-0000-7000-8000-000000000000');
  assert.equal(unknown.code, 4);
  assert.match(unknown.stderr, /404/);
  const none = await runProgram(SLIPWAY, ['watch', 'run', '01900000-0000-7000-8000-000000000000', '--url', s.server.url, '--key-file', '/dev/null']);
  assert.equal(none.code, 2);
  const wrong = await runProgram(SLIPWAY, ['watch', 'walk', 'x']);
  assert.equal(wrong.code, 2);
});
