// One launch instance: how it is doing, how it is launched, and what can be done with it.

import { get, post } from "./api.js";
import { LaunchForm } from "./launch-form.js";
import { Ask } from "./launch-acts.js";
import { useLive } from "./live.js";
import { Copy, Dialog, Moment, Tag, Trouble, Waiting, useDoing, useTitle } from "./parts.js";
import { html, useState } from "./view.js";
import { sentence } from "./problems.js";
import { go, to } from "./router.js";
import { say } from "./toast.js";
import { answering, clock, commandOf, isOrdered, orderWords, shortHash, stateOf, targetWords } from "./words.js";

const SOON = 1.5, LATER = 5;
const ORDERS = 20, EVENTS = 30;

export function LaunchSheet({ satellite, id, editing, onClose, onChange }) {
  const path = `/admin/v1/launches/${encodeURIComponent(id)}`;
  const load = async (signal) => {
    const [launch, orders] = await Promise.all([get(path, signal), get(`${path}/orders?limit=${ORDERS}`, signal)]);
    return { launch, orders: orders.items };
  };
  const live = useLive(load, [path], (data) => (data && stateOf(data.launch).moving ? SOON : LATER));
  const [asking, ask] = useState("");
  const launch = live.data?.launch;
  const here = to("satellites", satellite.id, "launches", id);
  useTitle(launch && `${launch.name} of ${satellite.name}`);
  const changed = () => {
    live.reload();
    onChange();
  };
  if (editing && launch) {
    return html`<${LaunchForm} satellite=${satellite} launch=${launch} onClose=${() => go(here)} onSaved=${() => (changed(), go(here))} />`;
  }
  return html`<${Dialog} kind="sheet" title=${launch?.name ?? "Launch instance"} onClose=${onClose}>
    <${Waiting} live=${live} />
    ${launch && html`
      <${State} launch=${launch} />
      ${launch.description && html`<p class="description">${launch.description}</p>`}
      <${Acts} launch=${launch} ask=${ask} onDone=${changed} />
      <${Facts} launch=${launch} newest=${satellite.version} />
      <${Entries} running=${launch.running} />
      <${Elsewhere} satellites=${launch.satellites} />
      <h3>To launch from a command line</h3>
      <${Copy} block label="command" value=${commandOf(launch)} />
      <${History} launch=${launch} orders=${live.data.orders} />
      <div class="actions foot"><a class="button" href=${`${here}/edit`}>Edit launch instance</a>
        <button type="button" class="danger" onClick=${() => ask("remove")}>Remove launch instance</button></div>
      ${asking && html`<${Ask} act=${asking} launch=${launch} orders=${live.data.orders} onClose=${() => ask("")}
        onDone=${(words, gone) => {
          ask("");
          say(words);
          gone ? (onChange(), onClose()) : changed();
        }} />`}`}
  </${Dialog}>`;
}

function State({ launch }) {
  const state = stateOf(launch);
  const { running, desired } = launch;
  return html`<div class="state">
    <p role="status" class="tags"><${Tag} tone=${state.tone}>${state.word}</${Tag}>
      ${desired?.paused && html`<${Tag}>paused</${Tag}>`}
      ${running?.desired > 0 && html`<b>${running.ready} of ${running.desired}</b> <span>replicas ready</span>`}</p>
    ${running?.desired > 0 && html`<progress max=${running.desired} value=${running.ready} aria-label="Replicas ready" />`}
    ${state.reason && html`<p class=${state.tone === "bad" ? "notice bad" : "notice"}>${sentence(state.reason)}</p>`}
  </div>`;
}

function Facts({ launch, newest }) {
  const serving = answering(launch);
  const address = location.origin + launch.address;
  return html`<dl>
    <dt>Version</dt><dd>${launch.satellite_version}${serving ? (serving === launch.satellite_version ? ", which runs" : `; version ${serving} runs`) : ""}${
      launch.satellite_version < newest && html` <span class="quiet">(newest: ${newest})</span>`}</dd>
    <dt>Where</dt><dd>${targetWords(launch.target)}</dd>
    ${launch.target.cluster && html`<dt>Cluster</dt><dd>${launch.target.cluster}</dd>`}
    ${launch.target.fqdn && html`<dt>Domain</dt><dd>${launch.target.fqdn}</dd>`}
    ${launch.target.container_registry && html`<dt>Registry</dt><dd>${launch.target.container_registry}</dd>`}
    <dt>Launch ID</dt><dd><${Copy} label="Launch ID" value=${launch.id} /></dd>
    <dt>Satellite ID</dt><dd><${Copy} label="Satellite ID" value=${launch.satellite_id} /></dd>
    ${launch.target.kind === "workers" && html`<dt>Address</dt><dd><${Copy} label="address" value=${address} /></dd>`}
    <dt>Made</dt><dd><${Moment} at=${launch.created_at} /> by ${launch.created_by}</dd>
  </dl>`;
}

function Entries({ running }) {
  if (!running?.entries.length) return null;
  return html`<h3>What runs</h3><ul class="rows entries">${running.entries.map((one) => html`<li key=${one.vanity_url}>
    <div class="what"><b class="name">${one.vanity_url}</b>
      <p class="quiet reference" title=${one.algorithm}>${shortHash(one.algorithm)}</p></div>
    <div class="tags"><${Tag} tone=${one.ready < one.desired ? "bad" : "good"}>${one.ready} of ${one.desired} ready</${Tag}>
      ${one.starting > 0 && html`<${Tag}>${one.starting} starting</${Tag}>`}
      ${one.draining > 0 && html`<${Tag}>${one.draining} ending</${Tag}>`}</div>
    ${one.ready < one.desired && one.reason && html`<p class="reason">${sentence(one.reason)}</p>`}
  </li>`)}</ul>`;
}

/** What gateways apart from the platform reported. */
function Elsewhere({ satellites }) {
  if (!satellites?.length) return null;
  return html`<h3>What reports</h3><ul class="rows entries">${satellites.map((one) => html`<li key=${one.instance + one.run}>
    <div class="what"><b class="name">gateway ${one.instance.slice(0, 8)}</b>
      <p class="quiet">Version ${one.satellite_version}, heard of <${Moment} at=${one.last_heard} /></p></div>
    <div class="tags">${one.stale && html`<${Tag} tone="bad">silent</${Tag}>`}
      ${!one.up_to_date && html`<${Tag} tone="bad">another version should run</${Tag}>`}
      <${Tag} tone=${one.ready < one.desired ? "bad" : "good"}>${one.ready} of ${one.desired} ready</${Tag}></div>
    ${one.entries.filter((entry) => entry.reason).map((entry) =>
      html`<p class="reason" key=${entry.vanity_url}>${entry.vanity_url}: ${sentence(entry.reason)}</p>`)}
  </li>`)}</ul>`;
}

function Acts({ launch, ask, onDone }) {
  const doing = useDoing();
  const ordered = isOrdered(launch);
  const resume = () => doing.run(async () => {
    await post(`/admin/v1/launches/${launch.id}/resume`);
    say(`${launch.name} goes on.`);
    onDone();
  });
  if (launch.target.kind === "bundle" && !ordered) return null;
  const paused = launch.desired?.paused;
  const button = (act, label, style = "") =>
    html`<button type="button" class=${style} onClick=${() => ask(act)}>${label}</button>`;
  return html`<div class="actions acts" role="group" aria-label="What to do with it">
      ${!paused && button("deploy", ordered ? "Deploy again" : "Deploy", ordered && answering(launch) === launch.satellite_version ? "" : "primary")}
      ${ordered && !paused && button("rollback", "Roll back")}
      ${ordered && button("promote", "Promote")}
      ${ordered && !paused && button("pause", "Pause")}
      ${paused && html`<button type="button" disabled=${doing.busy} onClick=${resume}>Resume</button>`}
      ${ordered && button("stop", "Stop", "danger")}
    </div><${Trouble} problem=${doing.problem} />`;
}

function History({ launch, orders }) {
  const [open, set] = useState(false);
  if (!orders.length) return null;
  return html`<h3>History</h3><ul class="rows history">${orders.map((one) => html`<li key=${one.number}>
      <div class="what"><b>${orderWords(one)}</b><p class="quiet"><${Moment} at=${one.at} /> by ${one.by}</p></div></li>`)}</ul>
    <details onToggle=${(event) => set(event.target.open)}><summary>What happened in the last one</summary>
      ${open && html`<${Events} key=${launch.desired.deployment_id} deployment=${launch.desired.deployment_id} />`}</details>`;
}

function Events({ deployment }) {
  const live = useLive((signal) => get(`/admin/v1/deployments/${deployment}/events?limit=${EVENTS}`, signal), [deployment], LATER);
  return html`<${Waiting} live=${live} />
    ${live.data?.items.length === 0 && html`<p class="quiet">Nothing yet.</p>`}
    <ol class="events">${live.data?.items.map((one) => html`<li key=${one.id} title=${one.worker_id && `worker ${one.worker_id}`}>
      <time class="quiet" datetime=${one.at}>${clock(one.at)}</time> ${one.replica_id && html`<code>${one.replica_id.slice(0, 8)}</code> `}${one.message}</li>`)}</ol>`;
}
