// Who turned what, when and why: every field that a turn changed, and the way back.
import { html, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, change, moment } from "./ask.js";
import { useLatest } from "./latest.js";

const EVERY = "every scope";

export function Turns({ state, say, look }) {
  const [turns, , again] = useLatest("policies", 2000);
  const [scope, setScope] = useState(EVERY);
  const [controllers, setControllers] = useState(false);
  const [pending, setPending] = useState(null);  // what is asked whether it is meant, and of which version that was thought
  const versionOf = (name) => (state.scopes.find((one) => one.scope === name) || { based_on: 0 }).based_on;
  const consider = (what, name) => setPending({ what, based_on: versionOf(name) });
  if (!turns) return html`<p aria-busy="true">Reading the topic policies …</p>`;

  async function act(path, words) {
    setPending(null);
    try {
      const { version } = await ask(path, { based_on: pending.based_on });
      say({ words: words(version) });
    } catch (error) { say({ words: error.message, isBad: true }); }
    look();
    again();
  }
  const back = (turn) => act(`policies/${turn.version}/roll-back`, (version) => `Version ${turn.version} is in force again in ${turn.scope}, as version ${version}.`);
  const remove = (name) => act(`scopes/${encodeURIComponent(name)}/remove`, (version) =>
    name === "global" ? `Version ${version} is no longer in force: the default is, relevance alone.` : `${name} has no policy any more: what it shadowed counts again.`);

  const scopes = [...new Set(turns.filter((turn) => !turn.is_controller).map((turn) => turn.scope))];
  const chosen = turns.filter((turn) => (scope === EVERY || turn.scope === scope) && (controllers || !turn.is_controller));
  const written = state.scopes.filter((one) => one.based_on);
  return html`<section aria-labelledby="turns">
    <h2 id="turns">Who turned what</h2>
    <div class="row">
      <label>Scope <select id="of" onChange=${(event) => setScope(event.target.value)}>
        ${[EVERY, ...scopes].map((name) => html`<option key=${name} value=${name} selected=${name === scope}>${name}</option>`)}
      </select></label>
      <label class="check"><input type="checkbox" checked=${controllers} onChange=${(event) => setControllers(event.target.checked)} /> what the job learn adds to hold constraints</label>
    </div>
    ${!turns.length && html`<p class="empty">Nobody has turned anything yet: the default is in force, relevance alone. Make a draft under <a href="#policy">Policy</a>.</p>`}
    <ol class="turns">
      ${chosen.map((turn) => html`<li key=${turn.scope + turn.version + turn.is_taken_back}>
        <div class="turn">
          <p><b>version ${turn.version}</b> ${turn.scope} ${turn.is_taken_back && "was taken back"}${turn.is_in_force && html`<mark>in force</mark>`}</p>
          <p class="faint">${turn.author}, ${moment(turn.time_ms)}${turn.note && html`: <q>${turn.note}</q>`}</p>
          ${!turn.is_taken_back && html`<ul>${turn.differences.map((one) => html`<li>${change(one)}</li>`)}${!turn.differences.length && html`<li>no field changed</li>`}</ul>`}
        </div>
        ${!turn.is_in_force && !turn.is_controller && !turn.is_taken_back && (pending && pending.what === turn.version
          ? html`<span class="row"><button onClick=${() => back(turn)}>Yes, version ${turn.version} for every shopper</button><button class="secondary outline" onClick=${() => setPending(null)}>No</button></span>`
          : html`<button class="secondary outline" disabled=${!state.author} onClick=${() => consider(turn.version, turn.scope)}>Roll back<span class="hidden"> to version ${turn.version}</span></button>`)}
      </li>`)}
    </ol>
    ${written.length > 0 && html`<h3>Back to the default</h3>
      <p class="faint">A scope that is taken back has what is less specific; the global one has relevance alone.</p>
      <ul class="plain">${written.map(({ scope: name }) => html`<li class="row">
        ${pending && pending.what === name
          ? html`<button onClick=${() => remove(name)}>Yes, take ${name} back</button><button class="secondary outline" onClick=${() => setPending(null)}>No</button>`
          : html`<button class="secondary outline" disabled=${!state.author} onClick=${() => consider(name, name)}>Take back ${name}</button>`}
      </li>`)}</ul>`}
  </section>`;
}
