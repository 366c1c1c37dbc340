// The console: who is there, and which room the address names.

import { html, render, useEffect, useRef, useState } from "./view.js";
import { AllLaunches } from "./launches.js";
import { Trouble } from "./parts.js";
import { followLinks, go, to, useRoute } from "./router.js";
import { NewSatellite } from "./satellite-form.js";
import { SatelliteRoom } from "./satellite.js";
import { Satellites } from "./satellites.js";
import { SignedOut, account, signInPath } from "./session.js";
import { Toast } from "./toast.js";

const ROOMS = [["satellites", "Satellites"], ["launches", "Launch instances"]];

function Console() {
  const [who, set] = useState({});
  const enter = async () => {
    try {
      set({ account: await account() });
    } catch (problem) {
      if (problem instanceof SignedOut) location.replace(signInPath());
      else set({ problem });
    }
  };
  useEffect(() => void enter(), []);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Head} account=${who.account} />
    <main id="main" tabindex="-1">${
      who.problem ? html`<section class="card narrow"><h1>The console cannot be opened</h1>
          <${Trouble} problem=${who.problem} /><button type="button" onClick=${enter}>Try again</button></section>`
      : !who.account ? html`<p class="quiet" role="status">Signing in…</p>`
      : who.account.administers ? html`<${Room} />`
      : html`<${NoEntry} account=${who.account} />`
    }</main>
    <${Toast} />`;
}

function Head({ account }) {
  const [room] = useRoute();
  return html`<header>
    <a class="brand" href="/console/"><img src=${icon} alt="" width="22" height="22" />Constellation</a>
    ${account?.administers && html`<nav aria-label="Rooms">${ROOMS.map(([name, label]) =>
      html`<a href=${to(name)} aria-current=${(room ?? "satellites") === name ? "page" : null}>${label}</a>`)}</nav>`}
    ${account && html`<div class="who"><span>Signed in as <b>${account.name}</b></span>
      <a href="/apps">Your account</a> <a href="/signout">Sign out</a></div>`}
  </header>`;
}

function NoEntry({ account }) {
  return html`<section class="card narrow">
    <h1>For administrators</h1>
    <p>You are signed in as <b>${account.name}</b>, who is no administrator of this platform. Ask one to do what you need,
      or to make you one.</p>
    <p class="actions"><a class="button" href="/apps">Go to your account</a>
      <a class="button" href=${signInPath("&again=true")}>Sign in as somebody else</a></p>
  </section>`;
}

function Room() {
  const route = useRoute();
  const [room = "satellites", id, ...rest] = route;
  useEffect(() => {
    if (room === "signed-in") go(to("satellites"), { replace: true });
  }, [room]);
  usePlace(`${room} ${id}`);
  if (room === "satellites" && !id) return html`<${Satellites} />`;
  if (room === "satellites" && id === "new") return html`<${NewSatellite} />`;
  if (room === "satellites") return html`<${SatelliteRoom} key=${id} id=${id} rest=${rest} />`;
  if (room === "launches") return html`<${AllLaunches} />`;
  return html`<section class="card narrow"><h1>Nothing is here</h1>
    <p>The console has no such page. <a href=${to("satellites")}>Go to the satellites</a></p></section>`;
}

/** In another room one is at its top, with the keyboard too. */
function usePlace(place) {
  const before = useRef(place);
  useEffect(() => {
    if (before.current === place) return;
    before.current = place;
    scrollTo(0, 0);
    if (document.activeElement === document.body) document.getElementById("main").focus();
  }, [place]);
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

const icon = document.querySelector("link[rel=icon]").href;
const root = document.createElement("div");
document.body.append(root);
followLinks(root);
render(html`<${Console} />`, root);
