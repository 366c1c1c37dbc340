// What can be done with a launch instance. Each act says beforehand what it does.

import { get, post, remove } from "./api.js";
import { useLive } from "./live.js";
import { Confirm, Field, Waiting } from "./parts.js";
import { html, useState } from "./view.js";
import { Changes } from "./versions.js";
import { answering, isDeployed, isOrdered, many, readiness } from "./words.js";

/** Asks, and does what `act` names. `onDone(words, gone)` is told what was done, and whether the launch is gone. */
export function Ask({ act, ...more }) {
  return html`<${ACTS[act]} ...${more} path=${`/admin/v1/launches/${more.launch.id}`} />`;
}

function Deploy({ launch, path, onClose, onDone }) {
  const [version, set] = useState(launch.satellite_version);
  const versions = useVersions(launch);
  const serving = answering(launch);
  return html`<${Confirm} title=${`Deploy ${launch.name}?`} action=${`Deploy version ${version}`} onClose=${onClose}
    act=${() => post(`${path}/deploy`, { satellite_version: version })} onDone=${() => onDone(`Version ${version} is being deployed.`)}>
    <${VersionField} label="Satellite version" versions=${versions} value=${version} onChange=${set} />
    <p>${!serving ? "Nothing of it runs yet."
      : serving === version ? "This version runs. Its replicas stay; what is missing is started, with the settings of today."
      : `Version ${serving} answers calls now. Version ${version} takes over one replica at a time, and no call is lost.`}</p>
    <${Difference} versions=${versions} from=${serving} to=${version} />
  </${Confirm}>`;
}

function RollBack({ launch, orders, path, onClose, onDone }) {
  const before = orders.find((one) => one.action === "deploy" && one.satellite_version !== launch.desired.satellite_version);
  const [version, set] = useState(before?.satellite_version);
  const versions = useVersions(launch);
  const others = { ...versions, data: versions.data?.filter((one) => one.version !== launch.desired.satellite_version) };
  return html`<${Confirm} title=${`Roll back ${launch.name}?`} action=${version ? `Roll back to version ${version}` : "Roll back"} ready=${Boolean(version)}
    onClose=${onClose} act=${() => post(`${path}/rollback`, { satellite_version: version })} onDone=${() => onDone(`Version ${version} is being brought back.`)}>
    ${version ? html`<${VersionField} label="Back to version" versions=${others} value=${version} onChange=${set} />
        <p>Version ${launch.desired.satellite_version} gives way one replica at a time, and no call is lost.</p>
        <${Difference} versions=${versions} from=${launch.desired.satellite_version} to=${version} />`
      : html`<p>It was deployed with no other version, so there is nothing to go back to.</p>`}
  </${Confirm}>`;
}

function Promote({ launch, path, onClose, onDone }) {
  const others = useLive((signal) => get(`/admin/v1/satellites/${launch.satellite_id}/launches?limit=200`, signal), [launch.id]);
  const [chosen, set] = useState("");
  const items = others.data?.items.filter((one) => one.id !== launch.id && one.target.kind !== "bundle") ?? [];
  const other = items.find((one) => one.id === chosen);
  const version = launch.desired.satellite_version;
  return html`<${Confirm} title=${`Promote version ${version}?`} action=${other ? `Promote to ${other.name}` : "Promote"} ready=${Boolean(other && isDeployed(launch))} onClose=${onClose}
    act=${() => post(`${path}/promote`, { to: chosen })} onDone=${() => onDone(`Version ${version} is being deployed with ${other.name}.`)}>
    <${Waiting} live=${others} />
    ${!isDeployed(launch) && html`<p class="notice">Only what is deployed is promoted, and version ${version} of ${launch.name} is not.</p>`}
    ${others.data && !items.length ? html`<p>The satellite has no other launch instance that it could go to.</p>`
      : html`<p>The version that runs of ${launch.name} is deployed with another launch instance of the satellite too.</p>
        <${Field} label="To" as="select" value=${chosen} onInput=${(event) => set(event.target.value)}>
          <option value="">Choose a launch instance</option>
          ${items.map((one) => html`<option value=${one.id} selected=${one.id === chosen}>${one.name}${one.running?.serving_version ? ` (version ${one.running.serving_version} runs)` : ""}</option>`)}
        </${Field}>`}
  </${Confirm}>`;
}

function Pause({ launch, path, onClose, onDone }) {
  return html`<${Confirm} title=${`Pause ${launch.name}?`} action="Pause" onClose=${onClose}
    act=${() => post(`${path}/pause`)} onDone=${() => onDone(`${launch.name} is paused.`)}>
    <p>Calls go on, but nothing of it is started or ended until it is resumed: a replica that fails is not replaced.</p>
  </${Confirm}>`;
}

function Stop({ launch, path, onClose, onDone }) {
  const count = launch.running?.desired;
  return html`<${Confirm} title=${`Stop ${launch.name}?`} action="Stop" danger onClose=${onClose}
    act=${() => post(`${path}/stop`)} onDone=${() => onDone(`${launch.name} is being stopped.`)}>
    <p>${count ? `Its ${many(count, "replica")} end, once the calls under way have.` : "All that runs of it ends."} Its addresses answer
      no further call. It can be deployed again.</p>
  </${Confirm}>`;
}

function Remove({ launch, path, onClose, onDone }) {
  const running = isOrdered(launch);
  const [stops, set] = useState(false);
  const act = async () => {
    if (running && stops) await post(`${path}/stop`);
    return remove(path);
  };
  const told = (answer) => onDone(`Launch instance ${launch.name} was removed.${answer.running?.ready && !stops ? " What ran of it still runs." : ""}`, true);
  return html`<${Confirm} title=${`Remove launch instance ${launch.name}?`} action="Remove" danger onClose=${onClose} act=${act} onDone=${told}>
    <p>Its configuration is removed, and cannot be brought back.</p>
    ${running ? html`<p class="notice">Still running: version ${launch.running?.serving_version ?? launch.desired.satellite_version}${
          readiness(launch.running) && `, ${readiness(launch.running)}`}. Removing the launch instance does not end that.</p>
        <label class="choice"><input type="checkbox" checked=${stops} onChange=${(event) => set(event.target.checked)} /><span>Stop what runs, too</span></label>`
      : html`<p>Nothing of it runs.</p>`}
  </${Confirm}>`;
}

function useVersions(launch) {
  const live = useLive((signal) => get(`/admin/v1/satellites/${launch.satellite_id}/versions?limit=200`, signal), [launch.satellite_id]);
  return { ...live, data: live.data?.items };
}

function VersionField({ label, versions, value, onChange }) {
  return html`<${Waiting} live=${versions} /><${Field} label=${label} as="select" value=${value} onInput=${(event) => onChange(Number(event.target.value))}>
    ${(versions.data ?? [{ version: value }]).map((one) => html`<option value=${one.version} selected=${one.version === value}>${one.version}</option>`)}
  </${Field}>`;
}

function Difference({ versions, from, to }) {
  const [before, after] = [from, to].map((number) => versions.data?.find((one) => one.version === number));
  return before && after && from !== to ? html`<${Changes} before=${before} after=${after} />` : null;
}

const ACTS = { deploy: Deploy, rollback: RollBack, promote: Promote, pause: Pause, stop: Stop, remove: Remove };
