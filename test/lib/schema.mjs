// What a JSON Schema of the served document lets a test do: find its members, and break them one at a time.

/** Follows $ref inside the document. */
export function resolve(document, schema) {
  while (schema?.$ref) schema = schema.$ref.slice(2).split('/').reduce((at, part) => at[part.replaceAll('~1', '/')], document);
  return schema;
}

const types = (schema) => [schema.type ?? []].flat();

/** Every required member, with its path: "name", "nodes[].id". */
export function required(document, schema, path = '') {
  schema = resolve(document, schema);
  if (!schema) return [];
  const found = [];
  if (schema.items) found.push(...required(document, schema.items, `${path}[]`));
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    const at = path ? `${path}.${name}` : name;
    if (schema.required?.includes(name)) found.push(at);
    found.push(...required(document, member, at));
  }
  return found;
}

const json = (v) => JSON.parse(JSON.stringify(v));

/** The smallest value that fits. */
export function minimal(document, schema) {
  schema = resolve(document, schema) ?? {};
  if (schema.default !== undefined) return json(schema.default);
  if (schema.enum) return schema.enum[0];
  switch (types(schema)[0]) {
    case 'object':
      return Object.fromEntries((schema.required ?? []).map((name) => [name, minimal(document, schema.properties[name])]));
    case 'array':
      return Array.from({ length: schema.minItems ?? 0 }, () => minimal(document, schema.items));
    case 'string':
      return schema.format === 'uuid' ? '0190a5b0-0000-7000-8000-0000000000ab'
        : schema.format === 'date-time' ? '2026-01-01T00:00:00Z' : 'a'.repeat(Math.max(1, schema.minLength ?? 0));
    case 'boolean':
      return true;
    default:
      return schema.minimum ?? 1;
  }
}

/** Values that one rule of the schema forbids, each with the code its fault must have. */
function* forbidden(schema) {
  const of = types(schema);
  const nullable = of.includes('null');
  if (of.length === 0 || schema.readOnly) return;
  if (!nullable) yield ['null', null, /VAL_(INVALID_TYPE|REQUIRED)/];
  if (!of.includes('string')) yield ['a string', 'xyz', /VAL_INVALID_TYPE/];
  if (!of.includes('integer') && !of.includes('number')) yield ['a number', 12345, /VAL_INVALID_TYPE/];
  if (!of.includes('boolean')) yield ['a boolean', true, /VAL_INVALID_TYPE/];
  if (!of.includes('array')) yield ['an array', [], /VAL_INVALID_TYPE/];
  if (!of.includes('object')) yield ['an object', {}, /VAL_INVALID_TYPE/];
  if (of.includes('integer')) yield ['a fraction', (schema.minimum ?? 0) + 0.5, /VAL_INVALID_TYPE/];
  if (schema.minimum !== undefined) yield ['one too low', schema.minimum - 1, /VAL_OUT_OF_RANGE/];
  if (schema.maximum !== undefined && Number.isSafeInteger(schema.maximum)) yield ['one too high', schema.maximum + 1, /VAL_OUT_OF_RANGE/];
  if (schema.minLength) yield ['too short', 'a'.repeat(schema.minLength - 1), /VAL_OUT_OF_RANGE/];
  if (schema.maxLength !== undefined && schema.maxLength < 100_000) yield ['too long', 'a'.repeat(schema.maxLength + 1), /VAL_TOO_LONG/];
  if (schema.pattern) yield ['another form', '\u0001', /VAL_(INVALID_FORMAT|TOO_LONG)/];
  if (schema.format) yield ['another format', 'no such format', /VAL_INVALID_FORMAT/];
  if (schema.enum) yield ['none of the choices', 'no such choice', /VAL_INVALID_ENUM/];
  if (schema.maxItems !== undefined) yield ['too many', Array(schema.maxItems + 1).fill(0), /VAL_OUT_OF_RANGE/];
}

/**
 * Bodies that are broken in one place: {what, path, body, code}. `sample` is a body that is right; `change`: it is one for a
 * change, where nothing is required.
 */
export function* broken(document, schema, sample, change = false) {
  schema = resolve(document, schema);
  yield { what: 'an unknown member', path: 'noSuchMember', body: { ...sample, noSuchMember: 1 }, code: /VAL_UNKNOWN_FIELD/ };
  yield* brokenBelow(document, schema, '', sample, (value) => value, change, 0);
}

function* brokenBelow(document, schema, path, value, whole, change, depth) {
  if (depth > 6) return;
  for (const [name, unresolved] of Object.entries(schema.properties ?? {})) {
    const member = resolve(document, unresolved);
    if (member.readOnly) continue;
    const at = path ? `${path}.${name}` : name;
    const put = (v) => whole({ ...value, [name]: v });
    for (const [what, bad, code] of forbidden(member)) yield { what, path: at, body: put(bad), code };
    if (schema.required?.includes(name) && !change) {
      const { [name]: _, ...rest } = value;
      yield { what: 'nothing', path: at, body: whole(rest), code: /VAL_REQUIRED/ };
    }
    const of = types(member);
    if (of.includes('object') && member.properties) {
      const inner = value[name] && typeof value[name] === 'object' ? value[name] : minimal(document, member);
      if (member.additionalProperties === false)
        yield { what: 'an unknown member', path: `${at}.noSuchMember`, body: put({ ...inner, noSuchMember: 1 }), code: /VAL_UNKNOWN_FIELD/ };
      yield* brokenBelow(document, member, at, inner, put, change, depth + 1);
    }
    const item = resolve(document, member.items);
    if (of.includes('array') && item && types(item).length) {
      const first = value[name]?.[0] ?? minimal(document, item);
      for (const [what, bad, code] of forbidden(item)) yield { what, path: `${at}[0]`, body: put([bad]), code };
      if (item.properties) {
        if (item.additionalProperties === false)
          yield { what: 'an unknown member', path: `${at}[0].noSuchMember`, body: put([{ ...first, noSuchMember: 1 }]), code: /VAL_UNKNOWN_FIELD/ };
        yield* brokenBelow(document, item, `${at}[0]`, first, (v) => put([v]), false, depth + 1);
      }
    }
    const entry = typeof member.additionalProperties === 'object' && resolve(document, member.additionalProperties);
    if (of.includes('object') && entry)
      for (const [what, bad, code] of forbidden(entry)) yield { what, path: `${at}.aName`, body: put({ aName: bad }), code };
  }
}

/** Texts a query parameter forbids. */
export function* brokenParameter(document, parameter) {
  let schema = resolve(document, parameter.schema) ?? {};
  if (schema.type === 'array') schema = resolve(document, schema.items);
  const of = types(schema);
  if (of.includes('integer') || of.includes('number')) yield ['a word', 'word'];
  if (of.includes('boolean')) yield ['a word', 'word'];
  if (schema.minimum !== undefined && schema.minimum > Number.MIN_SAFE_INTEGER) yield ['one too low', String(schema.minimum - 1)];
  if (schema.maximum !== undefined && Number.isSafeInteger(schema.maximum)) yield ['one too high', String(schema.maximum + 1)];
  if (schema.enum) yield ['none of the choices', 'no-such-choice'];
  if (schema.format) yield ['another format', 'no-such-format'];
}
