// The narrow story step by step, and the proof that a demo that fails says where.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ROOT, run } from '../lib/process.mjs';
import { Story } from '../lib/story.mjs';

describe('the story', () => {
  const story = new Story();
  after(() => story.close());
  let broken;
  for (const [name, step] of story.steps()) {
    test(name, async (t) => {
      if (broken) return t.skip(`after "${broken}" failed`);
      try {
        t.diagnostic(await step());
      } catch (error) {
        broken = name;
        throw error;
      }
    });
  }
});

describe('a demo in which something is broken', { concurrency: false }, () => {
  const rows = [
    ['agent', 'it is watched live over WebSocket and server-sent events', /waited in vain for a frame of type step_log/],
    ['hook', 'a step whose first attempt exits 1 is retried', /expected +\["failed","succeeded"\]\s+seen +\["failed","failed"\]/],
    ['digest', '200 numbered lines a second arrive as they were written', /expected +sha256:[0-9a-f]{64}\s+seen +sha256:[0-9a-f]{64}/],
  ];
  for (const [breaks, step, says] of rows) {
    test(`the ${breaks}: the step is named, with what was seen and what was expected`, async () => {
      const { code, stdout, stderr } = await run(process.execPath, ['scripts/demo.mjs', '--break', breaks], {
        cwd: ROOT,
        env: { SLIPWAY_TEST_PATIENCE: breaks === 'agent' ? '15000' : '30000' },
      });
      assert.equal(code, 1, stdout + stderr);
      assert.match(stdout, new RegExp(`FAILED +\\d+ +${step}`));
      assert.match(stdout, says);
      assert.match(stdout, new RegExp(`demo: failed at "${step}"`));
    });
  }
});
