// The console: what is in force and a draft of what may be (policy), what slates bring (results), who turned what (history).
import { html, render, useEffect, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, fixed } from "./ask.js";
import { useLatest } from "./latest.js";
import { Policy } from "./policy.js";
import { Results } from "./results.js";
import { Turns } from "./turns.js";

const VIEWS = { policy: "Policy", results: "Results", history: "History" };

function useView() {
  const read = () => (location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "policy");
  const [view, set] = useState(read);
  useEffect(() => {
    const follow = () => set(read());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return view;
}

function App() {
  const [state, error, look] = useLatest("state");
  const [terms, setTerms] = useState(null);
  const [said, say] = useState({ words: "" });
  const view = useView();
  useEffect(() => { ask("terms").then(setTerms, () => {}); }, [error]);
  const shown = state && terms;
  return html`
    <header>
      <h1>Rheostat</h1>
      <nav aria-label="Views">
        ${Object.entries(VIEWS).map(([key, words]) => html`<a href=${"#" + key} aria-current=${key === view ? "page" : null}>${words}</a>`)}
      </nav>
      ${state && html`<p class="facts">
        version <b id="version">${state.version}</b> · ${fixed(state.slates_per_second, 1)} slates/s · ${state.author ? "you are " + state.author : "read only"}
      </p>`}
    </header>
    <p id="problem" role="alert" hidden=${!(error || (state && state.error))}>
      ${error || (state && state.error && `Not following Kafka: ${state.error}. What is shown is of before.`)}
    </p>
    <p id="said" role="status" class=${said.isBad ? "bad" : ""} hidden=${!said.words}>${said.words}</p>
    <main>
      ${!shown && !error && html`<p aria-busy="true">Asking what is in force …</p>`}
      ${shown && html`<${Policy} state=${state} terms=${terms} say=${say} look=${look} isHidden=${view !== "policy"} />`}
      ${shown && view === "results" && html`<${Results} state=${state} terms=${terms} />`}
      ${shown && view === "history" && html`<${Turns} state=${state} say=${say} look=${look} />`}
    </main>`;
}

render(html`<${App} />`, document.body);
