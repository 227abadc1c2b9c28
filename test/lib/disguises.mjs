// Looking for secrets in what is kept and shown, in every form they may have got.
import fs from 'node:fs';
import path from 'node:path';

/** Where text is that begins with `shift` bytes of something else: the characters that are the secret's alone. */
function base64At(shift, bytes) {
  const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
  return text.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + bytes.length) * 8) / 6));
}

/** A secret as it is, in hex, in base64 and base64url at each of the three places it may start at, and URL-encoded. */
export function disguises(secret) {
  const bytes = Buffer.from(secret);
  const base64 = [0, 1, 2].map((shift) => base64At(shift, bytes));
  const all = [...bytes].map((b) => `%${b.toString(16).padStart(2, '0')}`).join('');
  const encoded = encodeURIComponent(secret);
  return [...new Set([
    bytes.toString('latin1'), bytes.toString('hex'), bytes.toString('hex').toUpperCase(), ...base64, ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
    encoded, encoded.replaceAll(/%[0-9A-F]{2}/g, (x) => x.toLowerCase()), encoded.replaceAll('%20', '+'), all, all.toUpperCase(), Buffer.from(JSON.stringify(secret).slice(1, -1)).toString('latin1'),
  ])];
}

/** Every file below a folder. */
export function files(folder) {
  return fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((f) => f.isFile())
    .map((f) => path.join(f.parentPath ?? f.path, f.name));
}

/** [key, its value as the commands of its type show it] of everything in a Redis. */
export async function everything(redis) {
  const read = {
    string: (k) => ['GET', k], hash: (k) => ['HGETALL', k], list: (k) => ['LRANGE', k, 0, -1],
    zset: (k) => ['ZRANGE', k, 0, -1], set: (k) => ['SMEMBERS', k], stream: (k) => ['XRANGE', k, '-', '+'],
  };
  const found = [];
  for (const key of await redis.keys('*')) {
    const type = await redis.command('TYPE', key);
    if (type !== 'none') found.push([key, key + JSON.stringify(await redis.command(...read[type](key)))]);
  }
  return found;
}

/** The arguments of every process that is seen while it watches. */
export class Arguments {
  constructor(every = 5) {
    this.seen = new Set();
    this.timer = setInterval(() => this.look(), every);
    this.timer.unref();
  }

  look() {
    for (const name of fs.readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      try {
        this.seen.add(fs.readFileSync(`/proc/${name}/cmdline`, 'latin1'));
      } catch {
        // it is gone
      }
    }
  }

  /** All of them, and no more from now on. */
  stop() {
    this.look();
    clearInterval(this.timer);
    return [...this.seen].join('\n');
  }
}
