// All satellites.

import { get } from "./api.js";
import { useLive, useSettled } from "./live.js";
import { Moment, More, Search, Tag, Waiting, useTitle } from "./parts.js";
import { html, useState } from "./view.js";
import { to } from "./router.js";
import { many } from "./words.js";

const PAGE = 50;
const SHOWN = 3;

export function Satellites() {
  useTitle("Satellites");
  const [search, setSearch] = useState("");
  const [limit, setLimit] = useState(PAGE);
  const wanted = useSettled(search.trim());
  const asked = new URLSearchParams({ limit, ...(wanted && { q: wanted }) });
  const live = useLive((signal) => get(`/admin/v1/satellites?${asked}`, signal), [`${asked}`], 15);
  const items = live.data?.items;
  return html`<section class="card">
    <div class="head"><h1>Satellites</h1>
      <a class="button primary" href=${to("satellites", "new")}>New satellite</a></div>
    <p class="quiet lead">Groups of algorithms, each at one built commit and under a name of its own, that are launched together.</p>
    <${Search} label="Search satellites" value=${search} onInput=${setSearch} />
    <${Waiting} live=${live} />
    ${items?.length === 0 && html`<p class="empty">${wanted ? `No satellite has “${wanted}” in its name.` : "There is no satellite yet."}</p>`}
    <ul class="rows">${items?.map((one) => html`<li key=${one.id}><${Row} satellite=${one} /></li>`)}</ul>
    <${More} page=${live.data} onMore=${() => setLimit(limit + PAGE)} />
  </section>`;
}

function Row({ satellite }) {
  const entries = satellite.algorithms;
  return html`<div class="what">
      <a class="name" href=${to("satellites", satellite.id)}>${satellite.name}</a>
      <p class="quiet">Version ${satellite.version} · ${many(entries.length, "algorithm")} · changed <${Moment} at=${satellite.updated_at} /></p>
    </div>
    <div class="tags">${entries.slice(0, SHOWN).map((one) => html`<${Tag}>${one.vanity_url}</${Tag}>`)}
      ${entries.length > SHOWN && html`<${Tag}>and ${entries.length - SHOWN} more</${Tag}>`}</div>`;
}
