// What the console says about states, targets and times. Pure.

const STATES = {
  deploying: ["deploying", "note", true],
  deployed: ["deployed", "good", false],
  rolling_back: ["rolling back", "bad", true],
  rolled_back: ["rolled back", "bad", false],
  failed: ["not ready, tried further", "bad", true],
  stopping: ["stopping", "note", true],
  stopped: ["stopped", "", false],
};

/** How a launch instance is doing: `word`, `tone`, `moving` (it is on its way to something else) and `reason`. */
export function stateOf({ desired, running, running_known, target, satellites }) {
  if (!desired) return target.kind === "bundle" ? carriedState(satellites) : { word: "never deployed", tone: "", moving: false };
  if (!running_known) return { word: "state unknown", tone: "", moving: true, reason: "No deployer answers just now." };
  if (!running || running.number < desired.number) {
    return { word: desired.action === "stop" ? "stopping" : "ordered", tone: "note", moving: true };
  }
  const [word, tone, moving] = STATES[running.state] ?? [running.state.replaceAll("_", " "), "", true];
  const short = running.state === "deployed" && running.ready < running.desired;
  return { word, tone: short ? "bad" : tone, moving: moving || short, reason: running.reason };
}

/** How a bundle's gateways said that they are; `satellites` is not known where many launches are listed. */
function carriedState(satellites) {
  if (!satellites) return { word: "a bundle", tone: "", moving: false };
  if (!satellites.length) return { word: "no report yet", tone: "", moving: false };
  const heard = satellites.filter((one) => !one.stale);
  if (!heard.length) return { word: "silent", tone: "bad", moving: false };
  const good = heard.every((one) => one.up_to_date && one.ready >= one.desired);
  return { word: many(heard.length, "gateway reports", "gateways report"), tone: good ? "good" : "bad", moving: false };
}

/** Does something of the launch run, or is it to? */
export const isOrdered = (launch) => launch.desired?.action === "deploy";

/** Does all that was ordered last of the launch run? */
export const isDeployed = ({ desired, running }) => running?.state === "deployed" && running.number >= desired.number;

/** Replicas, as `2 of 3 ready`; empty where none are wanted. */
export function readiness(running) {
  return running && (running.desired || running.ready) ? `${running.ready} of ${running.desired} ready` : "";
}

export function targetWords(target) {
  if (target.kind === "kubernetes") return `Kubernetes, namespace ${target.namespace}`;
  if (target.kind === "bundle") return "a bundle, for elsewhere";
  const labels = labelText(target.labels);
  return labels ? `workers with ${labels}` : "the platform's workers";
}

export const labelText = (labels) =>
  Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`).join(", ");

/** Labels as they are typed. Throws an Error that says what is wrong. */
export function readLabels(text) {
  const labels = {};
  for (const part of text.split(/[,\n]/).map((one) => one.trim()).filter(Boolean)) {
    const [name, ...value] = part.split("=");
    if (!name.trim() || !value.length) throw new Error(`'${part}' is no label: write name=value, with commas between several.`);
    labels[name.trim()] = value.join("=").trim();
  }
  return labels;
}

/** The command line that brings a launch to run. */
export function commandOf(launch) {
  if (launch.target.kind !== "bundle") return launch.command;
  return `constellation satellite ${launch.satellite_id} ${launch.id} get <ADMIN_API_KEY>`;
}

/** Which version calls are answered by; null while none answers. */
export const answering = ({ running }) => (running?.ready ? running.serving_version : null);

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export const shortHash = (algorithm) => algorithm.replace(/\/([0-9a-f]{10})[0-9a-f]{30}$/, "/$1");

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const moment = (iso) => MOMENT.format(new Date(iso));

const CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

export const clock = (iso) => CLOCK.format(new Date(iso));

/** What an order was, for a history of them. */
export function orderWords(order) {
  if (order.action === "stop") return "Stopped";
  return `Version ${order.satellite_version} ${order.promoted_from ? "promoted" : "deployed"}`;
}

/**
 * What is different between two versions' algorithms.
 * @returns {{vanity_url: string, kind: "added"|"removed"|"changed"|"same", changes: string[]}[]} by vanity URL
 */
export function compare(before, after) {
  const old = new Map(before.map((entry) => [entry.vanity_url.toLowerCase(), entry]));
  const found = after.map((entry) => {
    const was = old.get(entry.vanity_url.toLowerCase());
    old.delete(entry.vanity_url.toLowerCase());
    if (!was) return { vanity_url: entry.vanity_url, kind: "added", changes: [shortHash(entry.algorithm), replicas(entry)] };
    const changes = [
      ...(was.algorithm === entry.algorithm ? [] : [`${shortHash(was.algorithm)} → ${shortHash(entry.algorithm)}`]),
      ...(was.replicas === entry.replicas ? [] : [`${replicas(was)} → ${entry.replicas}`]),
    ];
    return { vanity_url: entry.vanity_url, kind: changes.length ? "changed" : "same", changes };
  });
  const gone = [...old.values()].map((entry) => ({
    vanity_url: entry.vanity_url, kind: "removed", changes: [shortHash(entry.algorithm)],
  }));
  return [...found, ...gone].sort((a, b) => a.vanity_url.localeCompare(b.vanity_url));
}

const replicas = (entry) => many(entry.replicas, "replica");
