// What happened, in the order it happened: every request with its answer, every frame of every stream, every fault. What
// is promised is read from this list alone.
import fs from 'node:fs';

const clock = () => performance.now();

/** Splitmix-like: the same numbers for the same seed, on every machine. */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const percentile = (numbers, p) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] : NaN;
};

export class History {
  constructor() {
    this.records = [];
    this.began = clock();
    this.date = Date.now();
  }

  /** The time of day. */
  wall(at) {
    return this.date + at;
  }

  /** ms since the beginning. */
  get now() {
    return clock() - this.began;
  }

  note(kind, record) {
    this.records.push({ kind, at: this.now, ...record });
  }

  /** A promise that was broken, whatever else goes on. */
  breach(promise, who, text) {
    this.note('breach', { promise, who, text: String(text).slice(0, 2000) });
  }

  of(kind, from = 0, to = Infinity) {
    return this.records.filter((r) => r.kind === kind && r.at >= from && r.at <= to);
  }

  /** Forgets what is older: a long run keeps what it still reads. */
  forget(before) {
    this.records = this.records.filter((r) => r.at >= before || r.kind === 'breach');
  }

  write(file) {
    fs.writeFileSync(file, this.records.map((r) => `${JSON.stringify(r)}\n`).join(''));
  }
}
