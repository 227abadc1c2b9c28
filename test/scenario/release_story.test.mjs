// The story of a release, step by step.
import { after, describe, test } from 'node:test';
import { ReleaseStory } from '../lib/release_story.mjs';

describe('the story of a release', () => {
  const story = new ReleaseStory();
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
