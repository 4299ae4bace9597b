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
