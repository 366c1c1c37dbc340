// What the platform says, asked again while somebody looks.

import { useEffect, useRef, useState } from "./view.js";

/**
 * The answer of `load(signal)`, kept up to date while the page is visible.
 * @param {Array} keys what the answer depends on: it is asked for at once when one of them changes.
 * @param {number|function} seconds between two questions; 0 asks once. A function is given the last answer.
 * @returns {{data: any, problem: Error|null, reload: function}} `data` is undefined until the first answer, and the last
 * one stays while later questions fail.
 */
export function useLive(load, keys, seconds = 0) {
  const [state, set] = useState({ data: undefined, problem: null });
  const ask = useRef(() => {});
  useEffect(() => {
    const over = new AbortController();
    let timer, under_way = false, wanted = false;
    const run = async () => {
      clearTimeout(timer);
      wanted = under_way;
      if (under_way) return;
      under_way = true;
      let data;
      try {
        data = await load(over.signal);
        if (!over.signal.aborted) set({ data, problem: null });
      } catch (problem) {
        if (!over.signal.aborted) set((before) => ({ ...before, problem }));
      }
      under_way = false;
      if (over.signal.aborted) return;
      const pause = typeof seconds === "function" ? seconds(data) : seconds;
      if (wanted) run();
      else if (pause && !document.hidden) timer = setTimeout(run, pause * 1000);
    };
    const look = () => (document.hidden ? clearTimeout(timer) : run());
    document.addEventListener("visibilitychange", look);
    ask.current = run;
    run();
    return () => {
      over.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, keys);
  return { ...state, reload: () => ask.current() };
}

/** A value once it has not changed for a moment: of a field that is typed into. */
export function useSettled(value, milliseconds = 250) {
  const [settled, set] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => set(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
