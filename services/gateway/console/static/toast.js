// What was just done, said once at the foot of the page.

import { html, useEffect, useState } from "./preact.js";

const SECONDS = 6;
let show = () => {};

export const say = (text) => show(text);

export function Toast() {
  const [said, set] = useState({ text: "" });
  show = (text) => set({ text });
  useEffect(() => {
    const timer = setTimeout(() => set({ text: "" }), SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [said]);
  return html`<div class="toast" role="status" aria-live="polite">${said.text && html`<p>${said.text}</p>`}</div>`;
}
