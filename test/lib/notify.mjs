// A service manager's ear: a datagram socket as sd_notify(3) wants it. Node has none of that kind, perl does, and every
// Debian has perl.
import { spawn } from 'node:child_process';
import readline from 'node:readline';

const EAR = `use Socket; $| = 1;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die $!; bind($s, sockaddr_un($ARGV[0])) or die $!; print "listening\\n";
while (defined recv($s, my $text, 4096, 0)) { print "$text\\n" }`;

/** Listens at `path`; `heard` grows with each state that is told. */
export async function listen(path) {
  const child = spawn('perl', ['-e', EAR, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = readline.createInterface({ input: child.stdout });
  const heard = [];
  await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`perl ended with ${code}`)));
    lines.on('line', (line) => (line === 'listening' ? resolve() : heard.push(line)));
  });
  return { heard, close: () => child.kill() };
}
