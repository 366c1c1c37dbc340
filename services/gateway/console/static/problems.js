// What went wrong, in words: the API's problems (RFC 9457), and which field each of them is about.

export class Problem extends Error {
  constructor({ status = 0, title = "", detail = "" }) {
    super(detail || title);
    this.status = status;
  }
}

/** The problem that an answer tells of. */
export async function problemOf(response) {
  const about = { status: response.status, title: response.statusText || `Status ${response.status}` };
  try {
    const said = await response.json();
    return new Problem({ ...about, detail: said.detail ?? said.error?.message ?? said.error_description });
  } catch {
    return new Problem(about);
  }
}

export const unreachable = () =>
  new Problem({ detail: "the platform cannot be reached from this browser just now" });

/** The words as a sentence. */
export function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.` : "";
}

const PARTS = /; (?=algorithms[[.]\d|[a-z_]+(?:\.[a-z_]+)*: )/;
const OF_ENTRY = /^algorithms(?:\[(\d+)\]|\.(\d+)(?:\.(\w+))?): /;
const OF_FIELD = /^(?:[a-z_]+\.)*([a-z_]+): /;
const NAMED = [
  [/^the name of a|^there is a satellite '|^the satellite has a launch '/, "name"],
  [/has no version -?\d+/, "satellite_version"],
];

/**
 * A refusal by what it is about.
 * @returns {{general: string[], fields: Object<string, string>, entries: Object<string, string>[]}} words by field, and
 * for each of `algorithms` by `algorithm`, `vanity_url` or `replicas`.
 */
export function placed(problem) {
  const found = { general: [], fields: {}, entries: [] };
  for (const part of problem?.message.split(PARTS) ?? []) {
    const entry = OF_ENTRY.exec(part);
    const field = OF_FIELD.exec(part)?.[1] ?? NAMED.find(([pattern]) => pattern.test(part))?.[1];
    if (entry) {
      const words = part.slice(entry[0].length);
      const of = (found.entries[Number(entry[1] ?? entry[2])] ??= {});
      const name = entry[3] ?? entryField(words);
      of[name] = [of[name], sentence(words)].filter(Boolean).join(" ");
    } else if (field) {
      found.fields[field] = sentence(part.replace(OF_FIELD, ""));
    } else {
      found.general.push(sentence(part));
    }
  }
  return found;
}

function entryField(words) {
  if (/vanity URL/.test(words)) return "vanity_url";
  return /^-?\d+ replicas/.test(words) ? "replicas" : "algorithm";
}
