// Rooms by address: links are plain links, and those to the console are followed without loading the page anew.

import { useEffect, useState } from "./view.js";

const HOME = "/console/";
const listeners = new Set();

export const to = (...parts) => HOME + parts.map(encodeURIComponent).join("/");

export function go(path, { replace = false } = {}) {
  if (path === location.pathname) return;
  history[replace ? "replaceState" : "pushState"](null, "", path);
  listeners.forEach((tell) => tell());
}

/** The parts of the address below `/console/`. */
export function useRoute() {
  const [path, set] = useState(location.pathname);
  useEffect(() => {
    const tell = () => set(location.pathname);
    listeners.add(tell);
    addEventListener("popstate", tell);
    return () => {
      listeners.delete(tell);
      removeEventListener("popstate", tell);
    };
  }, []);
  return path.slice(HOME.length).split("/").filter(Boolean).map(decoded);
}

/** Follow links to the console that are clicked below an element. */
export function followLinks(root) {
  root.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const other = event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (!link || other || link.target || link.origin !== location.origin || !link.pathname.startsWith(HOME)) return;
    event.preventDefault();
    go(link.pathname);
  });
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
