// What slates bring: figures over a chosen time, constraints and how they stand, experiments beside their control.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, fixed, moment, percent } from "./ask.js";
import { useLatest } from "./latest.js";
import { bounds } from "./policy.js";

const SPANS = { 60: "the last minute", 300: "the last 5 minutes", 900: "the last 15 minutes", 3600: "the last hour" };
const FIGURES = [
  ["clicks", "clicks of a slate that was looked at", percent, (x) => percent(x, 0)],
  ["purchases", "purchases of one", percent, (x) => percent(x, 0)],
  ["revenue", "revenue of one: price times margin", (x) => fixed(x, 3), (x) => fixed(x, 2)],
  ["explored", "of the places explore", percent, (x) => percent(x, 0)],
];
const EVERY = "every surface";

export function Results({ state, terms }) {
  const [seconds, setSeconds] = useState(300);
  const [surface, setSurface] = useState(EVERY);
  const [figures] = useLatest(`figures?seconds=${seconds}&surface=${surface === EVERY ? "" : encodeURIComponent(surface)}`, 2000);
  return html`<section aria-labelledby="figures">
      <h2 id="figures">What slates bring</h2>
      <div class="row">
        <label>Time <select id="span" onChange=${(event) => setSeconds(+event.target.value)}>
          ${Object.entries(SPANS).map(([value, words]) => html`<option value=${value} selected=${+value === seconds}>${words}</option>`)}
        </select></label>
        <label>Surface <select id="surface" onChange=${(event) => setSurface(event.target.value)}>
          ${[EVERY, ...state.surfaces].map((name) => html`<option key=${name} value=${name} selected=${name === surface}>${name}</option>`)}
        </select></label>
      </div>
      ${!figures && html`<p aria-busy="true">Counting …</p>`}
      ${figures && html`
        <p class="faint">${figures.slates} slates, ${figures.seen} looked at for the first time${figures.covered_s < figures.seconds ? `; the console counts since ${figures.covered_s} s` : ""}. Longer times are in Grafana.</p>
        ${!figures.slates && html`<p class="empty">No slate in this time. <code>rheostat watch</code> says what comes in.</p>`}
        <div class="tiles">${FIGURES.map(([name, words, said, tick]) => html`<div class="tile">
          <b id=${"figure-" + name}>${said(figures.rates[name])}</b> <span>${words}</span>
          <${Curve} times=${figures.times_s} values=${figures.curves[name]} said=${said} tick=${tick} words=${words} />
        </div>`)}</div>
        <${Fallbacks} fallbacks=${figures.fallbacks} slates=${figures.slates} terms=${terms} />`}
    </section>
    <${Constraints} />
    <${Experiments} state=${state} />`;
}

function Curve({ times, values, said, tick, words }) {
  const at = useRef(null), plot = useRef(null);
  useEffect(() => {
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--pico-muted-color");
    const axis = { stroke: ink, grid: { show: false }, ticks: { stroke: ink }, font: "12px system-ui" };
    plot.current = new uPlot({
      width: at.current.clientWidth, height: 150, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.15 : 1] } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((at) => new Date(1000 * at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [{}, { stroke: style.getPropertyValue("--pico-primary"), width: 2, spanGaps: false, points: { show: true, size: 4 } }],
    }, [times, values], at.current);
    const fit = new ResizeObserver(() => plot.current.setSize({ width: at.current.clientWidth, height: 150 }));
    fit.observe(at.current);
    return () => { fit.disconnect(); plot.current.destroy(); };
  }, []);
  useEffect(() => plot.current && plot.current.setData([times, values]), [times, values]);
  const known = values.filter((value) => value !== null);
  const range = known.length ? `from ${said(Math.min(...known))} to ${said(Math.max(...known))}` : "nothing yet";
  return html`<div class="curve" ref=${at} role="img" aria-label=${`${words}: ${range}`} />`;
}

function Fallbacks({ fallbacks, slates, terms }) {
  const list = Object.entries(fallbacks);
  if (!list.length) return null;
  return html`<h3>Whose slates they are</h3><ul class="plain" id="fallbacks">
    ${list.map(([name, count]) => html`<li data-fallback=${name}><b>${percent(count / slates)}</b> ${terms.fallbacks[name]}</li>`)}
  </ul>`;
}

function Constraints() {
  const [constraints, error] = useLatest("constraints", 3000);
  const stands = (one) =>
    one.problem ? "state unknown" : one.violated_percent === null || one.violated_percent === undefined ? "not measured yet" : one.violated_percent > 0 ? `violated by ${fixed(one.violated_percent, 1)} %` : "held";
  return html`<section aria-labelledby="constraints">
    <h2 id="constraints">Constraints</h2>
    ${error && html`<p class="bad" role="alert">${error}</p>`}
    ${constraints && !constraints.length && html`<p class="empty">No policy has a constraint. One holds a floor or a ceiling by turning a weight: docs/policy.md, <code>constraints</code>.</p>`}
    ${constraints && constraints.some((one) => one.problem) && html`<p class="hint">${constraints[0].problem}</p>`}
    ${constraints && constraints.length > 0 && html`<div class="wide"><table><thead><tr><th>Scope</th><th>Name</th><th>To be held</th><th>State</th><th>Added to the weight</th></tr></thead><tbody>
      ${constraints.map((one) => html`<tr key=${one.scope + one.name}><td>${one.scope}</td><td>${one.name}</td><td>${bounds(one)}</td>
        <td class=${one.violated_percent > 0 ? "bad" : ""}>${stands(one)}</td><td>${(one.added < 0 ? "" : "+") + fixed(one.added)}</td></tr>`)}
    </tbody></table></div>`}
  </section>`;
}

function Experiments({ state }) {
  const names = state.scopes.filter((one) => one.scope.startsWith("experiment:"));
  return html`<section aria-labelledby="experiments">
    <h2 id="experiments">Experiments</h2>
    ${!names.length && html`<p class="empty">None is in force. Begin one under <a href="#policy">Policy</a>: a new scope, for a share of the shoppers.</p>`}
    ${names.map((one) => html`<${Experiment} key=${one.scope} scope=${one} />`)}
  </section>`;
}

function Experiment({ scope }) {
  const [windowS, setWindowS] = useState(1800);
  const [stands, setStands] = useState(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const name = scope.scope.slice("experiment:".length);
  async function compare(event) {
    event.preventDefault();
    setBusy(true);
    try {
      setStands(await ask(`experiments/${encodeURIComponent(name)}?window_s=${windowS}`));
      setProblem("");
    } catch (error) { setProblem(error.message); }
    setBusy(false);
  }
  return html`<article class="experiment" data-experiment=${name}>
    <p><b>${name}</b>, for ${percent(scope.policy.share, 0)} of the shoppers, since ${moment(scope.time_ms)}</p>
    <form class="row" onSubmit=${compare}>
      <label>What counts, s from a shopper's first slate <input type="number" min="1" value=${windowS} onInput=${(event) => setWindowS(+event.target.value)} /></label>
      <button aria-busy=${busy} disabled=${busy}>Compare</button>
    </form>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    ${stands && html`
      <div class="wide"><table><thead><tr><th>Of a slate</th><th>Control<br /><small>${stands.control} shoppers</small></th><th>Experiment<br /><small>${stands.treated} shoppers</small></th><th>Difference</th><th>Verdict</th></tr></thead><tbody>
        ${Object.entries(stands.rewards).map(([reward, of]) => html`<tr key=${reward}><td>${reward}</td><td>${fixed(of.control, 4)}</td><td>${fixed(of.treated, 4)}</td>
          <td>${of.difference[0] === null ? "–" : (of.difference[0] < 0 ? "" : "+") + fixed(of.difference[0], 4)}${of.difference[2] !== null && of.difference[0] !== null ? ` ± ${fixed(of.difference[2] - of.difference[0], 4)}` : ""}</td>
          <td><b>${of.verdict}</b></td></tr>`)}
      </tbody></table></div>
      <p class="faint">${percent(stands.confidence, 0)} intervals that hold whenever one looks, from 100 shoppers of each on; a shopper counts once its ${stands.window_s} s are over.${stands.suspicious_prices ? ` ${stands.suspicious_prices} places were sold at a price that no other comes near: no revenue of theirs counts.` : ""}</p>`}
  </article>`;
}
