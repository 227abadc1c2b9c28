// Waiting for what happens, never for time to pass. A wait that fails says what it waited for, what it saw last, and
// shows the end of the log of every process the test started.
import { setTimeout as pause } from 'node:timers/promises';

/** Wall-clock allowance of one wait. Generous: it is reached only when something is broken. */
export const PATIENCE = Number(process.env.SLIPWAY_TEST_PATIENCE ?? 30_000);

const logs = new Map(); // name of a process -> function that answers the tail of its log

export function watchLog(name, tail) {
  logs.set(name, tail);
  return () => logs.delete(name);
}

export function logTails() {
  return [...logs].map(([name, tail]) => `--- ${name} ---\n${tail()}`).join('\n');
}

export class Unmet extends Error {
  constructor(what, last) {
    super(`waited in vain for ${what}${last === undefined ? '' : `; last seen: ${last}`}\n${logTails()}`);
    this.name = 'Unmet';
  }
}

function show(value) {
  if (value instanceof Error) return value.message;
  if (typeof value === 'string') return value;
  return JSON.stringify(value)?.slice(0, 2000);
}

/**
 * Calls `condition` until it answers something true, and answers that. A throw counts as "not yet".
 * [false, whatWasSeen] is a no that says what was there. An error of the class `stopOn` ends the wait.
 */
export async function eventually(condition, what, { patience = PATIENCE, every = 20, stopOn } = {}) {
  const deadline = Date.now() + patience;
  let last;
  for (;;) {
    try {
      const got = await condition();
      if (Array.isArray(got) && got.length === 2 && typeof got[0] === 'boolean') {
        if (got[0]) return got[1];
        last = got[1];
      } else if (got) {
        return got;
      } else {
        last = got;
      }
    } catch (error) {
      if (stopOn && error instanceof stopOn) throw error;
      last = error;
    }
    if (Date.now() >= deadline) throw new Unmet(what, show(last));
    await pause(every);
  }
}

/** Awaits a promise, but not for ever. */
export async function within(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Unmet(what)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
