// `make run`: what it prints works when it is pasted, and a second start goes on with the same data.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { OpenApi } from '../lib/contract.mjs';
import { Client } from '../lib/http.mjs';
import { Nest, ROOT, run } from '../lib/process.mjs';
import { eventually } from '../lib/wait.mjs';

const BUILDS = 120_000; // it looks whether anything is to be built, beside everything else that runs

let nest;
before(() => {
  nest = new Nest('run');
});
after(() => nest?.remove());

/** Starts it as `make run` does and answers what it printed once it was up. */
async function up(name) {
  const clean = { MAKEFLAGS: undefined, MAKELEVEL: undefined, MFLAGS: undefined, BUILD: undefined };
  const program = nest.start(name, path.join(ROOT, 'scripts/run'), [], {
    cwd: ROOT, env: { ...clean, LISTEN: '127.0.0.1:0', DATA: nest.file('data') },
  });
  const text = await eventually(() => {
    if (program.exited) throw new Error(`it ended: ${program.tail()}`);
    return /\nLogs: .*\n$/.test(program.text()) && program.text();
  }, 'everything to be up', { patience: BUILDS });
  const example = /\nTry it:\n([^]*)\nLogs: /.exec(text)[1];
  const [, url] = /^Slipway runs at (\S+) /m.exec(text);
  return { program, text, example, url };
}

const documents = new Map();
const openapi = (url) => {
  if (!documents.has(url)) documents.set(url, fetch(`${url}/openapi.json`).then(async (answer) => new OpenApi(await answer.json())));
  return documents.get(url);
};
const keyIn = (text) => /^ {4}(slp_\w+)$/m.exec(text)?.[1];

test('it prints the key once and an example that runs; the next start has the same data', async () => {
  const first = await up('first');
  const key = keyIn(first.text);
  assert.ok(key, first.text);
  const pasted = await run('bash', ['-euc', first.example], { cwd: nest.dir });
  assert.equal(pasted.code, 0, pasted.stderr);
  const answers = pasted.stdout.match(/\{"success":.*?\}(?=\{"success":|\s*$)/gs).map((text) => JSON.parse(text));
  const started = answers.at(-1);
  assert.equal(started.success, true, pasted.stdout);
  const get = async (url, at) => {
    const { hostname: host, port } = new URL(url);
    const client = new Client({ host, port, openapi: () => openapi(url) }, key);
    try {
      return await client.get(at);
    } finally {
      client.close();
    }
  };
  const reached = await eventually(async () => {
    const { body } = await get(first.url, `/workflow-runs/${started.data.id}`);
    return [['succeeded', 'failed', 'cancelled'].includes(body.data.status), body.data.status === 'running' ? 'running' : body.data];
  }, 'the run to end');
  assert.equal(reached.status, 'succeeded');
  assert.deepEqual(await first.program.stop(), { code: 0, signal: null });

  const second = await up('second');
  assert.equal(keyIn(second.text), undefined, 'the key is not shown again');
  assert.equal((await get(second.url, `/workflow-runs/${started.data.id}`)).body.data.status, 'succeeded');
  const agents = await get(second.url, '/agents');
  assert.deepEqual(agents.body.data.map((agent) => agent.name), ['local']);
  assert.deepEqual(await second.program.stop(), { code: 0, signal: null });
});
