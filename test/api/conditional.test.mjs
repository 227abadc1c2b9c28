// Revisions as entity tags: If-Match, If-None-Match, and what they protect from.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from '../lib/slipway.mjs';

let s, env;

before(async () => {
  s = await start({ name: 'conditional', workers: 1 });
  env = await s.api.want(201, 'POST', '/environments', { name: 'tagged', orderIndex: 1 });
});
after(() => s?.stop());

test('a document carries its revision as a tag', async () => {
  const read = await s.api.get(`/environments/${env.id}`);
  assert.equal(read.headers.etag, `"${read.data.revision}"`);
});

test('If-None-Match answers 304 without a body while nothing changed', async () => {
  const tag = (await s.api.get(`/environments/${env.id}`)).headers.etag;
  for (const given of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
    const answer = await s.api.get(`/environments/${env.id}`, { headers: { 'if-none-match': given } });
    assert.equal(answer.status, 304, given);
    assert.equal(answer.text, '');
    assert.equal(answer.headers.etag, tag);
  }
  for (const given of ['"0"', tag.slice(1, -1), '"x"'])
    assert.equal((await s.api.get(`/environments/${env.id}`, { headers: { 'if-none-match': given } })).status, 200, given);
});

test('a change with a stale If-Match is refused and changes nothing', async () => {
  const before = await s.api.get(`/environments/${env.id}`);
  const stale = `"${before.data.revision - 1}"`;
  for (const [method, sent] of [['PUT', { displayName: 'lost' }], ['PATCH', { displayName: 'lost' }], ['DELETE', undefined]])
    for (const given of [stale, `W/${before.headers.etag}`]) {
      const answer = await s.api.request(method, `/environments/${env.id}`, sent, { headers: { 'if-match': given } });
      assert.equal(answer.status, 409, `${method} ${given}: ${answer.text}`);
      assert.equal(answer.code, 'RES_VERSION_CONFLICT');
    }
  assert.deepEqual((await s.api.get(`/environments/${env.id}`)).data, before.data);
});

test('a change with the present tag, or any, goes through and moves it', async () => {
  let tag = (await s.api.get(`/environments/${env.id}`)).headers.etag;
  for (const given of [() => tag, () => '*', () => `"0", ${tag}`]) {
    const answer = await s.api.put(`/environments/${env.id}`, { displayName: `at ${tag}` }, { headers: { 'if-match': given() } });
    assert.equal(answer.status, 200, answer.text);
    assert.notEqual(answer.headers.etag, tag);
    tag = answer.headers.etag;
  }
});

test('of many changes that saw the same revision one wins', async () => {
  const tag = (await s.api.get(`/environments/${env.id}`)).headers.etag;
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) =>
    s.api.put(`/environments/${env.id}`, { displayName: `racer ${i}` }, { headers: { 'if-match': tag } })));
  assert.equal(answers.filter((a) => a.status === 200).length, 1);
  for (const a of answers) assert.ok(a.status === 200 || a.code === 'RES_VERSION_CONFLICT', a.text);
  const winner = answers.find((a) => a.status === 200);
  assert.equal((await s.api.get(`/environments/${env.id}`)).data.displayName, winner.data.displayName);
});
