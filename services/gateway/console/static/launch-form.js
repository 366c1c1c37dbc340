// Making a launch instance, and changing one.

import { get, patch, post } from "./api.js";
import { useLive } from "./live.js";
import { Dialog, Field, Trouble, useDoing, useFocusOnFault } from "./parts.js";
import { html, useRef, useState } from "./view.js";
import { placed } from "./problems.js";
import { say } from "./toast.js";
import { labelText, many, moment, readLabels } from "./words.js";

const KINDS = [
  ["workers", "Workers", "On the platform's own workers."],
  ["kubernetes", "Kubernetes", "In a namespace of a cluster."],
  ["bundle", "Bundle", "Nowhere yet: fetched, and deployed elsewhere."],
];
const TEXTS = {
  kubernetes: [
    ["namespace", "Namespace", "edge"], ["cluster", "Cluster", "in-cluster"],
    ["fqdn", "Domain", "algorithms.example.org"], ["container_registry", "Container registry", "registry.example.org/edge"],
  ],
};
const DEADLINES = { workers: 600, kubernetes: 900 };

export function LaunchForm({ satellite, launch, onClose, onSaved }) {
  const [draft, set] = useState(() => draftOf(satellite, launch));
  const doing = useDoing();
  const [misread, setMisread] = useState("");
  const form = useRef();
  const versions = useLive((signal) => get(`/admin/v1/satellites/${satellite.id}/versions?limit=200`, signal), [satellite.version]);
  const wrong = placed(doing.problem);
  useFocusOnFault(form, doing.problem);
  const typed = (name) => (event) => set({ ...draft, [name]: event.target.value });
  const submit = (event) => {
    event.preventDefault();
    setMisread("");
    let target;
    try {
      target = targetOf(draft, launch?.target);
    } catch (error) {
      setMisread(error.message);
      form.current.querySelector("[name=labels]").focus();
      return;
    }
    const body = { name: draft.name, satellite_version: Number(draft.version), description: draft.description, target };
    doing.run(async () => {
      const saved = launch ? await patch(`/admin/v1/launches/${launch.id}`, body)
        : await post(`/admin/v1/satellites/${satellite.id}/launches`, body);
      say(launch ? `Launch instance ${saved.name} was saved.` : `Launch instance ${saved.name} was made.`);
      onSaved(saved);
    });
  };
  const numbers = versions.data?.items ?? [{ version: Number(draft.version) }];
  return html`<${Dialog} kind="sheet" firm title=${launch ? `Edit ${launch.name}` : "New launch instance"} onClose=${onClose}>
    <form ref=${form} onSubmit=${submit} novalidate>
      ${launch?.desired?.action === "deploy" && html`<p class="notice">This changes nothing that runs, until the launch instance is deployed again.</p>`}
      <${Field} label="Name" autofocus value=${draft.name} maxlength="100" autocomplete="off" fault=${wrong.fields.name} onInput=${typed("name")} />
      <${Field} label="Satellite version" as="select" value=${draft.version} fault=${wrong.fields.satellite_version} onInput=${typed("version")}>
        ${numbers.map((one) => html`<option value=${one.version} selected=${String(one.version) === String(draft.version)}>${versionWords(one, satellite)}</option>`)}
      </${Field}>
      <${Field} label="Description" as="textarea" rows="3" value=${draft.description} fault=${wrong.fields.description} onInput=${typed("description")} />
      <fieldset class="part"><legend>Where it runs</legend>
        ${KINDS.map(([kind, label, words]) => html`<label class="choice"><input type="radio" name="kind" value=${kind}
          checked=${draft.kind === kind} onChange=${typed("kind")} /><span><b>${label}</b> <span class="quiet">${words}</span></span></label>`)}
        <${Place} draft=${draft} typed=${typed} faults=${wrong.fields} misread=${misread} />
      </fieldset>
      <${Trouble} words=${wrong.general.join(" ")} problem=${wrong.general.length ? doing.problem : null} />
      <div class="actions"><button class="primary" disabled=${doing.busy}>${launch ? "Save changes" : "Create launch instance"}</button>
        <button type="button" onClick=${onClose}>Cancel</button></div>
    </form></${Dialog}>`;
}

function Place({ draft, typed, faults, misread }) {
  const known = useLive((signal) => workerLabels(draft.kind, signal), [draft.kind]);
  const hint = known.data?.length ? `Workers here have: ${known.data.join(", ")}` : "Empty for any worker. Such as region=eu, gpu=yes";
  return html`
    ${draft.kind === "workers" && html`<${Field} label="Only workers with labels" name="labels" value=${draft.labels} autocomplete="off"
      hint=${hint} fault=${misread || faults.labels} onInput=${typed("labels")} />`}
    ${TEXTS[draft.kind]?.map(([name, label, example]) => html`<${Field} key=${name} label=${label} placeholder=${example} value=${draft[name]}
      autocomplete="off" autocapitalize="none" spellcheck=${false} fault=${faults[name]} onInput=${typed(name)} />`)}
    ${draft.kind in DEADLINES && html`<${Field} label="Ready within" type="number" min="10" value=${draft.deadline_seconds} inputmode="numeric"
      placeholder=${DEADLINES[draft.kind]} hint="Seconds. A deployment that takes longer is rolled back." fault=${faults.deadline_seconds}
      onInput=${typed("deadline_seconds")} />`}`;
}

function draftOf(satellite, launch) {
  const target = launch?.target ?? { kind: "workers" };
  const texts = Object.fromEntries(Object.values(TEXTS).flat().map(([name]) => [name, target[name] ?? ""]));
  return {
    name: launch?.name ?? "", version: launch?.satellite_version ?? satellite.version, description: launch?.description ?? "",
    kind: target.kind, labels: labelText(target.labels), deadline_seconds: target.deadline_seconds ?? "", ...texts,
  };
}

/** What is left empty is left to the platform; what this form does not know stays. Throws an Error in words. */
function targetOf(draft, before) {
  const target = { ...(before?.kind === draft.kind ? before : {}), kind: draft.kind };
  if (draft.kind === "workers") target.labels = readLabels(draft.labels);
  for (const [name] of TEXTS[draft.kind] ?? []) give(target, name, draft[name].trim());
  if (draft.kind in DEADLINES) give(target, "deadline_seconds", draft.deadline_seconds === "" ? "" : Number(draft.deadline_seconds));
  return target;
}

function give(target, name, value) {
  if (value === "") delete target[name];
  else target[name] = value;
}

function versionWords(one, satellite) {
  const about = one.algorithms ? `, ${many(one.algorithms.length, "algorithm")}, ${moment(one.created_at)}` : "";
  return `${one.version}${one.version === satellite.version ? " (newest)" : ""}${about}`;
}

async function workerLabels(kind, signal) {
  if (kind !== "workers") return [];
  const { items } = await get("/admin/v1/workers?limit=200", signal);
  return [...new Set(items.flatMap((one) => Object.entries(one.labels).map(([name, value]) => `${name}=${value}`)))].sort();
}
