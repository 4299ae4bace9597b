// Find a pod, a workload or an address: what reaches it, what it reaches.

const MOST_FOUND = 12;

/** The parties that a text means, the closest first. */
function search(text) {
  const words = text.trim().toLowerCase();
  if (!words) return [];
  const ranked = [];
  content.parties.forEach((each, index) => {
    const names = [title(index), each.name, ...each.members.flatMap((member) => [member.name, ...member.addresses]), ...each.labels].map((name) => name.toLowerCase());
    const rank = names.includes(words) ? 0 : names.some((name) => name.startsWith(words) || name.includes(`/${words}`)) ? 1 : names.some((name) => name.includes(words)) ? 2 : 3;
    if (rank < 3) ranked.push([rank, index]);
  });
  return ranked.sort(([a, i], [b, j]) => a - b || i - j).map(([, index]) => index);
}

function drawFound() {
  by("find").value = state.find;
  const found = search(state.find);
  by("found").hidden = !state.find;
  if (!state.find) return;
  const words = state.find.trim().toLowerCase();
  const policies = content.policies.filter((each) => words && `${each.namespace}/${each.name}`.toLowerCase().includes(words));
  by("found-head").textContent = found.length || policies.length ? `Found: ${state.find}` : `Nothing is called ${state.find}`;
  fill(by("found-body"),
    policies.length > 0 && el("p", null, "Policies of that name: ", ...policies.slice(0, MOST_FOUND).flatMap((one, at) => [at ? ", " : null, policyLink(one)]),
      policies.length > MOST_FOUND && ` and ${policies.length - MOST_FOUND} more`),
    ...found.slice(0, MOST_FOUND).map((index, number) => card(index, number === 0)),
    found.length > MOST_FOUND && el("p", { class: "aside" }, `and ${found.length - MOST_FOUND} more; type more of the name`));
  announce(counted(found.length + policies.length, "thing found", "things found"));
}

function card(index, isOpen) {
  const each = party(index);
  const family = Number(state.family);
  const reached = content.parties.map((_, other) => other);
  const policies = content.policies.filter((one) => one.selects.includes(index));
  return el("details", { class: "card", open: isOpen },
    el("summary", null, el("span", { class: "name" }, title(index)), " ", el("span", { class: "aside" }, each.members.map((member) => member.addresses.join(" ")).slice(0, 4).join(", "))),
    el("p", { class: "aside" }, [...each.labels, ...each.ports].join("  ")),
    el("p", null, policies.length ? "Policies: " : "No policy selects it.", ...policies.flatMap((one, at) => [at ? ", " : null, policyLink(one)])),
    el("div", { class: "two" },
      side("What reaches it", reached.map((other) => [other, index, other])),
      side("What it reaches", reached.map((other) => [other, other, index]))));

  function side(head, pairs) {
    const asked = pairs.map(([other, target, source]) => ({ other, target, source, cell: answer(family, [target], [source], null) })).filter(({ cell }) => cell);
    const open = asked.filter(({ cell }) => cell.kind !== "none");
    return el("div", null, el("h3", null, head),
      el("ul", { class: "pairs" }, ...open.map(({ other, target, source, cell }) => el("li", null, pairButton(target, source, title(other)), ` ${cell.text}`))),
      !open.length && el("p", null, "nothing"),
      el("p", { class: "aside" }, `and not: ${asked.filter(({ cell }) => cell.kind === "none").map(({ other }) => title(other)).join(", ") || "nobody is shut out"}`));
  }
}

function policyLink(each) {
  return el("button", { type: "button", class: "link", on: { click: () => {
    const node = by(policyId(each));
    node.open = true;
    node.querySelector("summary").focus();
    node.scrollIntoView({ block: "nearest" });
  } } }, `${each.namespace}/${each.name}`);
}
