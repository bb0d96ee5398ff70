// An answer that is asked for again and again.
import { useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask } from "./ask.js";

const LOOK_MS = 1000, AGAIN_MS = 3000;

/** Ask for `path` again and again; the newest answer, and why there is none. */
export function useLatest(path, everyMs = LOOK_MS) {
  const [latest, set] = useState({ answer: null, error: null, path: null });
  const again = useRef(() => {});
  useEffect(() => {
    let timer, ended = false;
    async function look() {
      clearTimeout(timer);
      let wait = everyMs;
      try {
        const answer = await ask(path);
        if (!ended) set({ answer, error: null, path });
      } catch (error) {
        if (!ended) set((before) => ({ ...before, error: error.message }));
        wait = Math.max(everyMs, AGAIN_MS);
      }
      clearTimeout(timer);  // of another look, that was asked for meanwhile
      if (!ended) timer = setTimeout(look, wait);
    }
    again.current = look;
    look();
    return () => { ended = true; clearTimeout(timer); };
  }, [path, everyMs]);
  return [latest.path === path ? latest.answer : null, latest.error, () => again.current()];
}
