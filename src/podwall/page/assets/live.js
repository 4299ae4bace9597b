// A page with a server behind it follows what changes; what is looked at stays.

function follow() {
  if (!content.live) return;
  const events = new EventSource("events");
  let missed = false;
  events.addEventListener("content", refresh);
  events.addEventListener("problem", (event) => banner(`${JSON.parse(event.data)} The page shows the last good state.`));
  events.onerror = () => {
    missed = true;
    banner("The server has ended: what you see is no longer refreshed.");
  };
  events.onopen = () => {
    banner("");
    if (missed) refresh();
    missed = false;
  };
}

async function refresh() {
  const reply = await fetch("content.json");
  if (!reply.ok) return;
  content = await reply.json();
  banner("");
  keepFocus(drawAll);
  announce("The page shows a new state.");
}

/** Draw, and let who was typing a filter or walking in the matrix go on. */
function keepFocus(draw) {
  const { id, value } = document.activeElement;
  const inMatrix = by("matrix").contains(document.activeElement);
  draw();
  if (id.startsWith("filter-") && by(id)) {
    by(id).value = value;
    by(id).focus();
  } else if (inMatrix) backToCell();
}

function banner(text) {
  by("banner").textContent = text;
  by("banner").hidden = !text;
}
