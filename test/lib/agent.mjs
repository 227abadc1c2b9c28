// An agent played by a test: registers, keeps a task stream, says what it is told to say.
import { WsStream } from './stream.mjs';
import { unique } from './run.mjs';

export async function registrationToken(api, body = {}) {
  return (await api.want(201, 'POST', '/admin/agent-tokens', body)).token;
}

export function register(client, token, body = {}) {
  return client.post('/agents/register', { name: unique('fake'), version: '1.0.0', capabilities: ['script'], ...body },
    { headers: { 'x-agent-token': token } });
}

/** One that is registered; `.stream` once connected. */
export class FakeAgent {
  constructor(system, { server = system.server, api = system.api } = {}) {
    Object.assign(this, { system, server, api });
    this.serial = 0;
  }

  async register(body = {}) {
    const answer = await register(this.server.client(), await registrationToken(this.api), body);
    if (answer.status !== 201) throw new Error(`registration: ${answer.status} ${answer.text}`);
    Object.assign(this, { id: answer.data.agentId, token: answer.data.token, refresh: answer.data.refreshToken, config: answer.data.config });
    this.client = this.server.client(this.token);
    return this;
  }

  heartbeat(body = {}) {
    return this.client.post(`/agents/${this.id}/heartbeat`, body);
  }

  open({ server = this.server, token = this.token, ...options } = {}) {
    return new WsStream(server, `/agents/${this.id}/task-stream`, { token, ...options });
  }

  async connect(options) {
    this.stream = this.open(options);
    await this.stream.frame('synced');
    return this;
  }

  /** Says something; answers the id that its ack will repeat. */
  say(type, message = {}) {
    const id = message.id ?? `m${++this.serial}`;
    this.stream.send({ type, id, ...message });
    return id;
  }

  /** Says it and waits for the ack (or the nack, which is answered). */
  async tell(type, message = {}) {
    const ref = this.say(type, message);
    return this.stream.until((s) => s.frames.find((f) => ['ack', 'nack'].includes(f.type) && f.ref === ref), `an answer to ${type} ${ref}`);
  }

  lines(taskId, seq, texts, more = {}) {
    const timestamp = new Date().toISOString();
    return this.tell('task_log', { taskId, seq, lines: texts.map((line) => ({ timestamp, level: 'info', stream: 'stdout', line })), ...more });
  }

  completed(taskId, more = {}) {
    const now = new Date().toISOString();
    return this.tell('task_completed', { taskId, success: true, startedAt: now, completedAt: now, lines: 0, outputs: { exitCode: 0, stdoutTail: '' }, ...more });
  }

  /** The task of a node of a run, once it was assigned. */
  async assigned(r, nodeId, { attempt = 1, nth = 0 } = {}) {
    const id = `${r.id}:${nodeId}:${attempt}`;
    const frame = await this.stream.until((s) => s.frames.filter((f) => f.type === 'task_assigned' && f.task.id === id)[nth],
      `task ${id} to be assigned`);
    return frame.task;
  }
}
