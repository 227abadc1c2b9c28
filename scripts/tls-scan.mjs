// Debian's testssl.sh against the TLS listener of a running server. Fails on any finding above LOW but the missing TLS 1.3
// (Debian 12's mbedTLS has none). A root of its own signs the certificate: what is looked at is the server.
//
//     make tls-scan        about two minutes
import fs from 'node:fs';
import { Nest, run } from '../test/lib/process.mjs';
import { start } from '../test/lib/slipway.mjs';

const PATIENCE = 15 * 60_000;
const HARMLESS = new Set(['DEBUG', 'INFO', 'OK', 'LOW', 'WARN']); // WARN: of the scanner's own equipment
const EXPECTED = new Set(['TLS1_3']);

const openssl = async (...args) => {
  const made = await run('openssl', args);
  if (made.code !== 0) throw new Error(`openssl ${args[0]}: ${made.stderr}`);
};

async function makeChain(nest) {
  const [root, rootKey, request, key, cert, names] = ['root.crt', 'root.key', 'leaf.csr', 'leaf.key', 'leaf.crt', 'names'].map((name) => nest.file(name));
  const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...p256, '-keyout', rootKey, '-out', root, '-days', '365', '-subj', '/CN=scan root');
  await openssl('req', ...p256, '-keyout', key, '-out', request, '-subj', '/CN=localhost');
  fs.writeFileSync(names, ['subjectAltName=DNS:localhost,IP:127.0.0.1', 'keyUsage=digitalSignature', 'extendedKeyUsage=serverAuth',
    'crlDistributionPoints=URI:http://localhost/scan.crl'].join('\n'));
  await openssl('x509', '-req', '-in', request, '-CA', root, '-CAkey', rootKey, '-out', cert, '-days', '300', '-extfile', names, '-CAcreateserial');
  return { root, key, cert };
}

const files = new Nest('tls-scan');
const { root, key, cert } = await makeChain(files);
const s = await start({ name: 'tls-scan', workers: 2, args: ['--tls-listen', '127.0.0.1:0', '--tls-cert', cert, '--tls-key', key] });
try {
  const address = fs.readFileSync(`${s.server.data}/listen.tls`, 'utf8').trim();
  const report = files.file('report.json');
  console.log(`testssl on https://localhost:${address.split(':').at(-1)}/`);
  const scan = await run('testssl', ['--quiet', '--color', '0', '--warnings', 'batch', '--ip', '127.0.0.1', '--add-ca', root,
    '--openssl-timeout', '10', '--connect-timeout', '10', '--jsonfile', report, `localhost:${address.split(':').at(-1)}/livez`], { patience: PATIENCE });
  const findings = fs.existsSync(report) ? JSON.parse(fs.readFileSync(report, 'utf8')) : [];
  if (findings.length < 100) throw new Error(`the scan ended early (${scan.code}):\n${(scan.stdout + scan.stderr).slice(-4000)}`);
  const bad = findings.filter((f) => !HARMLESS.has(f.severity) && !EXPECTED.has(f.id));
  for (const f of findings.filter((one) => one.severity === 'LOW' || bad.includes(one)))
    console.log(`${f.severity.padEnd(9)}${f.id.padEnd(32)}${f.finding}`);
  console.log(`${findings.length} checks, ${bad.length} findings above LOW`);
  process.exitCode = bad.length > 0 ? 1 : 0;
} finally {
  await s.stop();
  await files.remove();
}
