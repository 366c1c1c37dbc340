// One satellite: its algorithms, its launch instances, and its versions.

import { get, remove } from "./api.js";
import { LaunchInstances } from "./launches.js";
import { useLive } from "./live.js";
import { Confirm, Copy, Moment, Tag, Waiting, useTitle } from "./parts.js";
import { html, useRef, useState } from "./view.js";
import { go, to } from "./router.js";
import { EditSatellite } from "./satellite-form.js";
import { say } from "./toast.js";
import { Versions } from "./versions.js";
import { many, shortHash } from "./words.js";

const TABS = [["", "Algorithms"], ["launches", "Launch instances"], ["versions", "Versions"]];

export function SatelliteRoom({ id, rest }) {
  const live = useLive((signal) => get(`/admin/v1/satellites/${encodeURIComponent(id)}`, signal), [id], 10);
  const satellite = live.data;
  const [tab = "", ...more] = rest;
  useTitle(satellite?.name);
  if (!satellite) {
    return html`<section class="card"><p class="crumb"><a href=${to("satellites")}>Satellites</a></p>
      <${Waiting} live=${live} /></section>`;
  }
  if (tab === "edit") return html`<${EditSatellite} satellite=${satellite} onChange=${live.reload} />`;
  return html`<section class="card">
    <p class="crumb"><a href=${to("satellites")}>Satellites</a></p>
    <div class="head"><h1>${satellite.name} <${Tag}>version ${satellite.version}</${Tag}></h1>
      <a class="button" href=${to("satellites", id, "edit")}><span aria-hidden="true">⚙</span> Edit algorithms</a></div>
    <dl class="facts">
      <dt>Satellite ID</dt><dd><${Copy} label="Satellite ID" value=${satellite.id} /></dd>
      <dt>Made</dt><dd><${Moment} at=${satellite.created_at} /> by ${satellite.created_by}</dd>
    </dl>
    <${Waiting} live=${live} />
    <${Tabs} id=${id} open=${tab} />
    <div role="tabpanel" id="panel" aria-labelledby=${`tab-${tab}`}>${
      tab === "launches" ? html`<${LaunchInstances} satellite=${satellite} rest=${more} onChange=${live.reload} />`
      : tab === "versions" ? html`<${Versions} satellite=${satellite} onChange=${live.reload} />`
      : html`<${Algorithms} satellite=${satellite} />`
    }</div>
  </section>`;
}

function Tabs({ id, open }) {
  const list = useRef();
  const turn = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...list.current.children];
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  };
  return html`<div class="tabs" role="tablist" aria-label="Of this satellite" ref=${list} onKeyDown=${turn}>${TABS.map(
    ([name, label]) => html`<a role="tab" id=${`tab-${name}`} href=${to("satellites", id, ...(name ? [name] : []))}
      aria-selected=${String(name === open)} aria-controls="panel" tabindex=${name === open ? 0 : -1}>${label}</a>`,
  )}</div>`;
}

function Algorithms({ satellite }) {
  const [removing, setRemoving] = useState(false);
  return html`
    <ul class="rows">${satellite.algorithms.map((one) => html`<li key=${one.vanity_url}>
      <div class="what"><b class="name">${one.vanity_url}</b>
        <p class="quiet reference" title=${one.algorithm}>${shortHash(one.algorithm)}</p></div>
      <${Tag}>${many(one.replicas, "replica")}</${Tag}>
    </li>`)}</ul>
    <p class="foot"><button type="button" class="danger" onClick=${() => setRemoving(true)}>Remove satellite</button></p>
    ${removing && html`<${RemoveSatellite} satellite=${satellite} onClose=${() => setRemoving(false)} />`}`;
}

function RemoveSatellite({ satellite, onClose }) {
  const running = satellite.running;
  return html`<${Confirm} title=${`Remove satellite ${satellite.name}?`} action="Remove" danger onClose=${onClose}
    act=${() => remove(`/admin/v1/satellites/${satellite.id}`)}
    onDone=${() => {
      say(`Satellite ${satellite.name} was removed.`);
      go(to("satellites"));
    }}>
    <p>It leaves the lists, with all its versions. Its launch instances have to be removed before.</p>
    ${running.length > 0 && html`<p class="notice">Still running, and not ended by this: ${running.map((one) => one.name).join(", ")}.</p>`}
  </${Confirm}>`;
}
