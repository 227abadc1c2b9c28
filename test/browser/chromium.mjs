// A real browser: Debian's chromium without a screen, driven by its DevTools protocol. Scripts of pages are off unless asked
// for; what the browser says of a page (its security policy, what it sends) is recorded.
import { once } from 'node:events';
import fs from 'node:fs';
import WebSocket from 'ws';
import { Nest } from '../lib/process.mjs';
import { eventually } from '../lib/wait.mjs';

export class Chromium {
  static async start() {
    const browser = new Chromium();
    browser.nest = new Nest('browser');
    const profile = browser.nest.file('profile');
    browser.nest.start('chromium', 'chromium', ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank']);
    const [port] = await eventually(() => fs.readFileSync(`${profile}/DevToolsActivePort`, 'utf8').trim().split('\n'), 'chromium to listen');
    browser.at = `http://127.0.0.1:${port}`;
    return browser;
  }

  /** A tab with cookies of its own. */
  async tab({ scripts = false } = {}) {
    const { webSocketDebuggerUrl } = await (await fetch(`${this.at}/json/version`)).json();
    const root = await new Tab().connect(webSocketDebuggerUrl);
    const { browserContextId } = await root.send('Target.createBrowserContext');
    const { targetId } = await root.send('Target.createTarget', { url: 'about:blank', browserContextId });
    const tab = await new Tab().connect(`${this.at.replace('http', 'ws')}/devtools/page/${targetId}`);
    tab.root = root;
    for (const domain of ['Page', 'Network', 'Log', 'Runtime']) await tab.send(`${domain}.enable`);
    await tab.send('Emulation.setScriptExecutionDisabled', { value: !scripts });
    return tab;
  }

  async stop() {
    await this.nest.remove();
  }
}

const KEYS = { Tab: { key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 }, Enter: { key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 13, text: '\r' } };

class Tab {
  constructor() {
    this.asked = new Map();
    this.sent = []; // URLs of requests
    this.said = []; // what the browser complains about
    this.id = 0;
  }

  async connect(url) {
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('message', (data) => this.hear(JSON.parse(data)));
    await once(this.socket, 'open');
    return this;
  }

  hear({ id, result, error, method, params }) {
    if (id !== undefined) {
      const { resolve, reject } = this.asked.get(id);
      this.asked.delete(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    } else if (method === 'Network.requestWillBeSent') {
      this.sent.push(params.request.url);
    } else if (method === 'Log.entryAdded' && params.entry.source === 'security') {
      this.said.push(params.entry.text);
    }
  }

  send(method, params = {}) {
    return new Promise((resolve, reject) => {
      this.asked.set(++this.id, { resolve, reject });
      this.socket.send(JSON.stringify({ id: this.id, method, params }));
    });
  }

  async eval(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /** Waits until the tab shows what is wanted; the expression is looked at again and again. */
  shows(expression, what) {
    return eventually(() => this.eval(`document.readyState === 'complete' && (${expression})`).catch(() => false), what);
  }

  text() {
    return this.eval('document.body.innerText');
  }

  async open(url, heading) {
    await this.send('Page.navigate', { url });
    if (heading) await this.heading(heading);
  }

  heading(text) {
    return this.shows(`document.querySelector('h1')?.textContent === ${JSON.stringify(text)}`, `the page "${text}"`);
  }

  async key(name) {
    for (const type of [KEYS[name].text ? 'keyDown' : 'rawKeyDown', 'keyUp']) await this.send('Input.dispatchKeyEvent', { type, ...KEYS[name] });
  }

  /** Types into the field with the name, which the keyboard reaches. */
  async type(field, text) {
    await this.reach(`document.activeElement.name === ${JSON.stringify(field)}`, `the field ${field}`);
    await this.eval('document.activeElement.select()');
    await this.send('Input.insertText', { text });
  }

  async press(button) {
    await this.reach(`document.activeElement.tagName === 'BUTTON' && document.activeElement.textContent === ${JSON.stringify(button)}`, `the button ${button}`);
    await this.key('Enter');
  }

  async reach(expression, what) {
    for (let i = 0; i < 30; i++) {
      if (await this.eval(expression)) return;
      await this.key('Tab');
    }
    throw new Error(`the keyboard does not reach ${what}`);
  }

  async cookies(url) {
    return (await this.send('Network.getCookies', { urls: [url] })).cookies;
  }

  async back() {
    const { currentIndex, entries } = await this.send('Page.getNavigationHistory');
    await this.send('Page.navigateToHistoryEntry', { entryId: entries[currentIndex - 1].id });
  }
}
