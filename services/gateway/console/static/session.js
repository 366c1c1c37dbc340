// Who uses the console. It holds an access token of OAuth 2.0 (a code with PKCE, RFC 7636) in memory and nowhere else.
// As long as the browser is signed in, it gets another one without asking anybody: after a reload, and when one is over.

import { Problem, problemOf, unreachable } from "./problems.js";

const CLIENT = "c0115011-0000-4000-8000-000000000001";
const RETURN = "/console/signed-in";
const EARLY = 60_000;

/** Nobody is signed in with this browser. */
export class SignedOut extends Problem {
  constructor() {
    super({ status: 401, detail: "this browser is not signed in any more" });
  }
}

let held = null;
let asking = null;

/** @returns {Promise<{name: string, administers: boolean}>} Raises SignedOut, Problem. */
export async function account() {
  return (await current()).account;
}

/** The access token; another one than `refused`, which the API did not take. Raises SignedOut, Problem. */
export async function token(refused) {
  if (held?.token === refused) held = null;
  return (await current()).token;
}

/** Where people sign in and come back from. */
export const signInPath = (more = "") =>
  `/signin?next=${encodeURIComponent(location.pathname + location.search)}${more}`;

async function current() {
  if (held && held.until - Date.now() > EARLY) return held;
  asking ??= authorize().finally(() => (asking = null));
  const found = await asking;
  if (held && held.account.id !== found.account.id) location.reload();
  return (held = found);
}

async function authorize() {
  if (!crypto.subtle) {
    const detail = "browsers give this page no cryptography over plain HTTP: open it with https://, or on localhost";
    throw new Problem({ detail });
  }
  const verifier = random();
  const state = random();
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const redirect = location.origin + RETURN;
  const asked = new URLSearchParams({
    response_type: "code",
    client_id: CLIENT,
    redirect_uri: redirect,
    scope: "openid profile admin",
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
    prompt: "none",
  });
  const said = await answered(await request(`/o/authorize/?${asked}`), state);
  const form = { grant_type: "authorization_code", client_id: CLIENT, redirect_uri: redirect, code_verifier: verifier };
  const body = new URLSearchParams({ ...form, code: said.get("code") });
  const given = await request("/o/token/", { method: "POST", body });
  if (!given.ok) throw await problemOf(given);
  const answer = await given.json();
  return {
    token: answer.access_token,
    until: Date.now() + answer.expires_in * 1000,
    account: accountOf(answer.id_token),
  };
}

/** What the authorization endpoint sent back: the fetch followed its redirect, which leads to this origin only. */
async function answered(response, state) {
  const back = new URL(response.url);
  if (back.pathname !== RETURN) throw await problemOf(response);
  const error = back.searchParams.get("error");
  if (error === "login_required") throw new SignedOut();
  if (error) throw new Problem({ detail: back.searchParams.get("error_description") || error });
  if (back.searchParams.get("state") !== state) throw new Problem({ detail: "sign-in was answered for another page" });
  return back.searchParams;
}

async function request(path, options = {}) {
  try {
    return await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw unreachable();
  }
}

/** The claims of an id token. It came from the token endpoint itself, so its signature says nothing more. */
function accountOf(idToken) {
  const bytes = Uint8Array.from(atob(idToken.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt());
  const claims = JSON.parse(new TextDecoder().decode(bytes));
  return { id: claims.sub, name: claims.preferred_username, administers: claims.roles.includes("admin") };
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
