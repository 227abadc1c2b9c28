// Certificates for tests, made by the openssl command: P-256, signed by themselves, for 127.0.0.1 and localhost.
import fs from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { run } from './process.mjs';

/** Writes <nest>/<name>.crt and .key; answers {cert, key (paths), pem, fingerprint}. */
export async function makeCertificate(nest, name, { days = 30 } = {}) {
  const [cert, key] = ['crt', 'key'].map((end) => nest.file(`${name}.${end}`));
  const made = await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-keyout', key, '-out', cert, '-days', String(days), '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']);
  if (made.code !== 0) throw new Error(`openssl: ${made.stderr}`);
  fs.chmodSync(key, 0o600);
  const pem = fs.readFileSync(cert, 'utf8');
  return { cert, key, pem, fingerprint: new X509Certificate(pem).fingerprint256 };
}
