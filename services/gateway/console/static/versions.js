// The versions of a satellite, and what is different between two of them.

import { get, post } from "./api.js";
import { useLive } from "./live.js";
import { Confirm, Field, Moment, More, Tag, Waiting } from "./parts.js";
import { html, useState } from "./view.js";
import { say } from "./toast.js";
import { answering, compare, many } from "./words.js";

const PAGE = 50;
const TONES = { added: "good", removed: "bad", changed: "note", same: "" };

export function Versions({ satellite, onChange }) {
  const [limit, setLimit] = useState(PAGE);
  const [renewing, setRenewing] = useState(false);
  const live = useLive((signal) => get(`/admin/v1/satellites/${satellite.id}/versions?limit=${limit}`, signal), [satellite.version, limit]);
  const items = live.data?.items ?? [];
  return html`
    <div class="bar"><p class="quiet">Each edit of the algorithms makes a version, which never changes again. It also fixes which API keys are accepted.</p>
      <button type="button" onClick=${() => setRenewing(true)}>Renew accepted keys</button></div>
    <${Waiting} live=${live} />
    ${items.length > 1 && html`<${Comparison} items=${items} />`}
    <ul class="rows">${items.map((one) => html`<li key=${one.version}>
      <div class="what"><b class="name">Version ${one.version}</b>
        <p class="quiet"><${Moment} at=${one.created_at} /> by ${one.created_by}</p></div>
      <div class="tags">${satellite.running.filter((launch) => answering(launch) === one.version)
          .map((launch) => html`<${Tag} tone="good">runs as ${launch.name}</${Tag}>`)}
        <${Tag}>${many(one.algorithms.length, "algorithm")}</${Tag}></div>
    </li>`)}</ul>
    <${More} page=${live.data} onMore=${() => setLimit(limit + PAGE)} />
    ${renewing && html`<${Confirm} title="Renew accepted keys?" action="Make a version" onClose=${() => setRenewing(false)}
      act=${() => post(`/admin/v1/satellites/${satellite.id}/versions`)}
      onDone=${(made) => (setRenewing(false), say(`Version ${made.version} accepts the keys of today.`), onChange())}>
      <p>A new version with the same algorithms, which accepts the API keys that may call them today. Deploy it to make it count.</p>
    </${Confirm}>`}`;
}

function Comparison({ items }) {
  const [pair, set] = useState({});
  const after = items.find((one) => one.version === pair.after) ?? items[0];
  const before = items.find((one) => one.version === pair.before) ?? items[1];
  const choose = (name) => (event) => set({ ...pair, [name]: Number(event.target.value) });
  const options = (chosen) => items.map((one) => html`<option value=${one.version} selected=${one === chosen}>${one.version}</option>`);
  return html`<section class="comparison" aria-label="Two versions compared">
    <div class="pair"><${Field} label="From version" as="select" value=${before.version} onInput=${choose("before")}>${options(before)}</${Field}>
      <${Field} label="to version" as="select" value=${after.version} onInput=${choose("after")}>${options(after)}</${Field}></div>
    <${Changes} before=${before} after=${after} />
  </section>`;
}

export function Changes({ before, after }) {
  const found = compare(before.algorithms, after.algorithms).filter((one) => one.kind !== "same");
  const keys = before.accepted_keys !== after.accepted_keys;
  if (!found.length && !keys) return html`<p class="quiet">Nothing is different.</p>`;
  return html`<ul class="rows changes" aria-label=${`From version ${before.version} to version ${after.version}`}>
    ${found.map((one) => html`<li key=${one.vanity_url}><div class="what"><b class="name">${one.vanity_url}</b>
      ${one.changes.map((words) => html`<p class="quiet">${words}</p>`)}</div><${Tag} tone=${TONES[one.kind]}>${one.kind}</${Tag}></li>`)}
    ${keys && html`<li><div class="what"><b>Accepted API keys</b></div><${Tag} tone="note">changed</${Tag}></li>`}
  </ul>`;
}
