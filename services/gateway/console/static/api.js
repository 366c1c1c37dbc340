// The administrators' API. What is refused is thrown as a Problem.

import { problemOf, unreachable } from "./problems.js";
import { token } from "./session.js";

const keys = new Map();

export const get = (path, signal) => ask("GET", path, { signal });
export const put = (path, body, headers) => write("PUT", path, body, headers);
export const patch = (path, body) => write("PATCH", path, body);
export const post = (path, body = {}) => write("POST", path, body);
export const remove = (path) => ask("DELETE", path);

/** A write that is tried again after it got no answer carries the same key, so it is done once. */
async function write(method, path, body, more) {
  const text = JSON.stringify(body);
  const name = `${method} ${path} ${text}`;
  if (!keys.has(name)) keys.set(name, crypto.randomUUID());
  const headers = { ...more, "content-type": "application/json", "idempotency-key": keys.get(name) };
  const answer = await ask(method, path, { body: text, headers });
  keys.delete(name);
  return answer;
}

async function ask(method, path, { headers = {}, ...more } = {}, refused) {
  const bearer = await token(refused);
  const options = { method, credentials: "omit", cache: "no-store", ...more };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers, authorization: `Bearer ${bearer}` } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (answer.status === 401 && refused === undefined) return ask(method, path, { headers, ...more }, bearer);
  if (!answer.ok) throw await problemOf(answer);
  return answer.status === 204 ? null : answer.json();
}
