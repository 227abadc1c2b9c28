// The one table that comes out.
const mib = (bytes) => (bytes >= 1e6 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : Math.round(bytes).toLocaleString('en'));
const fixed = (n, digits) => (n === undefined || Number.isNaN(n) ? '' : n.toFixed(n >= 100 ? 0 : digits));

const columns = [
  ['work', -36, (r) => r.work],
  ['server', -24, (r) => r.server],
  ['per second', 12, (r) => r.perSecond && Math.round(r.perSecond).toLocaleString('en')],
  ['p50 ms', 8, (r) => fixed(r.p50, 2)],
  ['p99 ms', 8, (r) => fixed(r.p99, 2)],
  ['server µs', 11, (r) => fixed(r.own, 2)],
  ['Redis µs', 10, (r) => fixed(r.redis, 2)],
  ['bytes', 10, (r) => r.bytes && mib(r.bytes)],
  ['aim', 9, (r) => r.aim && (r.bytes ? mib(r.aim) : fixed(r.aim, 2))],
  ['', -16, (r) => r.verdict],
];

const line = (cells) => cells.map((cell, i) => {
  const width = columns[i][1], text = String(cell ?? '');
  return width < 0 ? text.padEnd(-width) : text.padStart(width);
}).join(' ').trimEnd();

export const heading = () => line(columns.map(([title]) => title));
export const row = (r) => line(columns.map(([, , cell]) => cell(r)));

/** Adds aim and verdict to Slipway's line: `aim` is a part of the peer's cost, `most` a bound in itself. */
export function judge(ours, peer, { aim, most }) {
  const cost = ours.bytes ?? ours.own, theirs = peer && (peer.bytes ?? peer.own);
  if (cost === undefined || (most === undefined && (aim === undefined || theirs === undefined))) return;
  ours.aim = most ?? theirs * aim;
  const ratio = cost / ours.aim;
  ours.verdict = `${ratio <= 1 ? 'met' : 'missed'} (${ratio.toFixed(2)})`;
}
