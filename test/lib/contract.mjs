// The served documents as judges: every JSON answer against /openapi.json, every stream frame against /asyncapi.json.
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

export class Broken extends Error {
  constructor(what, errors, seen) {
    const list = (errors ?? []).slice(0, 8).map((e) => `  ${e.instancePath || '/'} ${e.message} ${JSON.stringify(e.params)}`);
    super(`${what}\n${list.join('\n')}\n  seen: ${JSON.stringify(seen)?.slice(0, 3000)}`);
    this.name = 'Broken';
  }
}

function judge() {
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false, validateFormats: true });
  addFormats(ajv);
  return ajv;
}

const escape = (part) => part.replaceAll('~', '~0').replaceAll('/', '~1');

export class OpenApi {
  constructor(document) {
    this.document = document;
    this.ajv = judge();
    this.ajv.addSchema({ ...document, $id: 'openapi' });
    this.compiled = new Map();
    this.paths = Object.entries(document.paths).map(([path, item]) => ({
      path,
      item,
      literal: (path.match(/\{/g) ?? []).length,
      match: new RegExp(`^${path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '[^/]+')}$`),
    }));
    this.paths.sort((a, b) => a.literal - b.literal); // "/agents/register" before "/agents/{id}"
  }

  /** The path template an URL belongs to. */
  find(url) {
    const path = decodeURI(url.split('?')[0]);
    const base = new URL(this.document.servers?.[0]?.url ?? '/', 'http://host').pathname.replace(/\/$/, '');
    for (const candidate of base && path.startsWith(base) ? [path, path.slice(base.length)] : [path]) {
      const found = this.paths.find((p) => p.match.test(candidate));
      if (found) return found;
    }
    return undefined;
  }

  validator(pointer) {
    if (!this.compiled.has(pointer)) this.compiled.set(pointer, this.ajv.compile({ $ref: `openapi#${pointer}` }));
    return this.compiled.get(pointer);
  }

  resolve(node, pointer) {
    while (node?.$ref) {
      pointer = node.$ref.slice(1);
      node = pointer.slice(1).split('/').reduce(
        (at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], this.document);
    }
    return [node, pointer];
  }

  /** Throws unless the answer is one that the document declares. Unknown paths and methods have nothing to be judged by. */
  check(method, url, status, type, body) {
    const route = this.find(url);
    const operation = route?.item[method.toLowerCase()];
    if (!operation) return;
    const at = `/paths/${escape(route.path)}/${method.toLowerCase()}/responses`;
    const key = [String(status), `${String(status)[0]}XX`, 'default'].find((k) => operation.responses[k]);
    if (!key) throw new Broken(`${method} ${route.path} answers ${status}, which it does not declare`, [], body);
    const [response, pointer] = this.resolve(operation.responses[key], `${at}/${key}`);
    const media = response.content?.[type];
    if (!media) {
      if (body === undefined) return;
      throw new Broken(`${method} ${route.path} ${status} answers ${type}, which it does not declare`, [], body);
    }
    if (!media.schema) return;
    const validate = this.validator(`${pointer}/content/${escape(type)}/schema`);
    if (!validate(body)) throw new Broken(`${method} ${route.path} ${status} breaks its contract:`, validate.errors, body);
  }
}

export class AsyncApi {
  constructor(document) {
    this.document = document;
    this.ajv = judge();
    this.ajv.addSchema({ ...document, $id: 'asyncapi' });
    this.channels = []; // what the server sends in each, by type
    for (const operation of Object.values(document.operations)) {
      if (operation.action !== 'send') continue;
      const { address } = document.channels[operation.channel.$ref.split('/').at(-1)];
      const messages = new Map();
      this.channels.push({ at: new RegExp(`^${address.replace(/\{[^}]*\}/g, '[^/]+')}$`), messages });
      for (const { $ref } of operation.messages) {
        const name = $ref.split('/').at(-1);
        const { name: type } = document.components.messages[name];
        const pointer = `/components/messages/${escape(name)}/payload`;
        messages.set(type, this.ajv.compile({ $ref: `asyncapi#${pointer}` }));
      }
    }
  }

  /** Throws unless the frame is one of the declared messages of the stream at this path. */
  check(path, frame) {
    const validate = this.channels.find(({ at }) => at.test(path))?.messages.get(frame?.type);
    if (!validate) throw new Broken(`the stream sends a message that is not declared: ${frame?.type}`, [], frame);
    if (!validate(frame)) throw new Broken(`the message ${frame.type} breaks its contract:`, validate.errors, frame);
  }
}

/** What holds for every enveloped answer, whatever the operation. */
export function checkEnvelope(method, url, status, headers, body) {
  const wrong = [];
  if (typeof body !== 'object' || body === null) wrong.push('not an object');
  else {
    if (body.success !== status < 400) wrong.push(`success is ${body.success}`);
    if (!body.meta || body.meta.requestId !== headers['x-request-id']) wrong.push('meta.requestId is not X-Request-ID');
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(body.meta?.timestamp ?? '')) wrong.push('meta.timestamp');
    if (status < 400 && !('data' in body)) wrong.push('no data');
    if (status >= 400 && !/^[A-Z]+(_[A-Z]+)+$/.test(body.error?.code ?? '')) wrong.push('error.code');
    if (status >= 400 && typeof body.error?.message !== 'string') wrong.push('error.message');
    const extra = Object.keys(body).filter((k) => !['success', 'data', 'error', 'meta'].includes(k));
    if (extra.length) wrong.push(`members beyond the envelope: ${extra}`);
  }
  if (wrong.length) throw new Broken(`${method} ${url} ${status} breaks the envelope: ${wrong.join('; ')}`, [], body);
}

/**
 * Judges an answer of the service, however it was come by: {status, headers, type, body, text}. Throws when it breaks the
 * envelope or what /openapi.json declares for the operation; where there is none, the envelope is what it is judged by.
 */
export async function judgeAnswer(server, method, url, { status, headers, text, type = mediaType(headers), body = parsed(type, text) }) {
  const pathname = url.split('?')[0];
  if (pathname.startsWith('/_test/')) return;
  if (!headers['x-request-id']) throw new Broken(`${method} ${url} ${status} has no X-Request-ID`, [], text);
  if (method === 'HEAD') {
    if (text) throw new Broken(`HEAD ${url} has a body`, [], text);
    return;
  }
  if (type === 'application/json' && pathname.startsWith('/api/')) checkEnvelope(method, url, status, headers, body);
  const openapi = await server.openapi?.();
  openapi?.check(method, url, status, type, type === 'application/json' ? body : type ? text : undefined);
}

export const mediaType = (headers) => (headers['content-type'] ?? '').split(';')[0].trim();

function parsed(type, text) {
  return type === 'application/json' && text ? JSON.parse(text) : undefined;
}

/** The request lines in what a client has sent, one after the other, as far as they can be told: {method, url}. */
export class Asked {
  text = '';
  at = 0;

  add(part) {
    this.text += (typeof part === 'string' ? part : part.subarray(0, 65536).toString('latin1')).slice(0, 65536);
  }

  next() {
    const line = /([A-Z]{3,7}) (\/[\x21-\x7e]*) HTTP\/1\.1\r\n/g;
    line.lastIndex = this.at;
    const found = line.exec(this.text);
    if (!found) return undefined;
    this.at = line.lastIndex;
    return { method: found[1], url: found[2] };
  }
}
