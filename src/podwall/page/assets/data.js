// What the page knows. Everything else asks here, so that fresh content can take the place of old.

let content = JSON.parse(by("content").textContent);

const VERDICTS = {
  all: { sign: "●", words: "everything" },
  some: { sign: "", words: "some ports" },
  none: { sign: "·", words: "nothing" },
  mixed: { sign: "◐", words: "depends on the pod" },
};

function party(index) {
  return content.parties[index];
}

/** How a party is called: with its namespace where it has one. */
function title(index) {
  const { namespace, name, kind } = party(index);
  return kind === "node" || kind === "address" ? name : `${namespace}/${name}`;
}

/** The namespaces in the order of the parties, each with its parties. */
function namespaces() {
  const found = new Map();
  content.parties.forEach((each, index) => {
    if (!found.has(each.namespace)) found.set(each.namespace, []);
    found.get(each.namespace).push(index);
  });
  return found;
}

/** The reaches of a cell; null where nothing was asked. */
function reachesOf(family, target, source) {
  const number = content.cells[family]?.[target]?.[source] ?? -1;
  return number < 0 ? null : content.answers[number].map((each) => content.reaches[each]);
}

/** Read "5432/tcp", "53/udp", "5432" or "icmp"; null for anything else. */
function readPort(text) {
  const words = text.trim().toLowerCase();
  if (words === "icmp") return { protocol: "icmp" };
  const match = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(words);
  if (!match || Number(match[1]) < 1 || Number(match[1]) > 65535) return null;
  return { protocol: match[2] || "tcp", number: Number(match[1]) };
}

function allows(reach, port) {
  if (port.protocol === "icmp") return reach.icmp;
  return reach.ports[port.protocol].some(([first, last]) => first <= port.number && port.number <= last);
}

/** What stands in a cell: kind and text, of one port if that is asked. Null where nothing is. */
function answer(family, targets, sources, port) {
  const kinds = new Set();
  const texts = new Set();
  for (const target of targets)
    for (const source of sources)
      for (const reach of reachesOf(family, target, source) || []) {
        kinds.add(port ? (allows(reach, port) ? "all" : "none") : reach.kind);
        texts.add(port ? (allows(reach, port) ? "allowed" : "denied") : reach.text);
      }
  if (!kinds.size) return null;
  if (texts.size > 1) return { kind: "mixed", text: [...texts].map(wordsOf).join(" | ") };
  const [kind] = kinds;
  return { kind, text: wordsOf([...texts][0]) };
}

function wordsOf(text) {
  return { all: "everything", "-": "nothing" }[text] || text;
}

/** The explanations of a cell. */
function toldOf(family, target, source) {
  return (content.told[`${family},${target},${source}`] || []).map((each) => content.explanations[each]);
}

/** A text of an explanation: an index of the texts, or, from the server, the text itself. */
function textOf(text) {
  return typeof text === "number" ? content.texts[text] : text;
}
