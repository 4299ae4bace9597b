// A page with a server behind it follows what changes; what is looked at stays.

function follow() {
  if (!content.live) return;
  const events = new EventSource("events");
  events.addEventListener("content", async () => {
    const reply = await fetch("content.json");
    if (!reply.ok) return;
    content = await reply.json();
    banner("");
    drawAll();
    announce("The page shows a new state.");
  });
  events.addEventListener("problem", (event) => banner(`${JSON.parse(event.data)} The page shows the last good state.`));
  events.onerror = () => banner("The server has ended: what you see is no longer refreshed.");
  events.onopen = () => banner("");
}

function banner(text) {
  by("banner").textContent = text;
  by("banner").hidden = !text;
}
