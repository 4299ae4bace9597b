// The matrix: rows are destinations, columns sources, grouped by namespace.

const PORT_ERROR = "A port reads like 5432/tcp, 53/udp or icmp.";
let place = { row: 0, column: 0 };

/** The rows or columns that are shown: one for each party, or one for a namespace that is closed. */
function axis(isSource) {
  const items = [];
  for (const [namespace, members] of namespaces()) {
    const shown = members.filter((index) => passes(index, isSource));
    if (!shown.length) continue;
    if (isClosed(namespace)) items.push({ namespace, members: shown, closed: true });
    else for (const index of shown) items.push({ namespace, members: [index], closed: false });
  }
  return items;
}

/** Whether a party passes the filters of its end. */
function passes(index, isSource) {
  if (state.end === "to" && isSource) return true;
  if (state.end === "from" && !isSource) return true;
  const each = party(index);
  if (state.namespace && each.namespace !== state.namespace) return false;
  const wanted = state.label.split(",").map((word) => word.trim()).filter(Boolean);
  return wanted.every((word) => each.labels.some((label) => label === word || label.split("=")[0] === word));
}

function filters() {
  const option = (value, text) => el("option", { value }, text);
  const choice = (name, label, options) => {
    const select = el("select", { id: `filter-${name}`, on: { change: (event) => change({ [name]: event.target.value }) } }, ...options);
    select.value = state[name];
    return el("div", { class: "field" }, el("label", { htmlFor: select.id }, label), select);
  };
  const input = (name, label, placeholder) => {
    const field = el("input", { id: `filter-${name}`, value: state[name], placeholder, spellcheck: false, autocomplete: "off",
      on: { change: (event) => change({ [name]: event.target.value.trim() }) } });
    return el("div", { class: "field" }, el("label", { htmlFor: field.id }, label), field);
  };
  fill(by("filters"),
    content.families.length > 1 && choice("family", "Family", content.families.map((name, index) => option(String(index), name))),
    choice("namespace", "Namespace", [option("", "all"), ...[...namespaces().keys()].map((name) => option(name, name))]),
    input("label", "Label", "app=web"),
    choice("end", "of", [option("both", "both ends"), option("to", "destinations"), option("from", "sources")]),
    input("port", "Port", "5432/tcp"),
    choice("verdict", "Verdict", [option("", "any"), option("all", "everything"), option("some", "some ports"), option("none", "nothing"), option("mixed", "depends on the pod")]),
    el("button", { type: "button", class: "quiet", on: { click: () => change({ namespace: "", label: "", end: "both", port: "", verdict: "" }) } }, "Clear"));
}

function drawMatrix() {
  filters();
  const port = state.port ? readPort(state.port) : null;
  const field = by("filter-port");
  field.setAttribute("aria-invalid", String(Boolean(state.port && !port)));
  field.title = state.port && !port ? PORT_ERROR : "";
  const family = Number(state.family);
  let rows = axis(false);
  let columns = axis(true);
  const cells = rows.map((row) => columns.map((column) => answer(family, row.members, column.members, port)));
  if (state.verdict) {
    const fits = (cell) => cell && cell.kind === state.verdict;
    const keptRows = rows.map((_, r) => cells[r].some(fits));
    const keptColumns = columns.map((_, c) => cells.some((row) => fits(row[c])));
    for (const row of cells) row.forEach((cell, c) => { if (cell && !fits(cell)) cell.faded = true; if (!keptColumns[c]) row[c] = undefined; });
    rows = rows.filter((_, r) => keptRows[r]);
    columns = columns.filter((_, c) => keptColumns[c]);
    const kept = cells.filter((_, r) => keptRows[r]).map((row) => row.filter((_, c) => keptColumns[c]));
    cells.splice(0, cells.length, ...kept);
  }
  if (state.port && !port) announce(PORT_ERROR);
  if (!rows.length || !columns.length) {
    fill(by("matrix"), el("p", { class: "empty" }, "Nothing fits these filters."));
    fill(by("legend"));
    return;
  }
  place = { row: Math.min(place.row, rows.length - 1), column: Math.min(place.column, columns.length - 1) };
  const table = el("table", { role: "grid", aria: { label: "Who reaches whom: rows are destinations, columns sources", rowcount: rows.length, colcount: columns.length } },
    el("thead", null, namespaceRow(columns), nameRow(columns)),
    ...bodies(rows, columns, cells));
  table.addEventListener("keydown", walk);
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-row]");
    if (cell) open(cell);
  });
  fill(by("matrix"), table);
  legend(port);
  const focusable = cellAt(place.row, place.column);
  if (focusable) focusable.tabIndex = 0;
}

function namespaceRow(columns) {
  const groups = [];
  for (const column of columns) {
    const last = groups.at(-1);
    if (last && last.namespace === column.namespace) last.span += 1;
    else groups.push({ namespace: column.namespace, span: 1 });
  }
  return el("tr", null,
    el("th", { class: "corner", rowSpan: 2, scope: "col" }, el("span", null, "to ↓"), el("span", null, "from →")),
    ...groups.map(({ namespace, span }) => el("th", { class: "namespace", colSpan: span, scope: "colgroup" }, folder(namespace))));
}

function folder(namespace) {
  const closed = isClosed(namespace);
  return el("button", { type: "button", class: "folder", data: { namespace }, aria: { expanded: String(!closed) },
    on: { click: () => { toggleClosed(namespace); document.querySelector(`.folder[data-namespace="${CSS.escape(namespace)}"]`)?.focus(); } } },
    el("span", { aria: { hidden: "true" } }, closed ? "▸ " : "▾ "), namespace);
}

function nameRow(columns) {
  return el("tr", null, ...columns.map((column) =>
    el("th", { scope: "col", class: "source" }, el("span", { title: itemTitle(column) }, itemName(column)))));
}

function itemName(item) {
  return item.closed ? counted(item.members.length, "workload") : shortName(item.members[0]);
}

/** The name without its kind, where that leaves no doubt. */
function shortName(index) {
  const { namespace, name, kind } = party(index);
  const short = name.startsWith(`${kind}/`) ? name.slice(kind.length + 1) : name;
  const same = content.parties.filter((each) => each.namespace === namespace && each.name.split("/").at(-1) === short);
  return same.length > 1 || kind === "node" ? name : short;
}

function itemTitle(item) {
  if (item.closed) return `namespace ${item.namespace}: ${item.members.map((each) => party(each).name).join(", ")}`;
  const each = party(item.members[0]);
  return [title(item.members[0]), ...each.members.map((member) => `${member.name} ${member.addresses.join(" ")}`)].slice(0, 12).join("\n");
}

function bodies(rows, columns, cells) {
  const found = [];
  let body = null;
  rows.forEach((row, r) => {
    if (!body || body.namespace !== row.namespace) {
      body = { namespace: row.namespace, node: el("tbody") };
      body.node.append(el("tr", { class: "group" }, el("th", { colSpan: columns.length + 1, scope: "rowgroup" }, folder(row.namespace))));
      found.push(body.node);
    }
    body.node.append(el("tr", null,
      el("th", { scope: "row", title: itemTitle(row) }, itemName(row), !row.closed && members(row.members[0])),
      ...columns.map((column, c) => cellOf(row, column, cells[r][c], r, c))));
  });
  return found;
}

function members(index) {
  const { members: all, kind } = party(index);
  if (kind === "node" || kind === "address" || kind === "pod") return null;
  return el("span", { class: "count" }, ` ×${all.length}`);
}

function cellOf(row, column, cell, r, c) {
  const data = { row: r, column: c, targets: row.members.join(","), sources: column.members.join(",") };
  const names = `${itemLabel(column)} to ${itemLabel(row)}`;
  if (!cell) return el("td", { role: "gridcell", tabIndex: -1, class: "none-asked", data, aria: { label: `${names}: not asked` } });
  const sign = VERDICTS[cell.kind].sign;
  return el("td", { role: "gridcell", tabIndex: -1, class: `k-${cell.kind}${cell.faded ? " faded" : ""}`, data, title: `${names}: ${cell.text}`, aria: { label: `${names}: ${cell.text}` } },
    el("span", null, sign || cell.text));
}

function itemLabel(item) {
  return item.closed ? `namespace ${item.namespace}` : title(item.members[0]);
}

/** What the colours mean; with a port a cell is a yes or a no. */
function legend(port) {
  const shown = port ? { all: "allowed", none: "denied", mixed: VERDICTS.mixed.words } : Object.fromEntries(Object.entries(VERDICTS).map(([kind, { words }]) => [kind, words]));
  fill(by("legend"),
    ...Object.entries(shown).map(([kind, words]) =>
      el("span", null, el("span", { class: `sample k-${kind}`, aria: { hidden: "true" } }, VERDICTS[kind].sign || "80/tcp"), ` ${words}`)),
    el("span", null, "blank: not asked"));
}

function cellAt(row, column) {
  return by("matrix").querySelector(`td[data-row="${row}"][data-column="${column}"]`);
}

function walk(event) {
  const cell = event.target.closest("td[data-row]");
  if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = Number(cell.dataset.row);
  const column = Number(cell.dataset.column);
  const last = cell.parentElement.querySelectorAll("td").length - 1;
  const moves = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    Home: [row, 0], End: [row, last], PageUp: [Math.max(0, row - 10), column], PageDown: [row + 10, column],
  };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open(cell, true);
  } else if (event.key in moves) {
    event.preventDefault();
    let next = cellAt(...moves[event.key]);
    if (!next && event.key === "PageDown") next = [...by("matrix").querySelectorAll(`td[data-column="${column}"]`)].at(-1);
    if (next) focusCell(next);
  }
}

function focusCell(cell) {
  for (const each of by("matrix").querySelectorAll('td[tabindex="0"]')) each.tabIndex = -1;
  cell.tabIndex = 0;
  place = { row: Number(cell.dataset.row), column: Number(cell.dataset.column) };
  cell.focus();
}

/** Explain a cell; with the keyboard the explanation gets the focus. */
function open(cell, byKey) {
  focusCell(cell);
  change({ cell: nameOfCell(numbers(cell.dataset.targets), numbers(cell.dataset.sources)) });
  if (byKey) by("details-head").focus();
}

/** The cell that is open, back under the cursor. */
function backToCell() {
  const cell = by("matrix").querySelector('td[tabindex="0"]');
  if (cell) cell.focus();
}

function markOpen() {
  for (const each of by("matrix").querySelectorAll("td[aria-selected]")) each.removeAttribute("aria-selected");
  const { targets, sources } = readCell(state.cell);
  const cell = targets.length && by("matrix").querySelector(`td[data-targets="${targets.join(",")}"][data-sources="${sources.join(",")}"]`);
  if (cell) cell.setAttribute("aria-selected", "true");
}
