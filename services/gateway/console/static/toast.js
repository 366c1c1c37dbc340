// What was just done, said once at the foot of the page.

import { html, useEffect, useRef, useState } from "./view.js";

const SECONDS = 6;
let show = () => {};

export const say = (text) => show(text);

/** A popover, so that it is above dialogs too. */
export function Toast() {
  const [said, set] = useState(null);
  const self = useRef();
  show = (text) => set({ text });
  useEffect(() => {
    self.current.hidePopover();
    if (!said) return;
    self.current.showPopover();
    const timer = setTimeout(() => set(null), SECONDS * 1000);
    return () => clearTimeout(timer);
  }, [said]);
  return html`<div class="toast" popover="manual" role="status" aria-live="polite" ref=${self}>${said?.text}</div>`;
}
