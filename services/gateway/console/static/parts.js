// Parts of pages: notices, fields, dialogs.

import { html, useEffect, useRef, useState } from "./view.js";
import { sentence } from "./problems.js";
import { SignedOut, signInPath } from "./session.js";
import { moment } from "./words.js";

let numbers = 0;

export function useId() {
  const id = useRef("");
  return (id.current ||= `e${++numbers}`);
}

/** The title of the page, which also is read out when one comes to it from another. */
export function useTitle(title) {
  useEffect(() => {
    if (title) document.title = `${title} - Constellation`;
  }, [title]);
}

export function Tag({ tone = "", children }) {
  return html`<span class=${`tag ${tone}`}>${children}</span>`;
}

export function Moment({ at }) {
  return html`<time datetime=${at} title=${at}>${moment(at)}</time>`;
}

/** What went wrong. Nothing while nothing did. */
export function Trouble({ problem, words }) {
  const text = words ?? (problem && sentence(problem.message));
  if (!text) return null;
  return html`<p class="notice bad" role="alert">${text}${
    problem instanceof SignedOut &&
    html` <a href=${signInPath()} target="_blank" rel="noopener">Sign in again</a> in another tab; what is on this page stays.`
  }</p>`;
}

/** A live answer: its problem, or that it is on its way. */
export function Waiting({ live }) {
  if (live.problem) return html`<${Trouble} problem=${live.problem} />`;
  return live.data === undefined ? html`<p class="quiet" role="status">Loading…</p>` : null;
}

/** Text to be copied. */
export function Copy({ label, value, block = false }) {
  const [copied, set] = useState(false);
  const text = useRef();
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      getSelection().selectAllChildren(text.current);
      return;
    }
    set(true);
    setTimeout(() => set(false), 2000);
  };
  return html`<span class=${block ? "copy block" : "copy"}>
    <code ref=${text}>${value}</code>
    <button type="button" class="small" aria-label=${`Copy ${label}`} onClick=${copy}>${copied ? "Copied" : "Copy"}</button>
    <span class="hidden" role="status">${copied ? `${label} copied` : ""}</span>
  </span>`;
}

/** A labelled field with its hint, and what is wrong with it. */
export function Field({ label, hint, fault, as = "input", children, hideLabel = false, ...more }) {
  const id = useId();
  const about = [fault && `${id}-fault`, hint && `${id}-hint`].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${id} class=${hideLabel ? "hidden" : ""}>${label}</label>
    <${as} id=${id} aria-invalid=${fault ? "true" : null} aria-describedby=${about || null} ...${more}>${children}</${as}>
    ${fault && html`<p class="fault" id=${`${id}-fault`}>${fault}</p>`}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** After a refusal, the first field that is wrong is where the person goes on. */
export function useFocusOnFault(form, problem) {
  useEffect(() => {
    if (problem) (form.current.querySelector("[aria-invalid=true]") ?? form.current.querySelector("[role=alert]"))?.focus();
  }, [problem]);
}

/**
 * A modal dialog: the browser keeps the focus within, and afterwards it is where it was.
 * @param {boolean} firm it holds what somebody typed, so a click beside it does not close it.
 */
export function Dialog({ kind, title, onClose, firm = false, children }) {
  const self = useRef();
  const id = useId();
  useEffect(() => {
    const dialog = self.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      (before.isConnected && before !== document.body ? before : document.getElementById("main")).focus();
    };
  }, []);
  const cancel = (event) => {
    if (event.target !== self.current) return;
    event.preventDefault();
    onClose();
  };
  const beside = (event) => {
    if (!firm && event.target === self.current) onClose();
  };
  return html`<dialog class=${kind} ref=${self} aria-labelledby=${id} onCancel=${cancel} onMouseDown=${beside}>
    <div class="inside">
      <div class="head"><h2 id=${id} tabindex="-1" autofocus=${!firm}>${title}</h2>
        <button type="button" class="close" aria-label="Close" onClick=${onClose}>✕</button></div>
      ${children}
    </div>
  </dialog>`;
}

/** Asks before something is done, and says why it could not be. */
export function Confirm({ title, action, danger = false, act, onClose, onDone, ready = true, children }) {
  const doing = useDoing();
  const run = (event) => {
    event.preventDefault();
    doing.run(async () => onDone(await act()));
  };
  return html`<${Dialog} kind="confirm" title=${title} onClose=${onClose}>
    <form onSubmit=${run} novalidate>
      ${children}
      <${Trouble} problem=${doing.problem} />
      <div class="actions">
        <button class=${danger ? "primary bad" : "primary"} disabled=${doing.busy || !ready}>${action}</button>
        <button type="button" onClick=${onClose}>Cancel</button>
      </div>
    </form>
  </${Dialog}>`;
}

/** One thing at a time that may fail. */
export function useDoing() {
  const [state, set] = useState({ busy: false, problem: null });
  const gone = useRef(false);
  useEffect(() => () => (gone.current = true), []);
  const run = async (work) => {
    if (state.busy) return;
    set({ busy: true, problem: null });
    let problem = null;
    try {
      await work();
    } catch (error) {
      problem = error;
    }
    if (!gone.current) set({ busy: false, problem });
  };
  return { ...state, run };
}

/** The search of a list. */
export function Search({ label, value, onInput }) {
  return html`<input class="search" type="search" aria-label=${label} placeholder=${label} value=${value}
    onInput=${(event) => onInput(event.target.value)} />`;
}

/** More of a list that goes on. */
export function More({ page, onMore }) {
  return page?.cursor ? html`<p class="more"><button type="button" onClick=${onMore}>Show more</button></p>` : null;
}
