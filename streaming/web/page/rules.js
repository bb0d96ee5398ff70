// What merchandising has decided of items: rules that hide, pin, boost or cap, in their time.
import { html, useEffect, useState } from "./vendor/htm-preact-3.1.1.js";
import { ask, fixed, moment } from "./ask.js";

/** A moment for <input type="datetime-local">, in the browser's zone; and back, in ms. */
export const local = (ms) => {
  if (ms === null || ms === undefined) return "";
  const at = new Date(ms);
  return new Date(ms - 60_000 * at.getTimezoneOffset()).toISOString().slice(0, 16);
};
export const inMs = (text) => (text ? new Date(text).getTime() : null);

export function time({ starts_time_ms, ends_time_ms }) {
  const starts = starts_time_ms ? " from " + moment(starts_time_ms) : "", ends = ends_time_ms ? " until " + moment(ends_time_ms) : "";
  return starts + ends;
}

export function does({ items, where, hide, pin, boost, frequency_cap, ...of }) {
  const which = [items && items.length ? items.join(", ") : "", where ? "where " + where : ""].filter(Boolean).join(" ");
  const what = [hide && "hides", pin && `pins to place ${pin}`, boost && `boosts by ${fixed(boost)}`, frequency_cap && `hides once seen ${times(frequency_cap.times)} in ${frequency_cap.hours} h`];
  return `${what.filter(Boolean).join(" and ")} ${which}${time(of)}`;
}

const times = (count) => (count === 1 ? "once" : `${count} times`);

export function Rules({ policy, setRules }) {
  const [adds, setAdds] = useState(false);
  const rules = policy.rules || {}, names = Object.keys(rules).sort();
  const without = (name) => Object.fromEntries(Object.entries(rules).filter(([other]) => other !== name));
  return html`<section class="inner" aria-labelledby="rules">
    <h3 id="rules">Merchandising</h3>
    ${!names.length && !adds && html`<p class="faint">No rule: nothing is pinned, boosted, hidden or capped here. Open an item in a slate, or add one.</p>`}
    <ul class="plain">${names.map((name) => html`<li key=${name} class="rule"><span><b>${name}</b> ${does(rules[name])}</span>
      <button type="button" class="secondary outline" onClick=${() => setRules(without(name))}>Remove<span class="hidden"> ${name}</span></button></li>`)}</ul>
    ${adds ? html`<${NewRule} taken=${names} add=${(name, rule) => { setRules({ ...rules, [name]: rule }); setAdds(false); }} cancel=${() => setAdds(false)} />`
      : html`<button type="button" class="secondary outline" onClick=${() => setAdds(true)}>Add a rule</button>`}
  </section>`;
}

function NewRule({ taken, add, cancel }) {
  const [name, setName] = useState("");
  const [items, setItems] = useState([]);
  const [where, setWhere] = useState("");
  const [what, setWhat] = useState("pin");
  const [number, setNumber] = useState({ pin: 1, boost: 0.5, times: 3, hours: 24 });
  const [starts, setStarts] = useState("");
  const [ends, setEnds] = useState("");
  const isOfNothing = !items.length && !where.trim();
  function submit(event) {
    event.preventDefault();
    add(name.trim(), {
      items: items.map((item) => item.item_id), where: where.trim() || null, hide: what === "hide", pin: what === "pin" ? number.pin : null,
      boost: what === "boost" ? number.boost : 0, frequency_cap: what === "cap" ? { times: number.times, hours: number.hours } : null, starts_time_ms: inMs(starts), ends_time_ms: inMs(ends),
    });
  }
  return html`<form class="new" onSubmit=${submit} aria-label="A new rule">
    <label>Name <input id="rule-name" required maxlength="100" placeholder="advent" value=${name} onInput=${(event) => setName(event.target.value)} /></label>
    ${taken.includes(name.trim()) && html`<p class="hint">It takes the place of the rule of this name.</p>`}
    <${Items} items=${items} setItems=${setItems} />
    <label>Where <input id="rule-where" placeholder="item.category == 'tea' and item.stock > 20" value=${where} onInput=${(event) => setWhere(event.target.value)} /></label>
    <label>What <select id="rule-what" onChange=${(event) => setWhat(event.target.value)}>
      ${[["pin", "pin the best of them to a place"], ["boost", "boost them, or bury them below 0"], ["hide", "hide them"], ["cap", "hide each once a shopper has seen it often"]].map(([key, words]) => html`<option value=${key} selected=${key === what}>${words}</option>`)}
    </select></label>
    ${what === "pin" && html`<label>Place <input id="rule-pin" type="number" min="1" max="100" required value=${number.pin} onInput=${(event) => setNumber({ ...number, pin: +event.target.value })} /></label>`}
    ${what === "boost" && html`<label>Average items <input id="rule-boost" type="number" min="-100" max="100" step="any" required value=${number.boost} onInput=${(event) => setNumber({ ...number, boost: +event.target.value })} /></label>`}
    ${what === "cap" && html`<label>Times seen, in different slates <input id="rule-times" type="number" min="1" max="100" required value=${number.times} onInput=${(event) => setNumber({ ...number, times: +event.target.value })} /></label>
      <label>Within hours <input id="rule-hours" type="number" min="0.1" max="720" step="any" required value=${number.hours} onInput=${(event) => setNumber({ ...number, hours: +event.target.value })} /></label>
      <p class="hint">It counts what apps report as seen, from when it is published: the slates beside cannot show it before.</p>`}
    <${Times} starts=${starts} ends=${ends} setStarts=${setStarts} setEnds=${setEnds} />
    <div class="row"><button disabled=${isOfNothing} title=${isOfNothing ? "Which items is it about?" : ""}>Into the draft</button><button type="button" class="secondary outline" onClick=${cancel}>Cancel</button></div>
  </form>`;
}

export function Times({ starts, ends, setStarts, setEnds }) {
  return html`<label>From, empty: at once <input type="datetime-local" id="starts" value=${starts} onInput=${(event) => setStarts(event.target.value)} /></label>
    <label>Until, empty: no end <input type="datetime-local" id="ends" value=${ends} onInput=${(event) => setEnds(event.target.value)} /></label>`;
}

function Items({ items, setItems }) {
  const [search, setSearch] = useState("");
  const [found, setFound] = useState([]);
  useEffect(() => {
    let ended = false;
    if (!search.trim()) setFound([]);
    else ask("items?search=" + encodeURIComponent(search)).then((answer) => { if (!ended) setFound(answer); }, () => {});
    return () => { ended = true; };
  }, [search]);
  const others = found.filter((item) => !items.some((chosen) => chosen.item_id === item.item_id));
  return html`<label>Items <input type="search" id="rule-items" placeholder="by name or id" value=${search} onInput=${(event) => setSearch(event.target.value)} /></label>
    <ul class="row shoppers" aria-label="Items">
      ${items.map((item) => html`<li key=${item.item_id}><button type="button" aria-pressed="true" onClick=${() => setItems(items.filter((other) => other !== item))}>${item.name}</button></li>`)}
      ${others.slice(0, 6).map((item) => html`<li key=${item.item_id}><button type="button" class="secondary outline" aria-pressed="false" onClick=${() => setItems([...items, item])}>${item.name}</button></li>`)}
      ${search.trim() && !found.length && html`<li class="faint">no item on sale matches</li>`}
    </ul>`;
}
