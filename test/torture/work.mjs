// An agent that does what it is told whatever happens to its stream: it opens it again, and says again what is not acked.
import { eventually } from '../lib/wait.mjs';

const AGAIN_MS = 50; // an agent's patience with a server that could not store what it said

export class Work {
  constructor(agent, server) {
    Object.assign(this, { agent, server, over: false });
    this.going = this.go();
  }

  async go() {
    while (!this.over) {
      const stream = (this.stream = this.agent.open({ server: this.server }));
      const told = new Set(), said = new Map();
      let n = 0, read = 0;
      const say = (task, type, more = {}) => {
        const message = { type, id: `${task.id}:${++n}`, taskId: task.id, ...more };
        said.set(message.id, message);
        stream.send(message);
      };
      const again = (message) => setTimeout(() => !stream.closed && stream.send(message), AGAIN_MS);
      const look = () => {
        for (; read < stream.frames.length; read++) {
          const frame = stream.frames[read];
          if (frame.type === 'nack') again(said.get(frame.ref));
          if (frame.type !== 'task_assigned' || told.has(frame.task.id)) continue;
          const { task } = frame, timestamp = new Date().toISOString();
          told.add(task.id);
          say(task, 'task_accepted');
          say(task, 'task_started', { startedAt: timestamp, pid: 4711 });
          say(task, 'task_log', { seq: 1, lines: [{ timestamp, level: 'info', stream: 'stdout', line: 'one' }] });
          say(task, 'task_completed', {
            success: true, startedAt: timestamp, completedAt: timestamp, lines: 1, outputs: { exitCode: 0, stdoutTail: '' },
          });
        }
        return stream.closed || this.over;
      };
      await eventually(() => look(), 'the task stream to end', { patience: 120_000 });
      stream.close();
    }
  }

  async end() {
    this.over = true;
    await this.going;
  }
}
