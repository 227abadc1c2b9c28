// The files in deploy/ against the program they are for: units, manifests and alerts name what is really there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import YAML from 'yaml';
import { listen } from '../lib/notify.mjs';
import { Nest, ROOT, SLIPWAY, run } from '../lib/process.mjs';
import { start } from '../lib/slipway.mjs';
import { eventually } from '../lib/wait.mjs';
import { Wire } from '../lib/wire.mjs';

const file = (name) => fs.readFileSync(path.join(ROOT, 'deploy', name), 'utf8');

describe('deploy/', () => {
  let s;
  let ear;
  before(async () => {
    const nest = new Nest('ear');
    ear = Object.assign(await listen(nest.file('notify')), { nest });
    s = await start({ name: 'deploy', env: { NOTIFY_SOCKET: nest.file('notify'), WATCHDOG_USEC: '90000' } });
  });
  after(async () => {
    await s?.stop();
    ear?.close();
    await ear?.nest.remove();
  });

  test('systemd accepts the units', async () => {
    const nest = new Nest('units');
    try {
      for (const name of ['slipway.service', 'slipway-agent.service']) {
        const unit = file(name);
        assert.match(unit, /^ExecStart=\/usr\/local\/bin\/slipway /m, name);
        fs.writeFileSync(nest.file(name), unit.replace('/usr/local/bin/slipway', SLIPWAY));
        const verdict = spawnSync('systemd-analyze', ['verify', '--man=no', nest.file(name)], { encoding: 'utf8' });
        assert.equal(verdict.stderr + verdict.stdout, '', name);
        assert.equal(verdict.status, 0);
      }
      assert.match(file('slipway.service'), /^Type=notify$/m);
      assert.match(file('slipway.service'), /^WatchdogSec=\d+$/m);
    } finally {
      await nest.remove();
    }
  });

  test('the unit takes from the server what it does not need', () => {
    const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', path.join(ROOT, 'deploy/slipway.service')], { encoding: 'utf8' });
    const exposure = Number(/exposure level for slipway.service: ([\d.]+)/.exec(stdout)?.[1]);
    assert.ok(exposure <= 2, `exposure ${exposure}`);
  });

  test('the service manager hears when the server is ready, and that its workers go round', async () => {
    await eventually(() => ear.heard.filter((state) => state === 'WATCHDOG=1').length >= 3, 'three beats');
    assert.equal(ear.heard.filter((state) => state === 'READY=1').length, 1);
    assert.ok(!ear.heard.includes('STOPPING=1'));
  });

  test('every figure that an alert looks at is there', async () => {
    const wire = await Wire.open(s.server);
    const { text } = await wire.send('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n').answer();
    const there = new Set([...text.matchAll(/^(slipway_\w+)/gm)].map((m) => m[1]));
    wire.close();
    const rules = YAML.parse(file('alerts.yml')).groups.flatMap((group) => group.rules);
    assert.ok(rules.length >= 8);
    for (const rule of rules) {
      for (const [name] of rule.expr.matchAll(/slipway_\w+/g)) assert.ok(there.has(name), `${rule.alert}: ${name}`);
      assert.ok(rule.labels.severity && rule.annotations.summary && rule.annotations.action, rule.alert);
    }
  });

  test('the manifests probe what answers, and give the drain its time', async () => {
    const [deployment, service] = YAML.parseAllDocuments(file('kubernetes.yaml')).map((d) => d.toJS());
    const pod = deployment.spec.template.spec;
    const [container] = pod.containers;
    const wire = await Wire.open(s.server);
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
      const { path: at, port } = container[probe].httpGet;
      const answer = await wire.send(`GET ${at} HTTP/1.1\r\nHost: x\r\n\r\n`).answer();
      assert.equal(answer.status, 200, at);
      assert.equal(container.ports.find((p) => p.name === port)?.containerPort, 8080);
    }
    wire.close();
    assert.deepEqual(service.spec.selector, deployment.spec.template.metadata.labels);
    const { stdout, code } = await run(SLIPWAY, ['config', ...container.args.slice(1)]);
    assert.equal(code, 0, 'the server takes these arguments');
    const seconds = (name) => Number(new RegExp(`^${name}\\s+(\\d+)s\\s`, 'm').exec(stdout)[1]);
    assert.ok(pod.terminationGracePeriodSeconds > seconds('drain-wait') + seconds('drain-timeout'));
  });

  test('the service manager hears when the server goes', async () => {
    s.server.process.signal('SIGTERM');
    await eventually(() => ear.heard.includes('STOPPING=1'), 'STOPPING=1');
  });
});
