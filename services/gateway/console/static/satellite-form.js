// Making a satellite, and changing its algorithms.

import { get, post, put } from "./api.js";
import { useLive, useSettled } from "./live.js";
import { Field, Trouble, useDoing, useFocusOnFault, useId, useTitle } from "./parts.js";
import { html, useEffect, useRef, useState } from "./view.js";
import { placed } from "./problems.js";
import { go, to } from "./router.js";
import { say } from "./toast.js";
import { moment } from "./words.js";

const SUGGESTED = 20;
let rows = 0;

const EMPTY = { algorithm: "", vanity_url: "", replicas: 1 };
const row = (entry) => ({ ...entry, key: ++rows });
const bodyOf = ({ algorithm, vanity_url, replicas }) => ({
  algorithm: algorithm.trim(), vanity_url: vanity_url.trim(), replicas: Number(replicas),
});

export function NewSatellite() {
  useTitle("New satellite");
  const create = async (name, algorithms) => {
    const made = await post("/admin/v1/satellites", { name, algorithms });
    say(`Satellite ${made.name} was made.`);
    go(to("satellites", made.id));
  };
  return html`<${Form} title="New satellite" save="Create satellite" name="" entries=${[EMPTY]} onSave=${create}
    back=${to("satellites")} />`;
}

export function EditSatellite({ satellite, onChange }) {
  useTitle(`Edit ${satellite.name}`);
  const [begun, setBegun] = useState(satellite);
  const back = to("satellites", satellite.id);
  const save = async (name, algorithms) => {
    const same = JSON.stringify(algorithms) === JSON.stringify(begun.algorithms);
    const change = { name, ...(!same && { algorithms }) };
    let saved;
    try {
      saved = await put(`/admin/v1/satellites/${satellite.id}`, change, { "if-match": `"${begun.version}"` });
    } finally {
      onChange();
    }
    const behind = saved.running.filter((one) => one.satellite_version !== saved.version).map((one) => one.name);
    say(
      saved.version === begun.version ? "Saved. The algorithms are as they were."
      : `Saved as version ${saved.version}.${behind.length ? ` Still on an earlier one until deployed again: ${behind.join(", ")}.` : ""}`,
    );
    go(back);
  };
  const note = satellite.version !== begun.version && html`Somebody made version ${satellite.version} meanwhile, so a
    change of version ${begun.version} cannot be saved any more.
    <button type="button" onClick=${() => setBegun(satellite)}>Start over with version ${satellite.version}</button>`;
  return html`<${Form} key=${begun.version} title="Edit algorithms" save="Save changes" name=${begun.name}
    entries=${begun.algorithms} onSave=${save} back=${back} note=${note} />`;
}

function Form({ title, save, name: firstName, entries: firstEntries, onSave, back, note }) {
  const [name, setName] = useState(firstName);
  const [entries, setEntries] = useState(() => firstEntries.map(row));
  const doing = useDoing();
  const form = useRef();
  const wrong = placed(doing.problem);
  useFocusOnFault(form, doing.problem);
  const submit = (event) => {
    event.preventDefault();
    doing.run(() => onSave(name, entries.map(bodyOf)));
  };
  const change = (index, part) => setEntries(entries.map((one, at) => (at === index ? { ...one, ...part } : one)));
  const drop = (index) => {
    setEntries(entries.filter((_, at) => at !== index));
    form.current.querySelector(".add").focus();
  };
  const add = () => setEntries([...entries, { ...row(EMPTY), fresh: true }]);
  return html`<section class="card"><p class="crumb"><a href=${back}>Back</a></p>
    <h1>${title}</h1>
    <form ref=${form} onSubmit=${submit} novalidate>
      ${note && html`<p class="notice" role="status">${note}</p>`}
      <${Field} label="Name" value=${name} maxlength="100" fault=${wrong.fields.name} autofocus=${!firstName} autocomplete="off"
        onInput=${(event) => setName(event.target.value)} />
      ${entries.map((entry, index) => html`<${Entry} key=${entry.key} number=${index + 1} entry=${entry}
        faults=${wrong.entries[index] ?? {}} onChange=${(part) => change(index, part)} onRemove=${() => drop(index)} />`)}
      <p><button type="button" class="add" onClick=${add}>Add an algorithm</button></p>
      <${Trouble} words=${wrong.general.join(" ")} problem=${wrong.general.length ? doing.problem : null} />
      ${doing.problem && !wrong.general.length && html`<p class="notice bad" role="alert">Not saved: see what is marked above.</p>`}
      <div class="actions"><button class="primary" disabled=${doing.busy}>${save}</button>
        <a class="button" href=${back}>Cancel</a></div>
    </form></section>`;
}

function Entry({ number, entry, faults, onChange, onRemove }) {
  const self = useRef();
  useEffect(() => {
    if (entry.fresh) self.current.querySelector("input").focus();
  }, []);
  const typed = (name) => (event) => onChange({ [name]: event.target.value });
  return html`<fieldset class="entry" ref=${self}>
    <legend class="hidden">Algorithm ${number}</legend>
    <${Reference} value=${entry.algorithm} fault=${faults.algorithm} onInput=${typed("algorithm")} />
    <${Field} label="Vanity URL" placeholder="text/tag" value=${entry.vanity_url} fault=${faults.vanity_url} ...${PLAIN}
      onInput=${typed("vanity_url")} />
    <${Field} label="Replicas" type="number" min="1" value=${entry.replicas} fault=${faults.replicas} inputmode="numeric"
      onInput=${typed("replicas")} />
    <button type="button" class="close" aria-label=${`Remove algorithm ${number}`} onClick=${onRemove}>✕</button>
  </fieldset>`;
}

/** An algorithm at a commit, with suggestions: first which algorithm, then which of its builds. */
function Reference({ value, ...more }) {
  const list = useId();
  const wanted = useSettled(value.trim().replace(/^algo:\/\//, ""));
  const live = useLive((signal) => suggestions(wanted, signal), [wanted]);
  return html`<${Field} label="Algorithm" placeholder="OWNER/NAME/HASH" list=${list} value=${value} ...${PLAIN} ...${more} />
    <datalist id=${list}>${live.data?.map((one) => html`<option value=${one.value}>${one.label}</option>`)}</datalist>`;
}

async function suggestions(text, signal) {
  const [owner, name, hash] = text.split("/");
  if (hash === undefined) {
    const asked = new URLSearchParams({ limit: SUGGESTED, ...(text && { q: text }) });
    const found = await get(`/admin/v1/algorithms?${asked}`, signal);
    return found.items.map((one) => ({ value: `${one.owner}/${one.name}/`, label: "choose a build" }));
  }
  if (!owner || !name || hash.length === 40) return [];
  const path = `/v1/algorithms/${encodeURIComponent(owner)}/${encodeURIComponent(name)}/builds?limit=${SUGGESTED}`;
  const { results } = await get(path, signal);
  return results.filter((build) => build.status === "succeeded").map((build) => ({
    value: `${owner}/${name}/${build.commit_sha}`,
    label: [build.version_info?.semantic_version, moment(build.started_at)].filter(Boolean).join(", "),
  }));
}

const PLAIN = { autocomplete: "off", autocapitalize: "none", spellcheck: false };
