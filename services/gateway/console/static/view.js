// What pages are made with: Preact, and templates for it in plain JavaScript. Text in them is always text.

import htm from "./htm.js";
import { h } from "./preact.js";

export { render } from "./preact.js";
export { useEffect, useRef, useState } from "./preact-hooks.js";

export const html = htm.bind(h);
