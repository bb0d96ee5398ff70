// Real shoppers' newest slates: as they are under what is in force, or as a draft would draw them.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, clock, fixed, percent } from "./ask.js";

const AT_MOST = 3, LOOK_MS = 1000;
const NEWEST = "newest";
const ORDER = ["relevance", "conversion", "revenue", "novelty", "popularity", "match", "complement", "bid", "exposure"];
const inOrder = ([one], [other]) => (ORDER.indexOf(one) + 1 || 99) - (ORDER.indexOf(other) + 1 || 99);
const key = ({ shopper_id, surface }) => shopper_id + " " + surface;

export function Slates({ state, terms, policy, chosen, setChosen, decide, onPreview, isHidden }) {
  const [search, setSearch] = useState("");
  const [found, setFound] = useState(null);
  const [slates, setSlates] = useState(null);
  const [problem, setProblem] = useState("");
  const [pending, setPending] = useState(false);
  const mine = useRef(0), held = useRef([]);

  async function look() {
    const asked = ++mine.current;
    setPending(true);
    try {
      const listed = await ask("shoppers?search=" + encodeURIComponent(search));
      // While there is a draft its slates stay: another one each second could not be compared.
      const of = chosen.length ? chosen : policy && held.current.length ? held.current : listed.shoppers.slice(0, 1);
      const answer = await ask("slates", { of: of.map((one) => [one.shopper_id, one.surface]), policy });
      if (asked !== mine.current) return;
      held.current = of;
      setFound(listed);
      setSlates({ list: answer.slates, isDraft: Boolean(policy), scope: policy && policy.scope });
      setProblem("");
      onPreview(policy ? answer : null);
    } catch (error) {
      if (asked !== mine.current) return;
      if (policy && error.status === 400) onPreview({ problem: error.message });
      else if (error.status) setProblem(error.message);
    }
    if (asked === mine.current) setPending(false);
  }
  useEffect(() => {
    if (isHidden) return undefined;
    look();
    const timer = policy ? 0 : setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }, [JSON.stringify(policy), search, chosen, isHidden, state.version]);

  const choose = (one) => setChosen((before) => [one, ...before.filter((other) => key(other) !== key(one))].slice(0, AT_MOST));
  return html`<section aria-labelledby="slates">
    <h2 id="slates">Shoppers' slates, ${slates && slates.isDraft ? html`<em id="under">as they would be</em>` : html`<span id="under">as they are</span>`}</h2>
    <form role="search" onSubmit=${(event) => event.preventDefault()}>
      <input type="search" id="search" value=${search} placeholder="A shopper, a surface, or what was looked at" aria-label="Search shoppers" onInput=${(event) => setSearch(event.target.value)} />
    </form>
    ${found && html`<ul class="row shoppers" aria-label="Shoppers">
      <li><button type="button" class=${chosen.length ? "secondary outline" : ""} aria-pressed=${!chosen.length} onClick=${() => setChosen([])}>${NEWEST}</button></li>
      ${[...chosen, ...found.shoppers.filter((one) => !chosen.some((other) => key(other) === key(one)))].slice(0, search ? 20 : 6).map((one) => html`
        <li key=${key(one)}><button type="button" class=${chosen.some((other) => key(other) === key(one)) ? "" : "secondary outline"}
          aria-pressed=${chosen.some((other) => key(other) === key(one))} title=${(one.session || []).join(" → ")}
          onClick=${() => (chosen.some((other) => key(other) === key(one)) ? setChosen(chosen.filter((other) => key(other) !== key(one))) : choose(one))}>
          ${one.shopper_id} <span>${one.surface}</span></button></li>`)}
      <li class="faint">${search ? `${found.matching} of ${found.of} match` : `${found.of} had slates lately`}; up to ${AT_MOST} beside each other</li>
    </ul>`}
    ${problem && html`<p class="bad" role="alert">${problem}</p>`}
    ${found && !found.of && html`<div class="empty" id="no-slates">
      <p>No slate has come since this console was started, ${Math.round(Date.now() / 1000 - state.began_s)} s ago.</p>
      <p>Slates come where shoppers click or apps ask. Is there traffic? <code>rheostat watch</code> says what comes in, <code>rheostat status</code> whether the jobs run, <code>rheostat dead-letters</code> what is refused.</p>
    </div>`}
    ${found && found.of > 0 && search && !found.matching && html`<p class="empty">Nobody who had a slate lately matches “${search}”.</p>`}
    <div class="slates" aria-busy=${pending}>
      ${slates && slates.list.map((slate) => html`<${Slate} key=${key(slate)} slate=${slate} terms=${terms} isDraft=${slates.isDraft} scope=${slates.scope} decide=${decide} />`)}
    </div>
    ${slates && slates.list.length > 0 && html`<${Legend} slates=${slates.list} isDraft=${slates.isDraft} />`}
  </section>`;
}

function Slate({ slate, terms, isDraft, scope, decide }) {
  const list = useRef(null), tops = useRef(new Map()), inForce = useRef(null);
  if (!isDraft) inForce.current = slate.items.map((item) => item.item_id);
  const reference = isDraft && inForce.current ? inForce.current : slate.sent;
  const ids = slate.items.map((item) => item.item_id).join(" ");
  useLayoutEffect(() => {
    const rows = [...list.current.children];
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    for (const row of rows) {
      const before = tops.current.get(row.dataset.item);
      if (!still && before !== undefined && before !== row.offsetTop)
        row.animate([{ transform: `translateY(${before - row.offsetTop}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
    }
    tops.current = new Map(rows.map((row) => [row.dataset.item, row.offsetTop]));
  }, [ids]);
  const longest = Math.max(...slate.items.map((item) => Object.values(item.parts).reduce((sum, x) => sum + Math.max(x, 0), 0)), 1e-9);
  const isModels = slate.fallback === "none";
  return html`<article class="slate" data-shopper=${slate.shopper_id} data-surface=${slate.surface}>
    <header>
      <p><b>${slate.shopper_id}</b> on <b>${slate.surface}</b>, ${clock(slate.event_time_ms)}</p>
      <p class="faint">weighed by ${slate.policy_scope}${isDraft ? "" : `, version ${slate.policy_version}`}; ${percent(slate.uncertainty, 0)} of the shopper unknown</p>
      ${slate.session.length > 0 && html`<p class="faint">after ${slate.session.map((item) => item.name).join(" → ")}</p>`}
      ${isDraft && slate.policy_scope !== scope && html`<p class="hint">The draft does not count here: this slate is weighed by ${slate.policy_scope}.</p>`}
      ${!isModels && html`<p class="hint" data-fallback=${slate.fallback}>${terms.fallbacks[slate.fallback]}</p>`}
    </header>
    <ol ref=${list}>
      ${slate.items.map((item, n) => html`<${Place} key=${item.item_id} item=${item} n=${n} was=${reference.indexOf(item.item_id)} longest=${longest} decide=${decide} />`)}
    </ol>
    ${slate.capped.length > 0 && html`<p class="faint capped">Not shown, seen often enough: ${slate.capped.map(({ item, rule }) => `${item.name} (${rule})`).join(", ")}</p>`}
  </article>`;
}

function Place({ item, n, was, longest, decide }) {
  const [open, setOpen] = useState(false);
  const moved = was - n;
  const move = was < 0 ? ["new", "up"] : moved > 0 ? ["▲" + moved, "up"] : moved < 0 ? ["▼" + -moved, "down"] : ["", ""];
  const words = Object.entries(item.parts).sort(inOrder).map(([part, value]) => part + " " + fixed(value, 3)).join(", ");
  return html`<li data-item=${item.item_id}>
    <span class="place">${n + 1}</span>
    <div class="body">
      <p class="name">${item.name}</p>
      <p class="faint">${item.category}${item.price === null ? "" : " · " + fixed(item.price)}</p>
      <div class="bar" role="img" aria-label=${words}>
        ${Object.entries(item.parts).sort(inOrder).filter(([, value]) => value > 0).map(([part, value]) => html`<span class=${"part part-" + part} style=${{ width: (100 * value) / longest + "%" }} />`)}
      </div>
      ${open && html`<ul class="says">${item.says.map((sentence) => html`<li>${sentence}</li>`)}</ul>
        ${decide && html`<div class="row decide" role="group" aria-label="Into the draft">
          <button type="button" class="secondary outline" onClick=${() => decide(item, { pin: n + 1 })}>Pin to place ${n + 1}</button>
          <button type="button" class="secondary outline" onClick=${() => decide(item, { boost: 0.5 })}>Boost</button>
          <button type="button" class="secondary outline" onClick=${() => decide(item, { hide: true })}>Hide</button>
        </div>`}`}
    </div>
    <div class="why">
      <button type="button" class=${"chip reason-" + item.reason} aria-expanded=${open} onClick=${() => setOpen(!open)}><span class="hidden">Why ${item.name}: </span>${item.label}</button>
      <span class="score">${fixed(item.score)}</span>
      ${move[0] && html`<span class=${"move " + move[1]}>${move[0]}</span>`}
    </div>
  </li>`;
}

function Legend({ slates, isDraft }) {
  const partsThat = (does) => [...new Set(slates.flatMap((slate) => slate.items.flatMap((item) => Object.keys(item.parts).filter((part) => does(item.parts[part])))))].sort((one, other) => inOrder([one], [other]));
  const taking = partsThat((value) => value < 0);
  return html`<p class="legend faint">A bar is what adds to an item's score, in average items: ${partsThat((value) => value > 0).map((part) => html`<span><i class=${"part part-" + part} />${part}</span>`)}
    ${taking.length > 0 && html`<span>not in it, what takes from it: ${taking.join(", ")}</span>`} ▲▼ say how far it moves against ${isDraft ? "what is in force" : "the slate that was sent"}.</p>`;
}
