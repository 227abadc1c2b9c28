// An agent that does what it is told whatever happens to its stream: it opens it again, and says again what is not acked.
import { eventually } from '../lib/wait.mjs';

export class Work {
  constructor(agent, server) {
    Object.assign(this, { agent, server, over: false, done: new Set() });
    this.going = this.go();
  }

  async go() {
    while (!this.over) {
      const stream = (this.stream = this.agent.open({ server: this.server }));
      const told = new Set();
      let n = 0;
      const say = (task, type, more = {}) => stream.send({ type, id: `${task.id}:${++n}`, taskId: task.id, ...more });
      const look = () => {
        for (const frame of stream.frames) {
          const tasks = frame.type === 'task_assigned' ? [frame.task] : frame.type === 'snapshot' ? (frame.data?.tasks ?? frame.tasks ?? []) : [];
          for (const task of tasks) {
            if (told.has(task.id)) continue;
            told.add(task.id);
            const timestamp = new Date().toISOString();
            say(task, 'task_accepted');
            say(task, 'task_started', { startedAt: timestamp, pid: 4711 });
            say(task, 'task_log', { seq: 1, lines: [{ timestamp, level: 'info', stream: 'stdout', line: 'one' }] });
            say(task, 'task_completed', {
              success: true, startedAt: timestamp, completedAt: timestamp, lines: 1, outputs: { exitCode: 0, stdoutTail: '' },
            });
          }
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
