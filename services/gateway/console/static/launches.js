// Lists of launch instances: those of one satellite, and all.

import { get, post } from "./api.js";
import { LaunchForm } from "./launch-form.js";
import { LaunchSheet } from "./launch-sheet.js";
import { useLive, useSettled } from "./live.js";
import { Confirm, More, Search, Tag, Waiting, useTitle } from "./parts.js";
import { html, useState } from "./view.js";
import { go, to } from "./router.js";
import { say } from "./toast.js";
import { answering, readiness, stateOf, targetWords } from "./words.js";

const PAGE = 50;
const SOON = 2, LATER = 6;

export function AllLaunches() {
  useTitle("Launch instances");
  return html`<section class="card"><div class="head"><h1>Launch instances</h1></div>
    <p class="quiet lead">Which version of which satellite should run where. New ones are made in a satellite.</p>
    <${Launches} path="/admin/v1/launches" ofAll /></section>`;
}

export function LaunchInstances({ satellite, rest, onChange }) {
  const [name, act] = rest;
  const [turn, setTurn] = useState(0);
  const here = to("satellites", satellite.id, "launches");
  const close = () => go(here);
  const changed = () => {
    setTurn(turn + 1);
    onChange();
  };
  const forgotten = satellite.running.filter((one) => one.removed);
  return html`
    <${Launches} path=${`/admin/v1/satellites/${satellite.id}/launches`} turn=${turn}
      action=${html`<a class="button primary" href=${`${here}/new`}>New launch instance</a>`} />
    ${forgotten.length > 0 && html`<${Forgotten} launches=${forgotten} onChange=${changed} />`}
    ${name === "new" ? html`<${LaunchForm} satellite=${satellite} onClose=${close}
        onSaved=${(made) => (changed(), go(`${here}/${made.id}`))} />`
      : name && html`<${LaunchSheet} key=${name} satellite=${satellite} id=${name} editing=${act === "edit"} onClose=${close} onChange=${changed} />`}`;
}

function Launches({ path, turn = 0, ofAll = false, action }) {
  const [search, setSearch] = useState("");
  const [limit, setLimit] = useState(PAGE);
  const wanted = useSettled(search.trim());
  const asked = new URLSearchParams({ limit, ...(wanted && { q: wanted }) });
  const pause = (page) => (page?.items.some((one) => stateOf(one).moving) ? SOON : LATER);
  const live = useLive((signal) => get(`${path}?${asked}`, signal), [path, `${asked}`, turn], pause);
  const items = live.data?.items;
  return html`
    <div class="bar"><${Search} label="Search launch instances" value=${search} onInput=${setSearch} />${action}</div>
    <${Waiting} live=${live} />
    ${items?.length === 0 && html`<p class="empty">${wanted ? `No launch instance has “${wanted}” in its name or description.` : "There is no launch instance yet."}</p>`}
    <ul class="rows">${items?.map((one) => html`<li key=${one.id}><${Row} launch=${one} ofAll=${ofAll} /></li>`)}</ul>
    <${More} page=${live.data} onMore=${() => setLimit(limit + PAGE)} />`;
}

function Row({ launch, ofAll }) {
  const state = stateOf(launch);
  const serving = answering(launch);
  return html`<div class="what">
      <a class="name" href=${to("satellites", launch.satellite_id, "launches", launch.id)}>${launch.name}</a>
      <p class="quiet">${ofAll && html`${launch.satellite} · `}Version ${launch.satellite_version}${
        serving && serving !== launch.satellite_version ? ` (version ${serving} runs)` : ""} · ${targetWords(launch.target)}</p>
      ${launch.description && html`<p class="quiet clipped">${launch.description}</p>`}
    </div>
    <div class="tags"><span class="quiet">${readiness(launch.running)}</span>
      ${launch.desired?.paused && html`<${Tag}>paused</${Tag}>`}
      <${Tag} tone=${state.tone}>${state.word}</${Tag}></div>`;
}

/** What runs of launches whose configuration was removed. */
function Forgotten({ launches, onChange }) {
  const [stopping, setStopping] = useState(null);
  return html`<section class="part"><h2>Removed, but still running</h2>
    <ul class="rows">${launches.map((one) => html`<li key=${one.launch_id}>
      <div class="what"><b class="name">${one.name}</b><p class="quiet">Version ${one.satellite_version} ${readiness(one.running)}</p></div>
      <button type="button" class="danger" aria-label=${`Stop ${one.name}`} onClick=${() => setStopping(one)}>Stop</button>
    </li>`)}</ul>
    ${stopping && html`<${Confirm} title=${`Stop ${stopping.name}?`} action="Stop" danger onClose=${() => setStopping(null)}
      act=${() => post(`/admin/v1/launches/${stopping.launch_id}/stop`)}
      onDone=${() => (setStopping(null), say(`${stopping.name} is being stopped.`), onChange())}>
      <p>All its replicas end. Its configuration was removed, so it cannot be deployed again.</p></${Confirm}>`}
  </section>`;
}
