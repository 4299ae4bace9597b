// What is looked at. It stands in the fragment of the address, so that a view can be sent to others.

const FIRST = { family: "0", namespace: "", label: "", end: "both", port: "", verdict: "", cell: "", find: "", closed: null };
const CLOSED_FROM = 120;

let state = readState();
const watchers = [];

function readState() {
  const read = { ...FIRST };
  const words = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(FIRST)) if (words.has(name)) read[name] = words.get(name);
  read.family = content.families[Number(read.family)] ? read.family : "0";
  if (read.closed === null && content.parties.length > CLOSED_FROM)
    read.closed = [...namespaces().keys()].join(",");
  return read;
}

/** Change what is looked at, and draw what that concerns. */
function change(patch) {
  const before = state;
  state = { ...state, ...patch };
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state))
    if (value !== FIRST[name] && value !== null) words.set(name, value);
  const hash = words.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  for (const watcher of watchers) watcher(state, before);
}

/** A cell by the names of its ends, which mean the same when the page is made anew. */
function nameOfCell(targets, sources) {
  return [sources, targets].map((indices) => indices.map(keyOf).join(",")).join(">");
}

/** The parties of a cell by its name; those that are no more are left out. */
function readCell(name) {
  const indices = new Map(content.parties.map((_, index) => [keyOf(index), index]));
  const [sources, targets] = name.split(">").map((keys) => keys.split(",").map((key) => indices.get(key)).filter((index) => index !== undefined));
  return { targets: targets || [], sources };
}

/** The name of a party, without the marks between names; of an address without what is in brackets. */
function keyOf(index) {
  return encodeURIComponent(title(index).split(" (")[0]).replaceAll("%2F", "/").replaceAll("%3A", ":");
}

function numbers(words) {
  return words.split(",").map(Number);
}

function watch(watcher) {
  watchers.push(watcher);
}

function isClosed(namespace) {
  return (state.closed || "").split(",").includes(namespace);
}

function toggleClosed(namespace) {
  const closed = new Set((state.closed || "").split(",").filter(Boolean));
  if (!closed.delete(namespace)) closed.add(namespace);
  change({ closed: [...closed].join(",") });
}

window.addEventListener("hashchange", () => {
  const before = state;
  state = readState();
  for (const watcher of watchers) watcher(state, before);
});
