// The program under torture: a torture build of slipway whose calls can be made to fail, and what is found out about it.
import fs from 'node:fs';
import readline from 'node:readline';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { BUILD, ROOT } from '../lib/process.mjs';
import { Server } from '../lib/slipway.mjs';
import { within } from '../lib/wait.mjs';

export const PROGRAM = path.join(BUILD, 'torture');
export const KINDS = { alloc: 'alloc', op: 'descriptor,connect,read,write,file,start' };
const PATIENCE = 20_000;

const SANITIZERS = {
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1:handle_abort=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  LSAN_OPTIONS: `suppressions=${ROOT}/test/torture/leaks.txt:print_suppressions=0`,
};

/** The line of commands and answers (test/torture/control.c). */
class Control {
  constructor(socket) {
    this.socket = socket;
    this.asked = [];
    this.gone = false;
    // readline says its input's errors again: a socket that is cut off with the program is an end like another.
    readline.createInterface({ input: socket }).on('line', (line) => this.hear(line)).on('error', () => {});
    socket.on('error', () => {});
    this.end = new Promise((resolve) => socket.on('close', resolve));
    socket.on('close', () => {
      this.gone = true;
      for (const { reject } of this.asked.splice(0)) reject(new Error('the program is gone'));
    });
  }

  hear(line) {
    const said = JSON.parse(line);
    if (said.failed) this.failed = said.failed;
    else if (said.last) this.last = said.last;
    else this.asked.shift()?.resolve(said);
  }

  ask(line) {
    if (this.gone) return Promise.reject(new Error('the program is gone'));
    const answer = new Promise((resolve, reject) => this.asked.push({ resolve, reject }));
    this.socket.write(`${line}\n`);
    return within(answer, `the program to obey "${line}"`, PATIENCE);
  }
}

/** Runs `args` of the program in a nest; {process, control}. `arm` is obeyed before main(). */
export function launch(nest, name, args, { env = {}, arm } = {}) {
  const process = nest.start(name, PROGRAM, args, {
    env: { ...SANITIZERS, ...env, TORTURE_FD: '3', ...(arm && { TORTURE_ARM: arm }) }, control: true,
  });
  return { process, control: new Control(process.child.stdio[3]) };
}

/** An instance of the server whose calls can fail. */
export class Target extends Server {
  launch(args, options) {
    const { process, control } = launch(this.system.nest, this.name, args, { ...options, arm: this.first });
    this.control = control;
    return process;
  }

  async arm(kind, n, times) {
    this.control.failed = undefined;
    await this.control.ask(`arm ${KINDS[kind] ?? kind} ${n} ${times}`);
  }

  async record(kind) {
    await this.control.ask(`record ${KINDS[kind] ?? kind}`);
  }

  disarm() {
    return this.control.ask('stop');
  }

  async sites() {
    return (await this.control.ask('sites')).sites;
  }

  async leaks() {
    return (await this.control.ask('leaks')).leaks;
  }
}

/** What a sanitizer said in a log, or undefined. */
export function report(log) {
  let text;
  try {
    text = fs.readFileSync(log, 'utf8');
  } catch {
    return undefined;
  }
  const at = text.search(/==\d+==ERROR: |runtime error: |must\(.*\) failed/);
  return at < 0 ? undefined : text.slice(at).split('\n').slice(0, 60).join('\n');
}

/** Names the offsets of a stack in the program, the innermost first; what belongs to the hooks is left out. */
export function symbols(stack) {
  const offsets = stack.filter((frame) => frame.startsWith('+'));
  const names = new Map();
  if (offsets.length) {
    // A return address is behind the call.
    const asked = offsets.map((frame) => `0x${(parseInt(frame.slice(1), 16) - 1).toString(16)}`);
    const lines = execFileSync('addr2line', ['-s', '-f', '-e', PROGRAM, ...asked], { encoding: 'utf8' }).trimEnd().split('\n');
    offsets.forEach((frame, i) => names.set(frame, `${lines[2 * i]} (${lines[2 * i + 1].replace(/ \(.*/, '')})`));
  }
  return stack.map((frame) => names.get(frame) ?? frame).filter((name) => !/\((point|hooks)\.c:/.test(name));
}
