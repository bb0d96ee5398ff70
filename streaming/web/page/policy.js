// What is in force in a scope, and a draft of what may be: it counts for nobody until it is published.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, change, fixed, moment, percent } from "./ask.js";
import { inMs, local, Rules, Times } from "./rules.js";
import { Slates } from "./slates.js";

const NEW = "a new scope …", READ_ONLY = "Read only: open the link with the token that `rheostat console` has printed.";
const AT_HAND = ["relevance", "conversion", "revenue", "novelty"];
const KINDS = {
  surface: ["Where slates are shown", "home"],
  segment: ["Shoppers of whom a condition holds", "new-shoppers"],
  campaign: ["A surface, for a time", "advent"],
  experiment: ["A share of the shoppers, beside all others", "bold"],
  merchant: ["A merchant's items, whatever the slate's policy is", "acme"],
};

/** The path of a field; the name of an objective may have a dot. */
const path = (field) => (field.startsWith("weights.") ? ["weights", field.slice("weights.".length)] : field.split("."));
const at = (policy, field) => path(field).reduce((value, name) => (value === undefined || value === null ? undefined : value[name]), policy);

function turned(policy, field, value) {
  const copy = structuredClone(policy), names = path(field), last = names.pop();
  let into = copy;
  for (const name of names) into = into[name] ??= {};
  into[last] = value;
  return copy;
}

export function Policy({ state, terms, say, look, isHidden }) {
  const [name, setName] = useState("global");
  const [draft, setDraft] = useState(null);  // {policy, based_on, scope}
  const [preview, setPreview] = useState(null);  // what the draft differs in and does
  const [begins, setBegins] = useState(false);
  const [chosen, setChosen] = useState([]);  // whose slates are shown, as shopper and surface; none: the newest
  const [isAsking, setAsking] = useState(false);  // for what takes the draft's place: nothing is turned meanwhile
  const current = state.scopes.find((one) => one.scope === name);
  useEffect(() => { if (!current && !draft) setName("global"); }, [current, draft]);
  const shown = draft ? draft.scope : current;
  if (!shown) return null;
  const moved = draft && current && current.based_on !== draft.based_on;

  function turn(field, value) {
    const of = draft || { scope: current, policy: current.policy, based_on: current.based_on };
    setDraft({ ...of, policy: turned(of.policy, field, value) });
  }
  function decide(item, rule) {
    const kind = rule.hide ? "hide" : rule.pin ? "pin" : "boost", rules = (draft || current).policy.rules || {};
    turn("rules", { ...rules, [`${kind} ${item.item_id}`]: { items: [item.item_id], ...rule } });
  }
  function discard() {
    setDraft(null);
    setPreview(null);
    say({ words: "" });
  }
  async function asking(work) {
    setAsking(true);
    try { await work(); } catch (error) { say({ words: error.message, isBad: true }); }
    setAsking(false);
  }
  function publish(note) {
    return asking(async () => {
      const { version } = await ask("policies", { policy: draft.policy, based_on: draft.based_on, note });
      await look();
      discard();
      say({ words: `Version ${version} is in force for the next slates.` });
    });
  }
  function begin(scope, more, standsIn) {
    return asking(async () => {
      const begun = await ask("scopes/" + encodeURIComponent(scope));
      if (standsIn) {  // a campaign begins with the policy of its surface, but for the constraints, which are held there
        const { policy, begins_with } = await ask("scopes/" + encodeURIComponent(standsIn));
        begun.policy = { ...policy, scope, constraints: {} };
        begun.begins_with = begins_with || standsIn;
      }
      if (begun.based_on) throw new Error(`${scope} has a policy already: choose it in the list.`);
      setName(scope);
      setBegins(false);
      setDraft({ scope: begun, based_on: 0, policy: { ...begun.policy, ...more } });
      say({ words: "" });
    });
  }

  return html`<div class="policy" hidden=${isHidden} inert=${isAsking}>
    <section aria-labelledby="what">
      <h2 id="what">What slates aim at</h2>
      <${ScopeChoice} state=${state} name=${name} isLocked=${Boolean(draft)} begins=${begins}
        choose=${(chosen) => { setBegins(chosen === NEW); if (chosen !== NEW) setName(chosen); }} />
      ${begins && html`<${NewScope} state=${state} isAsking=${isAsking} begin=${begin} cancel=${() => setBegins(false)} />`}
      <p class="faint">
        ${shown.based_on ? `Version ${shown.based_on}, by ${shown.author}, ${moment(shown.time_ms)}` : shown.begins_with ? `No policy yet: it begins with that of ${shown.begins_with}.` : "The default: nobody has turned it."}
        ${shown.note && html`: <q>${shown.note}</q>`}
      </p>
      ${!shown.is_known && html`<p class="hint">No app is known to ask for this surface: slates of it are refused until this policy is published, and come only if an app asks for them.</p>`}
      ${shown.instead.length > 0 && html`<p class="hint" id="instead">These count instead of it, where they apply: ${shown.instead.join(", ")}</p>`}
      <${Conditions} policy=${(draft || shown).policy} turn=${turn} />
      <${Sliders} scope=${shown} policy=${(draft || shown).policy} terms=${terms} turn=${turn} />
      ${!shown.scope.startsWith("merchant:") && html`<${Rules} policy=${(draft || shown).policy} setRules=${(rules) => turn("rules", rules)} />`}
      <${Others} policy=${(draft || shown).policy} />
      <${AsText} policy=${(draft || shown).policy} setPolicy=${(policy) => setDraft({ ...(draft || { scope: current, based_on: current.based_on }), policy })} />
    </section>
    <div>
      ${draft && html`<${Draft} draft=${draft} preview=${preview} moved=${moved && current} canWrite=${Boolean(state.author)} isAsking=${isAsking} asksLog=${state.asks_log} publish=${publish} discard=${discard} show=${(one) => setChosen([one])} />`}
      <${Slates} state=${state} terms=${terms} policy=${draft && draft.policy} chosen=${chosen} setChosen=${setChosen} decide=${shown.scope.startsWith("merchant:") ? null : decide} onPreview=${setPreview} isHidden=${isHidden} />
    </div>
  </div>`;
}

function ScopeChoice({ state, name, isLocked, begins, choose }) {
  return html`<label>Scope
    <select id="scope" disabled=${isLocked} title=${isLocked ? "Publish or discard the draft first." : ""} onChange=${(event) => choose(event.target.value)}>
      ${[...new Set([...state.scopes.map((one) => one.scope), name])].map((scope) => html`<option key=${scope} value=${scope} selected=${!begins && scope === name}>${scope}</option>`)}
      <option value=${NEW} selected=${begins}>${NEW}</option>
    </select>
  </label>`;
}

function NewScope({ state, isAsking, begin, cancel }) {
  const [kind, setKind] = useState("surface");
  const [name, setName] = useState("");
  const [when, setWhen] = useState("session.evidence < 5");
  const [share, setShare] = useState(0.5);
  const [surface, setSurface] = useState(state.surfaces.includes("home") ? "home" : state.surfaces[0]);
  const [starts, setStarts] = useState("");
  const [ends, setEnds] = useState("");
  const is_of = { segment: { when }, experiment: { share }, campaign: { when: `session.surface == '${surface}'` } }[kind] || {};
  const times = kind === "campaign" || kind === "experiment" ? { starts_time_ms: inMs(starts), ends_time_ms: inMs(ends) } : {};
  function submit(event) {
    event.preventDefault();
    begin(`${kind === "campaign" ? "segment" : kind}:${name.trim()}`, { ...is_of, ...times }, kind === "campaign" ? "surface:" + surface : null);
  }
  return html`<form class="new" onSubmit=${submit} aria-label="A new scope">
    <label>For <select id="kind" onChange=${(event) => setKind(event.target.value)}>
      ${Object.entries(KINDS).map(([key, [words]]) => html`<option value=${key} selected=${key === kind}>${words}</option>`)}
    </select></label>
    <label>${kind === "surface" ? "Surface" : "Name"} <input id="name" required maxlength="200" value=${name} placeholder=${KINDS[kind][1]} list=${kind === "surface" ? "surfaces" : null} onInput=${(event) => setName(event.target.value)} /></label>
    <datalist id="surfaces">${state.surfaces.map((surface) => html`<option value=${surface} />`)}</datalist>
    ${kind === "segment" && html`<label>Where <input id="when" required value=${when} onInput=${(event) => setWhen(event.target.value)} /></label>`}
    ${kind === "campaign" && html`<label>Surface <select id="campaign-surface" onChange=${(event) => setSurface(event.target.value)}>
      ${state.surfaces.map((one) => html`<option value=${one} selected=${one === surface}>${one}</option>`)}
    </select></label>`}
    ${(kind === "campaign" || kind === "experiment") && html`<${Times} starts=${starts} ends=${ends} setStarts=${setStarts} setEnds=${setEnds} />`}
    ${kind === "experiment" && html`<label>Share of the shoppers <input id="share" type="number" min="0.01" max="0.99" step="0.01" value=${share} onInput=${(event) => setShare(+event.target.value)} /></label>`}
    <div class="row"><button aria-busy=${isAsking} disabled=${isAsking}>Begin a draft</button><button type="button" class="secondary outline" onClick=${cancel}>Cancel</button></div>
  </form>`;
}

function Conditions({ policy, turn }) {
  const hasTimes = policy.starts_time_ms || policy.ends_time_ms;
  return html`
    ${hasTimes && html`<${Times} starts=${local(policy.starts_time_ms)} ends=${local(policy.ends_time_ms)}
      setStarts=${(text) => turn("starts_time_ms", inMs(text))} setEnds=${(text) => turn("ends_time_ms", inMs(text))} />`}
    ${policy.when !== null && policy.when !== undefined && html`<label>Where <${Typed} id="when" value=${policy.when} onTyped=${(text) => turn("when", text)} /></label>`}
    ${policy.share !== null && policy.share !== undefined && html`<label>Share of the shoppers <${Typed} id="share" type="number" min="0.01" max="0.99" step="0.01" value=${policy.share} onTyped=${(text) => turn("share", +text)} /></label>`}`;
}

function Sliders({ scope, policy, terms, turn }) {
  const known = new Map(terms.weights.map((term) => [term[1], term]));
  const own = scope.objectives.filter((name) => !known.has(name));
  const weights = [...terms.weights, ...own.map((name) => ["weights." + name, name, "average items", 2, 0.05, terms.own + " " + policy.objectives[name]?.expression])];
  const isMerchant = scope.scope.startsWith("merchant:"), isWide = matchMedia("(min-width: 801px)").matches;
  const slider = (term) => html`<${Slider} key=${term[0]} term=${term} value=${at(policy, term[0]) ?? 0} turn=${turn} />`;
  // Which are at hand is of what is in force: a slider does not move away while it is turned.
  const isAtHand = ([field, label]) => AT_HAND.includes(label) || own.includes(label) || at(scope.policy, field) > 0;
  return html`
    <h3>Weights, in average items</h3>
    ${weights.filter(isAtHand).map(slider)}
    <details><summary>More weights</summary>${weights.filter((term) => !isAtHand(term)).map(slider)}</details>
    ${!isMerchant && html`<details open=${isWide}><summary>Order and exploration</summary>${terms.others.map(slider)}</details>`}`;
}

/** A field that is typed into: what is half typed stays, however often the page is drawn meanwhile. */
function Typed({ value, onTyped, ...attributes }) {
  const [text, setText] = useState(null);
  const done = () => { if (text !== null) onTyped(text); setText(null); };
  return html`<input ...${attributes} value=${text ?? value} onInput=${(event) => setText(event.target.value)} onBlur=${done}
    onKeyDown=${(event) => { if (event.key === "Enter") { event.preventDefault(); done(); } }} />`;
}

function Slider({ term: [field, label, unit, most, step, help], value, turn }) {
  const id = "turn-" + field, part = field.replace("weights.", "");
  return html`<div class="slider">
    <label for=${id}><i class=${"part part-" + part} hidden=${!field.startsWith("weights.")} />${label}${!field.startsWith("weights.") && html`<small>${unit}</small>`}</label>
    <button type="button" class="help" popovertarget=${"help-" + field} aria-label=${"What is " + label + "?"}>?</button>
    <${Typed} type="number" class="exact" min="0" max="100" step="any" aria-label=${label + ", exactly"} value=${+value.toFixed(4)} onTyped=${(text) => text !== "" && turn(field, +text)} />
    <input type="range" id=${id} min="0" max=${Math.max(most, value)} step=${step} value=${value}
      onInput=${(event) => turn(field, +event.target.value)} />
    <div id=${"help-" + field} popover="auto" role="tooltip">${help}</div>
  </div>`;
}

function Others({ policy }) {
  const objectives = Object.entries(policy.objectives || {}), constraints = Object.entries(policy.constraints || {});
  const places = policy.sponsored?.places || [];
  if (!objectives.length && !constraints.length && !places.length) return null;
  return html`<h3>Also in this policy</h3><ul class="plain">
    ${objectives.map(([name, { expression }]) => html`<li>${name}: <code>${expression}</code></li>`)}
    ${constraints.map(([name, one]) => html`<li>${name}: ${bounds(one)}</li>`)}
    ${places.length > 0 && html`<li>for sale: ${places.length > 10 ? places.length + " places" : "places " + places.join(", ")}, from ${policy.sponsored.reserve} a thousand looks</li>`}
  </ul><p class="faint">They are turned as text, below or in a file: <code>rheostat policy set FILE</code>.</p>`;
}

/** The whole policy as YAML: what has no slider, such as constraints and objectives of one's own. */
function AsText({ policy, setPolicy }) {
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState(null);
  const [problem, setProblem] = useState("");
  const read = useRef(null);  // the text as it was read: what has been written into it since is not overwritten
  const of = policy.scope;
  useEffect(() => {
    if (!isOpen || text !== read.current) return;
    ask("text", { policy }).then((answer) => { read.current = answer.text; setText(answer.text); setProblem(""); }, (error) => setProblem(error.message));
  }, [isOpen, JSON.stringify(policy)]);
  function open(event) {
    setOpen(event.target.open);
    if (!event.target.open) { read.current = null; setText(null); setProblem(""); }
  }
  async function take() {
    try {
      const answer = await ask("parsed", { text });
      if (answer.policy.scope !== of) throw new Error(`scope: this draft is of ${of}; begin another for ${answer.policy.scope}.`);
      read.current = text;
      setPolicy(answer.policy);
      setProblem("");
    } catch (error) { setProblem(error.message); }
  }
  return html`<details id="as-text" onToggle=${open}><summary>All of it as text</summary>
    <textarea aria-label="Policy as YAML" rows="12" spellcheck=${false} value=${text ?? ""} onInput=${(event) => setText(event.target.value)} />
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    <button type="button" disabled=${text === null} onClick=${take}>Into the draft</button>
  </details>`;
}

export function bounds({ measure, merchant, at_least, at_most }) {
  const low = at_least === null ? "" : ` at least ${at_least}`, high = at_most === null ? "" : ` at most ${at_most}`;
  return measure + (merchant ? " of " + merchant : "") + low + (low && high ? "," : "") + high;
}

function Draft({ draft, preview, moved, canWrite, isAsking, asksLog, publish, discard, show }) {
  const [note, setNote] = useState("");
  const differences = (preview && preview.differences) || [];
  const problem = preview && preview.problem;
  function submit(event) {
    event.preventDefault();
    publish(note);
  }
  return html`<form id="draft" onSubmit=${submit} aria-label="Draft">
    <h2>Draft of ${draft.policy.scope || draft.scope.scope}, in force for nobody</h2>
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    ${moved && html`<p class="bad" role="alert">${moved.author || "Somebody"} has turned ${moved.scope} meanwhile${moved.based_on ? ` (version ${moved.based_on})` : ""}: discard the draft to see what is in force.</p>`}
    ${!problem && html`<ul id="difference">${differences.map((one) => html`<li>${change(one)}</li>`)}</ul>`}
    ${!problem && preview && !differences.length && html`<p class="faint">It does not differ from what is in force.</p>`}
    ${!problem && preview && (preview.not_on_sale || []).length > 0 && html`<p class="hint">Not on sale, so rules do nothing with them: ${preview.not_on_sale.join(", ")}</p>`}
    ${!problem && preview && preview.effect && html`<${Effect} effect=${preview.effect} scope=${draft.scope.scope} show=${show} />`}
    ${!problem && asksLog && html`<${Log} policy=${draft.policy} />`}
    ${!canWrite && html`<p class="hint">${READ_ONLY}</p>`}
    <div class="row">
      <input id="note" maxlength="500" placeholder="Why, for the history" aria-label="Note" value=${note} onInput=${(event) => setNote(event.target.value)} />
      <button aria-busy=${isAsking} disabled=${!canWrite || isAsking || Boolean(problem) || (!differences.length && draft.based_on > 0)}>Publish</button>
      <button type="button" class="secondary outline" onClick=${discard}>Discard</button>
    </div>
  </form>`;
}

/** What the log of what was shown says of the draft: would it have brought more? */
function Log({ policy }) {
  const [said, setSaid] = useState(null);
  const [busy, setBusy] = useState(false);
  const asked = JSON.stringify(policy);
  async function askLog() {
    setBusy(true);
    try {
      setSaid({ of: asked, ...(await ask("evaluation", { policy })) });
    } catch (error) { setSaid({ of: asked, refusal: error.message }); }
    setBusy(false);
  }
  return html`<div id="log">
    ${said && said.of === asked && html`<p>${said.verdict}</p>${said.refusal && html`<p class="bad">${said.refusal}</p>`}`}
    <p><button type="button" class="link" aria-busy=${busy} disabled=${busy} onClick=${askLog}>Ask the log what it would have brought</button></p>
  </div>`;
}

function Effect({ effect, scope, show }) {
  if (!effect.slates) return html`<p class="faint">No slate has come yet that it could be tried on.</p>`;
  const { before, after } = effect;
  return html`<div id="effect">
    <p>Of the newest ${effect.slates} slates it weighs ${effect.weighed}; ${effect.changed} would change, with ${percent(effect.replaced)} of their items replaced.
      ${!effect.weighed && ` The others are weighed by another scope than ${scope}: no slate that came lately is for it.`}
      ${effect.changes && html` <button type="button" class="link" onClick=${() => show(effect.changes)}>Show one that changes</button>`}</p>
    <dl class="means">
      ${[["P(clicked), as the model has it", percent(before.predicted), percent(after.predicted)], ["price", fixed(before.price), fixed(after.price)], ["price times margin", fixed(before.margin), fixed(after.margin)]]
        .map(([words, was, would]) => html`<div><dt>${words}, of an item</dt><dd>${was} → <b>${would}</b></dd></div>`)}
    </dl>
  </div>`;
}
