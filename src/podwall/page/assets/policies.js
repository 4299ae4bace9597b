// The policies: what each says, what check found, and its pictures.

const SEVERITIES = ["error", "warning", "info"];

function drawPolicies() {
  const opened = new Set([...document.querySelectorAll("details.policy[open]")].map((each) => each.id));
  if (!content.policies.length) {
    fill(by("policies"), el("p", { class: "empty" }, "There are no policies: everybody reaches everybody."));
    return;
  }
  fill(by("policies"),
    ...content.left_out.map((text) => el("p", { class: "aside" }, text)),
    ...content.policies.map((each) => policy(each, opened)));
}

function policyId({ namespace, name }) {
  return `policy-${namespace}-${name}`;
}

function policy(each, opened) {
  const node = el("details", { class: "policy", id: policyId(each), open: opened.has(policyId(each)) },
    el("summary", null,
      el("span", { class: "name" }, `${each.namespace}/${each.name}`),
      ...each.isolates.map((direction) => el("span", { class: "badge" }, direction)),
      each.audited && el("span", { class: "badge audit" }, "audit mode"),
      el("span", { class: "aside" }, `selects ${counted(each.pods, "pod")}`),
      ...SEVERITIES.map((severity) => {
        const number = each.findings.filter((found) => found.severity === severity).length;
        return number > 0 && el("span", { class: `badge ${severity}` }, counted(number, severity, severity === "info" ? "notes" : undefined));
      })));
  let drawn = false;
  const draw = () => {
    if (!node.open || drawn) return;
    drawn = true;
    node.append(...policyBody(each));
  };
  node.addEventListener("toggle", draw);
  draw();
  return node;
}

function policyBody(each) {
  return [
    each.audited && el("p", null, "In audit mode: it isolates nothing, and what it would deny is told."),
    el("p", null, `Pods ${each.subject} of namespace ${each.namespace}`, each.selects.length ? ": " : ". None is there.",
      each.selects.map((index) => party(index).name).join(", ")),
    el("ul", { class: "lines" }, ...(each.rules.length ? each.rules : [`no rules: ${each.isolates.join(" and ")} is closed`]).map((rule) => el("li", null, rule))),
    each.problems.length > 0 && el("div", null, el("h4", null, "Not understood"), el("ul", null, ...each.problems.map((text) => el("li", { class: "wrong" }, text)))),
    each.findings.length > 0 && findings(each.findings),
    pictures(each),
  ].filter(Boolean);
}

function findings(found) {
  return el("table", { class: "findings" },
    el("caption", null, "What check found"),
    el("thead", null, el("tr", null, ...["", "where", "what", "clause"].map((text) => el("th", { scope: "col" }, text || el("span", { class: "unseen" }, "how bad"))))),
    el("tbody", null, ...found.map((each) => el("tr", null,
      el("td", null, el("span", { class: `badge ${each.severity}` }, each.severity)),
      el("td", { class: "code" }, each.path), el("td", null, `${each.message} [${each.code}]`), el("td", null, each.clause)))));
}

/** Pictures behind buttons; as images they can neither run anything nor change the page. */
function pictures(each) {
  const frame = el("div", { class: "frame" });
  const show = (drawing, button) => {
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
    const address = URL.createObjectURL(new Blob([drawing.svg], { type: "image/svg+xml" }));
    const image = el("img", { alt: `${drawing.title}. ${drawing.description}`, src: address });
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    fill(frame, image);
  };
  const bar = el("div", { class: "bar", role: "group", aria: { label: `Pictures of ${each.namespace}/${each.name}` } });
  const offer = (drawings) => {
    bar.append(...drawings.map((drawing) => el("button", { type: "button", aria: { pressed: "false" }, on: { click: (event) => show(drawing, event.currentTarget) } }, drawing.kind)));
    if (bar.firstElementChild) bar.firstElementChild.click();
  };
  if (each.pictures.length) offer(each.pictures);
  else if (content.live) fetchPictures(each, offer);
  else return null;
  return el("div", { class: "pictures" }, bar, frame);
}

async function fetchPictures({ namespace, name }, offer) {
  const reply = await fetch(`pictures?${new URLSearchParams({ namespace, name })}`);
  if (reply.ok) offer(await reply.json());
}
