// Why: the explanation of the cell that is open.

function drawDetails() {
  const { targets, sources } = readCell(state.cell);
  if (!targets.length || !sources.length) {
    by("details-head").textContent = "Why?";
    fill(by("details-body"), el("p", null, "Choose a cell: it says what decides, in both directions."));
    return;
  }
  if (targets.length > 1 || sources.length > 1) drawGroup(targets, sources);
  else drawCell(targets[0], sources[0]);
}

/** A cell of a namespace that is closed: the pairs in it. */
function drawGroup(targets, sources) {
  const family = Number(state.family);
  by("details-head").textContent = `${counted(targets.length * sources.length, "pair")} of workloads`;
  const port = readPort(state.port);
  const pairs = targets.flatMap((target) => sources.map((source) => ({ target, source, cell: answer(family, [target], [source], port) }))).filter(({ cell }) => cell);
  fill(by("details-body"), el("ul", { class: "pairs" }, ...pairs.slice(0, 200).map(({ target, source, cell }) =>
    el("li", null, pairButton(target, source), ` ${cell.text}`))),
    pairs.length > 200 && el("p", null, `and ${pairs.length - 200} more`));
}

function pairButton(target, source, text) {
  return el("button", { type: "button", class: "link", on: { click: () => { change({ cell: nameOfCell([target], [source]) }); by("details-head").focus(); } } },
    text || `${title(source)} → ${title(target)}`);
}

function drawCell(target, source) {
  const reaches = reachesOf(Number(state.family), target, source);
  by("details-head").textContent = `${title(source)} → ${title(target)}`;
  const told = toldOf(Number(state.family), target, source);
  fill(by("details-body"),
    el("p", { class: "answer" }, reaches && reaches.length ? reaches.map((each) => wordsOf(each.text)).join(" | ") : "a pod always reaches its own address"),
    ...told.map((each, index) => connection(each, index === 0)),
    !told.length && reaches?.length && el("p", { class: "empty" }, "This page carries no explanation of this pair. podwall explain gives it, and podwall ui."),
    content.live && asking(target, source));
  announce(`${title(source)} to ${title(target)}: ${(reaches || []).map((each) => wordsOf(each.text)).join(", ")}`);
}

function connection(told, isOpen) {
  return el("details", { class: "connection", open: isOpen },
    el("summary", null, verdict(told.allowed), ` ${textOf(told.service)} `, el("span", { class: "aside" }, textOf(told.addresses))),
    el("p", { class: "aside" }, `${textOf(told.source)} → ${textOf(told.target)}`),
    !told.agrees && el("p", { class: "wrong" }, "The rules give another verdict than the policies: this is a defect of podwall."),
    ...told.directions.map(part),
    told.stops.length
      ? el("details", { class: "way" }, el("summary", null, "The way through the kernel"), ...told.stops.map(part))
      : el("p", { class: "aside" }, "No node of the cluster judges this traffic."));
}

function part(told) {
  const each = typeof told === "number" ? content.parts[told] : told;
  return el("div", { class: "part" },
    el("h4", null, textOf(each.head), ": ", verdict(each.allowed)),
    el("ul", { class: "lines" }, ...each.lines.map((line) => (typeof line === "number" ? [line, 0, "plain"] : line)).map(([text, depth, tone]) =>
      el("li", { class: `depth-${Math.min(depth, 3)} tone-${tone}` }, textOf(text)))));
}

function verdict(allowed) {
  return el("strong", { class: allowed ? "allowed" : "denied" }, allowed ? "allowed" : "denied");
}

/** On a page with a server behind it: any port. */
function asking(target, source) {
  const field = el("input", { id: "ask-port", placeholder: "5432/tcp", spellcheck: false, autocomplete: "off" });
  const answers = el("div", { aria: { live: "polite" } });
  const ask = async (event) => {
    event.preventDefault();
    const words = new URLSearchParams({ from: party(source).members[0].name, to: party(target).members[0].name, port: field.value });
    const reply = await fetch(`explain?${words}`);
    const found = await reply.json();
    fill(answers, ...(reply.ok ? found.map((each) => connection(each, true)) : [el("p", { class: "wrong" }, found.error)]));
  };
  return el("form", { class: "ask", on: { submit: ask } },
    el("label", { htmlFor: "ask-port" }, "Another port"), field, el("button", null, "Explain"), answers);
}
