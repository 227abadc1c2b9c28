// The real agent under a real server: what it promises while things go well, and while they do not. Killing it, the
// server and Redis at many points is test/scenario/kill.test.mjs.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { registrationToken } from '../lib/agent.mjs';
import { SLIPWAY, alive, run as runProgram } from '../lib/process.mjs';
import { Gate, reaches, run, script, streamOf, unique } from '../lib/run.mjs';
import { Agent, start } from '../lib/slipway.mjs';
import { Watcher } from '../lib/stream.mjs';
import { eventually } from '../lib/wait.mjs';

const text = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
const pidIn = (file) => eventually(() => Number(text(file)) || false, `a pid in ${file}`);
const count = (file) => text(file).split('\n').length - 1;
const numbers = (n) => Array.from({ length: n }, (_, i) => `${i + 1}\n`).join('');
const step = async (api, r, node = 'work') => api.want(200, 'GET', `/workflow-runs/${r.id}/steps/${node}`);
const lines = async (api, r, node = 'work') => {
  const all = [];
  for (;;) {
    const part = await api.want(200, 'GET', `/workflow-runs/${r.id}/steps/${node}/logs`, undefined, { query: { afterSeq: String(all.length), limit: '5000' } });
    all.push(...part.lines);
    if (part.lines.length === 0) return all;
  }
};

/** Every file below a folder that holds the text. */
function holding(dir, needle) {
  return fs.readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) => path.join(e.parentPath ?? e.path, e.name))
    .filter((file) => fs.readFileSync(file).includes(needle));
}

describe('a task on a real agent', { concurrency: true }, () => {
  let s, api;
  before(async () => {
    s = await start({ name: 'agent' });
    api = s.api;
    await s.addAgent('agent1', { args: ['--max-tasks', '16'], labels: { role: 'worker' } });
  });
  after(() => s?.stop());

  test('is run as it stands: arguments, environment, folder, output, exit status', async () => {
    const r = await run(api, [script('work', 'echo "out $GREETING"; echo err >&2; pwd; printf "no newline"; exit 7', { env: { GREETING: 'it is me' } })]);
    await reaches(api, r, 'failed');
    const shown = await step(api, r);
    assert.deepEqual([shown.status, shown.outputs.exitCode, shown.error.type], ['failed', 7, 'exit_code']);
    assert.equal(shown.error.message, 'the command ended with exit status 7');
    const seen = await lines(api, r);
    const of = (stream) => seen.filter((l) => l.stream === stream).map((l) => l.line);
    const out = of('stdout');
    assert.equal(out[0], 'out it is me');
    assert.ok(out[1].endsWith(`/tasks/${r.id}:work:1/work`), out[1]);
    assert.deepEqual(out.slice(2), ['no newline']);
    assert.deepEqual(of('stderr'), ['err']);
    assert.ok(shown.outputs.stdoutTail.endsWith('no newline\n'));
  });

  test('whose program does not exist fails at once and says so', async () => {
    const node = script('work', '');
    node.config.command = ['/no/such/program'];
    const r = await run(api, [node]);
    await reaches(api, r, 'failed');
    const shown = await step(api, r);
    assert.deepEqual([shown.error.type, shown.error.message], ['start_failed', '/no/such/program: No such file or directory']);
  });

  test('whose time is over is told to end', async () => {
    const r = await run(api, [script('work', "trap 'echo ended; exit 0' TERM; echo ready; while :; do sleep 0.05; done", { timeoutSeconds: 5 })]);
    await reaches(api, r, 'failed');
    assert.equal((await step(api, r)).status, 'timed_out');
    const said = (await lines(api, r)).map((l) => l.line);
    assert.ok(said.includes('ready') && said.includes('ended'), said);
    assert.ok(said.some((l) => l.startsWith('the time-out of 5 s is over: sent TERM')), said);
  });

  test('that is cancelled may say goodbye, and its children end with it', async () => {
    const [pids, name] = [s.nest.file(unique('pids')), 'work'];
    const r = await run(api, [script(name, `trap 'echo bye; exit 0' TERM; sleep 1000 & echo $! > '${pids}'; echo ready; wait`)]);
    const watcher = new Watcher(s.server, streamOf(r), { token: s.key });
    await watcher.until((w) => w.lines(name).includes('ready\n'), 'the script to be ready');
    await api.want(200, 'POST', `/workflow-runs/${r.id}/cancel`, { reason: 'enough' });
    await reaches(api, r, 'cancelled');
    await watcher.done;
    assert.match(watcher.lines(name), /bye\n/);
    assert.match(watcher.lines(name), /cancelled: /);
    const child = await pidIn(pids);
    await eventually(() => !alive(child), 'the child to end');
  });

  test('says how far it is', async () => {
    const r = await run(api, [script('work', "echo '##slipway[progress 40] copying'; echo done")]);
    const watcher = new Watcher(s.server, streamOf(r), { token: s.key });
    await reaches(api, r, 'succeeded');
    await watcher.done;
    const progress = watcher.events.find((e) => e.type === 'step_progress' && e.progress === 40);
    assert.equal(progress?.message, 'copying');
  });

  test('keeps its secrets: raw, base64, URL-encoded, in two writes; on the stream, in logs, results and on disk', async () => {
    const secret = 'Tr0ub4dor&3 zebra/quux', name = 'work';
    const r = await run(api, [script(name, [
      'echo "raw: $DB_PASSWORD"', 'printf %s "$DB_PASSWORD" | base64', 'printf "x%s" "$DB_PASSWORD" | base64',
      'printf "xy%s" "$DB_PASSWORD" | base64', `echo "$DB_PASSWORD" | sed 's,&,%26,; s, ,%20,; s,/,%2F,'`,
      `echo "$DB_PASSWORD" | sed 's,&,%26,; s, ,+,; s,/,%2F,'`, 'printf "%.7s" "$DB_PASSWORD"; sleep 0.2; echo "${DB_PASSWORD#???????}"',
      'echo "raw: $DB_PASSWORD" >&2', 'echo "the rest"',
    ].join('; '), { env: { DB_PASSWORD: secret } })]);
    const watcher = new Watcher(s.server, streamOf(r), { token: s.key });
    await reaches(api, r, 'succeeded');
    await watcher.done;
    const forms = [secret, Buffer.from(secret).toString('base64').slice(0, 24), 'Tr0ub4dor%263', 'Tr0ub4d', 'zebra'];
    const seen = JSON.stringify([watcher.events, await lines(api, r), await step(api, r)]);
    for (const form of forms) assert.ok(!seen.includes(form), `${form} is shown`);
    for (const shift of ['x', 'xy'])
      assert.ok(!seen.includes(Buffer.from(shift + secret).toString('base64').slice(4, 28)), `base64 behind ${shift} is shown`);
    assert.match(watcher.lines(name), /raw: \*\*\*\n/);
    assert.match(watcher.lines(name), /the rest\n/);
    const folder = `${s.agents[0].data}/tasks/${r.id}:${name}:1`;
    assert.deepEqual(holding(folder, 'zebra'), []);
  });

  test('prints without a break and loses nothing while the server stands still', async () => {
    const [gate, n] = [new Gate(s.nest), 20000];
    const r = await run(api, [script('work', `echo ready; ${gate.shell}; seq 1 ${n}`)]);
    const watcher = new Watcher(s.server, streamOf(r), { token: s.key });
    await watcher.until((w) => w.lines('work').includes('ready\n'), 'the script to be ready');
    const spool = `${s.agents[0].data}/tasks/${r.id}:work:1`;
    s.server.process.signal('SIGSTOP');
    try {
      gate.open();
      await eventually(() => fs.existsSync(`${spool}/exit`), 'the command to end');
    } finally {
      s.server.process.signal('SIGCONT');
    }
    await reaches(api, r, 'succeeded');
    await watcher.done;
    assert.equal(watcher.lines('work'), `ready\n${numbers(n)}`);
    assert.equal((await lines(api, r)).length, n + 1);
  });
});

describe('the agent program', { concurrency: true }, () => {
  /** A script that counts until its gate is open, and what it leaves behind. */
  const counting = (s) => {
    const [gate, file, pid] = [new Gate(s.nest), s.nest.file(unique('lines')), s.nest.file(unique('pid'))];
    const shell = `echo $$ > '${pid}'; i=0; until [ -e '${gate.path}' ]; do i=$((i+1)); echo "line $i"; echo "line $i" >> '${file}'; sleep 0.005; done`;
    return { gate, file, pid, shell };
  };
  const more = (file, n = 50) => {
    const from = count(file);
    return eventually(() => count(file) >= from + n, `${n} more lines in ${file}`);
  };

  async function withSystem(name, options, body) {
    const s = await start({ name, ...options });
    try {
      await body(s, s.api);
    } finally {
      await s.stop();
    }
  }

  test('goes on while the server is away, and tells everything once it is back', () => withSystem('away', {}, async (s, api) => {
    await s.addAgent();
    const script1 = counting(s);
    const r = await run(api, [script('work', script1.shell)]);
    await more(script1.file);
    const pid = await pidIn(script1.pid);
    assert.deepEqual(await s.server.stop(), { code: 0, signal: null });
    await more(script1.file, 400);
    await s.server.start();
    await more(script1.file);
    script1.gate.open();
    await reaches(api, r, 'succeeded');
    assert.equal((await lines(api, r)).map((l) => `${l.line}\n`).join(''), text(script1.file));
    assert.ok(pid > 1);
  }));

  test('that is killed and started again finds its task, the same process, and its end', () => withSystem('again', {}, async (s, api) => {
    const agent = await s.addAgent();
    const [runs, ends] = [counting(s), counting(s)];
    const r1 = await run(api, [script('work', runs.shell)]);
    const r2 = await run(api, [script('work', ends.shell)]);
    await Promise.all([more(runs.file), more(ends.file)]);
    const pid = await pidIn(runs.pid);
    await agent.kill();
    ends.gate.open(); // ends while no agent is there
    await eventually(async () => !alive(await pidIn(ends.pid)), 'the second script to end');
    await more(runs.file);
    assert.ok(alive(pid));
    await agent.start();
    await reaches(api, r2, 'succeeded');
    runs.gate.open();
    await reaches(api, r1, 'succeeded');
    assert.equal(await pidIn(runs.pid), pid);
    assert.equal((await lines(api, r1)).map((l) => `${l.line}\n`).join(''), text(runs.file));
    assert.equal((await lines(api, r2)).map((l) => `${l.line}\n`).join(''), text(ends.file));
  }));

  test('leaves on SIGTERM with status 0 and hands its task over to its next start', () => withSystem('term', {}, async (s, api) => {
    const agent = await s.addAgent();
    const work = counting(s);
    const r = await run(api, [script('work', work.shell)]);
    await more(work.file);
    const pid = await pidIn(work.pid);
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
    await more(work.file);
    assert.ok(alive(pid));
    await agent.start();
    work.gate.open();
    await reaches(api, r, 'succeeded');
    assert.equal((await lines(api, r)).map((l) => `${l.line}\n`).join(''), text(work.file));
  }));

  test('counts as offline as soon as it leaves', () => withSystem('leaves', {}, async (s, api) => {
    const agent = await s.addAgent();
    const found = await agent.online();
    assert.deepEqual(await agent.stop(), { code: 0, signal: null });
    await eventually(async () => {
      const { status } = await api.want(200, 'GET', `/agents/${found.id}`);
      return [status === 'offline', status];
    }, 'the agent to be offline', { patience: 20_000 }); // three silent heartbeats would be 90 s
  }));

  test('with --drain waits for its tasks before it leaves', () => withSystem('drain', {}, async (s, api) => {
    const agent = await s.addAgent('agent1', { args: ['--drain', '10m'] });
    const work = counting(s);
    const r = await run(api, [script('work', work.shell)]);
    await more(work.file);
    agent.process.signal('SIGTERM');
    const next = await run(api, [script('work', 'true')]); // refused: nobody takes it
    await more(work.file);
    work.gate.open();
    await reaches(api, r, 'succeeded');
    assert.deepEqual(await agent.process.ended(), { code: 0, signal: null });
    assert.notEqual((await step(api, next)).status, 'succeeded');
  }));

  test('that is revoked stops its tasks and leaves with status 3', () => withSystem('revoked', {}, async (s, api) => {
    const agent = await s.addAgent();
    const work = counting(s);
    const r = await run(api, [script('work', work.shell)]);
    await more(work.file);
    const pid = await pidIn(work.pid);
    await api.want(204, 'DELETE', `/agents/${agent.id}`, undefined, { query: { force: 'true' } });
    assert.deepEqual(await agent.process.ended(), { code: 3, signal: null });
    await eventually(() => !alive(pid), 'the task to end');
    await reaches(api, r, 'failed');
  }));

  test('renews its token before it is over', () => withSystem('renew', { env: { SLIPWAY_TOKEN_TTL: '10s' } }, async (s, api) => {
    const agent = await s.addAgent();
    await eventually(async () => {
      const { data } = await api.get('/audit-events', { query: { resourceId: agent.id, pageSize: '100' } });
      return data?.filter((e) => e.action === 'agent.token-renewed').length >= 2;
    }, 'two renewals');
    await reaches(api, await run(api, [script('work', 'true')]), 'succeeded');
  }));

  test('says what is wrong, with the exit status of the help', () => withSystem('wrong', {}, async (s, api) => {
    const agent = (...args) => runProgram(SLIPWAY, ['agent', '--url', s.server.url, ...args]);
    const fresh = () => s.nest.file(unique('data'));
    const none = fresh();
    const help = await agent('--help');
    assert.equal(help.code, 0);
    for (const [code, says, ...args] of [
      [2, /has no identity yet: give --token-file/, '--data', none],
      [2, /no such|No such/, '--data', none, '--token-file', '/no/such/file'],
      [2, /--max-tasks/, '--data', fresh(), '--max-tasks', '0'],
      [2, /a URL starts with https:/, '--data', fresh(), '--url', 'ftp://example.org'],
      [1, /Not a directory|No such file/, '--data', '/dev/null/x', '--register-token', 'x'],
      [3, /AUTH_TOKEN_INVALID/, '--data', fresh(), '--register-token', 'reg_nonsense'],
    ]) {
      const got = await agent(...args);
      assert.equal(got.code, code, got.stderr);
      assert.match(got.stdout + got.stderr, says);
    }
    assert.ok(!fs.existsSync(none), 'refused for want of a token, it leaves nothing behind');
    await s.addAgent();
    const second = await agent('--data', s.agents[0].data);
    assert.equal(second.code, 1);
    assert.match(second.stderr, /another agent uses it/);
    const stolen = new Agent(s, 'copy');
    stolen.token = await registrationToken(api);
    fs.writeFileSync(s.nest.file('copy.token'), stolen.token);
    await stolen.start();
    await stolen.online();
    const used = await agent('--data', fresh(), '--register-token', stolen.token);
    assert.equal(used.code, 3);
    assert.match(used.stderr, /AGT_TOKEN_USED/);
  }));
});
