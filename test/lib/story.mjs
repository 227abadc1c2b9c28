// The narrow story, told with nothing but HTTP, WebSocket and server-sent events against real processes. Each step has a
// name and answers what it observed; one that meets something else says what it saw and what it expected. Used by
// `make demo` (scripts/demo.mjs) and test/scenario/story.test.mjs.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { alive } from './process.mjs';
import { Gate, script, streamOf } from './run.mjs';
import { Agent, start } from './slipway.mjs';
import { SseStream, WsStream } from './stream.mjs';
import { eventually } from './wait.mjs';

export class Mismatch extends Error {
  constructor(what, expected, seen) {
    super(`${what}: expected ${show(expected)}, seen ${show(seen)}`);
    this.name = 'Mismatch';
    Object.assign(this, { what, expected, seen });
  }
}

const show = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

export function expect(what, seen, expected) {
  if (JSON.stringify(seen) !== JSON.stringify(expected)) throw new Mismatch(what, expected, seen);
  return seen;
}

const sha256 = (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const pidIn = (file) => Number(fs.readFileSync(file, 'utf8').trim());

export const LINES = 600; // three seconds of 200 a second

/** Shell text that prints numbered lines, 200 a second, and writes the same into a file of its own. */
export const numbered = (lines, file, pidFile) =>
  `echo $$ >> '${pidFile}'; i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i"; ` +
  `[ $((i % 10)) -ne 0 ] || sleep 0.05; done | tee '${file}'`;

/** breaks: what is to go wrong on purpose: 'agent', 'hook' or 'digest'. */
export class Story {
  constructor({ breaks } = {}) {
    this.breaks = breaks;
  }

  async close() {
    await this.s?.stop();
  }

  file(name) {
    return this.s.nest.file(name);
  }

  steps() {
    return [
      ['the server starts on its own Redis', () => this.serverStarts()],
      ['an agent registers with a one-time token', () => this.agentRegisters()],
      ['the token does not work twice', () => this.tokenIsSpent()],
      ['an environment is created', () => this.environmentIsCreated()],
      ['a faulty template is refused with its faults', () => this.faultyTemplate()],
      ['a workflow template is created', () => this.templateIsCreated()],
      ['a run is started', () => this.runStarts()],
      ['it is watched live over WebSocket and server-sent events', () => this.watched()],
      ['both branches run at the same time on the agent', () => this.branchesRun()],
      ['a step whose first attempt exits 1 is retried', () => this.retried()],
      ['the step whose condition is false is skipped', () => this.skipped()],
      ['200 numbered lines a second arrive as they were written', () => this.linesArrive()],
      ['the run is paused: what runs finishes, nothing starts', () => this.paused()],
      ['the run is resumed and succeeds', () => this.resumed()],
      ['both watchers saw every event once', () => this.watchersAgree()],
      ['a client that was away resumes behind what it saw', () => this.resumes()],
      ['a second run is cancelled and its process is gone', () => this.cancelled()],
      ['the audit trail has it all and verifies', () => this.audited()],
    ];
  }

  async serverStarts() {
    this.s = await start({ name: 'story', redis: 'embedded' });
    this.api = this.s.api;
    return `pid=${this.s.server.process.pid} url=${this.s.server.url}`;
  }

  async agentRegisters() {
    this.agent = new Agent(this.s, 'story-agent', { labels: { place: 'story' } });
    this.s.agents.push(this.agent);
    await this.agent.start();
    const document = await this.agent.online();
    expect('the agent is active', document.lifecycleState, 'active');
    if (this.breaks === 'agent') await this.agent.kill();
    return `pid=${this.agent.process.pid} id=${document.id} status=${document.status}`;
  }

  async tokenIsSpent() {
    const answer = await this.api.post('/agents/register', { name: 'second', version: '1', capabilities: [], labels: {} },
      { headers: { authorization: null, 'x-agent-token': this.agent.token } });
    expect('status and code', [answer.status, answer.code], [409, 'AGT_TOKEN_USED']);
    return `status=${answer.status} code=${answer.code}`;
  }

  async environmentIsCreated() {
    const answer = await this.api.post('/environments', { name: 'production', displayName: 'Production', orderIndex: 2 });
    expect('status', answer.status, 201);
    this.environment = answer.data;
    expect('ETag', answer.headers.etag, '"1"');
    return `status=201 id=${answer.data.id} etag=${answer.headers.etag}`;
  }

  async faultyTemplate() {
    const nodes = ['a', 'b'].map((id) => script(id, 'true'));
    const edges = [{ from: 'a', to: 'b' }, { from: 'b', to: 'a' }];
    const answer = await this.api.post('/workflow-templates', { name: 'circle', status: 'active', nodes, edges });
    expect('status and code', [answer.status, answer.code], [422, 'WF_TEMPLATE_INVALID']);
    const codes = answer.error.details.errors.map((e) => e.code);
    if (!codes.includes('WF_CYCLE')) throw new Mismatch('a cycle among the faults', 'WF_CYCLE', codes);
    return `status=422 code=${answer.code} faults=${codes}`;
  }

  async templateIsCreated() {
    this.gates = { right: new Gate(this.s.nest) };
    const [lines, pidLeft, pidRight, tried] = ['lines', 'left.pid', 'right.pid', 'tried'].map((n) => this.file(n));
    const again = this.breaks === 'hook' ? 'exit 1' : 'echo second; exit 0';
    const retry = { maxAttempts: 2, backoff: 'fixed', initialDelaySeconds: 1 };
    const answer = await this.api.post('/workflow-templates', {
      name: 'story', status: 'active',
      inputs: [{ name: 'extra', type: 'boolean', default: false }],
      nodes: [
        script('prepare', 'echo prepared'),
        script('left', numbered(LINES, lines, pidLeft)),
        script('right', `echo $$ >> '${pidRight}'; echo right; ${this.gates.right.shell}; echo released`),
        script('flaky', `if [ ! -e '${tried}' ]; then touch '${tried}'; echo first; exit 1; fi; ${again}`, { retry }),
        script('extra', 'echo never', { condition: '${{ inputs.extra == true }}' }),
        script('finish', 'echo finished'),
        script('cleanup', 'echo cleaned'),
      ],
      edges: [
        { from: 'prepare', to: 'left' }, { from: 'prepare', to: 'right' }, { from: 'prepare', to: 'flaky' },
        { from: 'prepare', to: 'extra' }, { from: 'left', to: 'finish' }, { from: 'right', to: 'finish' },
        { from: 'flaky', to: 'finish' },
      ],
      finally: ['cleanup'],
    });
    expect('status', answer.status, 201);
    this.template = answer.data;
    const plan = await this.api.want(200, 'POST', `/workflow-templates/${this.template.id}/validate`, {});
    expect('valid', plan.valid, true);
    return `status=201 id=${this.template.id} version=${this.template.version} layers=${plan.plan.length}`;
  }

  async runStarts() {
    this.run = await this.api.want(201, 'POST', '/workflow-runs', { templateId: this.template.id, context: { environmentId: this.environment.id } });
    return `status=${this.run.status} id=${this.run.id}`;
  }

  async watched() {
    const { s, run } = this;
    this.ws = new WsStream(s.server, streamOf(run), { token: s.key, query: { since: '0' } });
    this.sse = new SseStream(s.server, streamOf(run), { token: s.key, query: { since: '0' } });
    const first = await Promise.all([this.ws, this.sse].map((w) => w.frame('step_log', (f) => f.nodeId === 'prepare')));
    expect('the first line', first.map((f) => f.line), ['prepared', 'prepared']);
    return `seq=${first[0].seq} over both, epoch=${this.ws.frames[0].epoch}`;
  }

  async branchesRun() {
    const started = await Promise.all(['left', 'right'].map((id) => this.ws.frame('step_started', (f) => f.nodeId === id)));
    await this.ws.frame('step_log', (f) => f.nodeId === 'right');
    await this.ws.frame('step_log', (f) => f.nodeId === 'left');
    const pids = await eventually(() => ['left.pid', 'right.pid'].map((n) => pidIn(this.file(n))), 'both scripts to note their pids');
    expect('both processes are there', pids.map(alive), [true, true]);
    expect('the agent that runs them', started.map((f) => f.agentId), [this.agent.id, this.agent.id]);
    return `pids=${pids} seqs=${started.map((f) => f.seq)}`;
  }

  async retried() {
    const retry = await this.ws.frame('step_retrying', (f) => f.nodeId === 'flaky');
    const done = await this.ws.frame('step_completed', (f) => f.nodeId === 'flaky');
    const step = await this.api.want(200, 'GET', `/workflow-runs/${this.run.id}/steps/flaky`);
    expect('how the attempts ended', step.attempts.map((a) => a.status), ['failed', 'succeeded']);
    expect('exit status of the second attempt', done.outputs?.exitCode, 0);
    return `attempts=${step.attempts.map((a) => a.status)} exit=${done.outputs.exitCode} seqs=${[retry.seq, done.seq]}`;
  }

  async skipped() {
    const event = await this.ws.frame('step_skipped');
    expect('the node', event.nodeId, 'extra');
    return `seq=${event.seq} reason=${event.reason}`;
  }

  async linesArrive() {
    const done = await this.ws.frame('step_completed', (f) => f.nodeId === 'left');
    const written = fs.readFileSync(this.file('lines'), 'utf8') + (this.breaks === 'digest' ? 'a line that nobody sent\n' : '');
    const logs = this.ws.events.filter((e) => e.type === 'step_log' && e.nodeId === 'left');
    expect('the digest of the log', sha256(logs.map((e) => `${e.line}\n`).join('')), sha256(written));
    expect('the number of lines', logs.length, LINES);
    return `lines=${logs.length} in ${done.duration} s, ${sha256(written).slice(0, 23)}…`;
  }

  async paused() {
    const { api, run } = this;
    const paused = await api.want(200, 'POST', `/workflow-runs/${run.id}/pause`, { reason: 'the story says so' });
    expect('status', paused.status, 'paused');
    const event = await this.ws.frame('workflow_paused');
    this.gates.right.open();
    await this.ws.frame('step_completed', (f) => f.nodeId === 'right');
    const finish = await api.want(200, 'GET', `/workflow-runs/${run.id}/steps/finish`);
    expect('the next step', finish.status, 'pending');
    return `seq=${event.seq} status=${paused.status} next=${finish.status}`;
  }

  async resumed() {
    const resumed = await this.api.want(200, 'POST', `/workflow-runs/${this.run.id}/resume`, {});
    if (resumed.status === 'paused') throw new Mismatch('status', 'not paused', resumed.status);
    const done = await this.ws.frame('workflow_completed');
    expect('status', done.status, 'succeeded');
    const run = await this.api.want(200, 'GET', `/workflow-runs/${this.run.id}`);
    expect('status and progress of the document', [run.status, run.progress], ['succeeded', 100]);
    return `seq=${done.seq} status=${done.status} after ${done.duration} s`;
  }

  async watchersAgree() {
    expect('how the WebSocket closed', (await this.ws.ended()).code, 1000);
    await this.sse.ended();
    const numbers = this.ws.events.map((e) => e.seq);
    expect('the numbers', numbers, numbers.map((_, i) => i + 1));
    expect('what came over server-sent events', sha256(JSON.stringify(this.sse.events)), sha256(JSON.stringify(this.ws.events)));
    return `events=${numbers.length} close=1000`;
  }

  async resumes() {
    const since = Math.floor(this.ws.events.length / 2);
    const late = new WsStream(this.s.server, streamOf(this.run), { token: this.s.key, query: { since: String(since) } });
    await late.ended();
    expect('the events', late.events.map((e) => e.seq), this.ws.events.slice(since).map((e) => e.seq));
    return `since=${since} first=${late.events[0].seq} last=${late.events.at(-1).seq}`;
  }

  async cancelled() {
    const pidFile = this.file('hold.pid');
    const template = await this.api.want(201, 'POST', '/workflow-templates', {
      name: 'hold', status: 'active', nodes: [script('hold', `echo $$ >> '${pidFile}'; echo holding; exec sleep 3600`)],
    });
    const run = await this.api.want(201, 'POST', '/workflow-runs', { templateId: template.id });
    const stream = new WsStream(this.s.server, streamOf(run), { token: this.s.key, query: { since: '0' } });
    await stream.frame('step_log');
    const pid = pidIn(pidFile);
    expect('the process is there', alive(pid), true);
    await this.api.want(200, 'POST', `/workflow-runs/${run.id}/cancel`, { reason: 'the story says so' });
    const done = await stream.frame('workflow_completed');
    expect('status', done.status, 'cancelled');
    await eventually(() => !alive(pid), `process ${pid} to be gone`);
    return `pid=${pid} seq=${done.seq} status=${done.status}`;
  }

  async audited() {
    const list = await this.api.get('/audit-events', { query: { pageSize: '100' } });
    expect('status', list.status, 200);
    const actions = new Set(list.data.map((e) => e.action));
    const verified = await this.api.want(200, 'GET', '/audit-events/verify');
    expect('the chain', verified.valid, true);
    return `entries=${list.body.meta.pagination.totalItems} kinds=${actions.size}`;
  }
}
