// What the page asks of the console's process, and how numbers and times are said.

// The link's token does not stay in the address, which is seen, copied and kept.
const linked = new URLSearchParams(location.hash.slice(1)).get("token");
if (linked) {
  sessionStorage.setItem("token", linked);
  history.replaceState(null, "", location.pathname + "#policy");
}
const token = sessionStorage.getItem("token") || "";

export class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

export async function ask(path, body) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  let answer;
  try {
    answer = await fetch(path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Refusal(0, "The console's process does not answer. Was it ended, or is the network gone? Start `rheostat console` again; this page asks again every few seconds.");
  }
  const said = await answer.json();
  if (!answer.ok) throw new Refusal(answer.status, said.error || answer.statusText);
  return said;
}

/** A number that is never -0.00. */
export const fixed = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false, signDisplay: "negative" }));
export const percent = (x, digits = 1) => (x === null || x === undefined ? "–" : fixed(100 * x, digits) + " %");
export const clock = (ms) => new Date(ms).toLocaleTimeString();
export const moment = (ms) => (ms ? new Date(ms).toLocaleString() : "–");
export const plain = (value) =>
  value === null || value === undefined ? "–" : typeof value === "number" ? String(+value.toFixed(4)) : Array.isArray(value) ? value.join(", ") : String(value);

/** What a change of a field says: of a weight that was not there, from 0. */
export function change([field, before, after]) {
  const none = field.startsWith("weights.") ? "0" : "none";
  const words = (value) => (value === null ? none : plain(value));
  return `${field.replace("weights.", "")} ${words(before)} → ${words(after)}`;
}
