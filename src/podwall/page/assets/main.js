// Put it all on the page, and listen to keys.

function drawTop() {
  document.title = content.title;
  by("title").textContent = content.title;
  by("summary").textContent = [content.source, counted(content.pods, "pod"), counted(content.policies.length, "policy", "policies")].filter(Boolean).join(" · ");
  by("problems").hidden = !content.problems.length;
  fill(by("problems-list"), ...content.problems.map((text) => el("li", null, text)));
}

function drawAll() {
  drawTop();
  drawMatrix();
  markOpen();
  drawDetails();
  drawPolicies();
  drawFound();
}

const IN_MATRIX = ["family", "namespace", "label", "end", "port", "verdict", "closed"];

watch((now, before) => {
  if (IN_MATRIX.some((name) => now[name] !== before[name])) {
    const held = document.activeElement?.id;
    drawMatrix();
    if (held?.startsWith("filter-")) by(held)?.focus();
  }
  markOpen();
  if (["cell", "family", "port"].some((name) => now[name] !== before[name])) drawDetails();
  if (now.find !== before.find || now.family !== before.family) drawFound();
});

const THEMES = ["auto", "light", "dark"];
let theme = "auto";

function setTheme(wanted) {
  theme = THEMES.includes(wanted) ? wanted : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  by("theme").textContent = `Theme: ${theme}`;
  try { localStorage.setItem("podwall-theme", theme); } catch { /* A file may have no storage. */ }
}

by("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]));
by("help").addEventListener("click", () => by("keys").showModal());
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("find").addEventListener("input", (event) => change({ find: event.target.value }));
by("find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !state.find) return;
  event.preventDefault();
  by("found-head").focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || by("keys").open) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    if (by("details").contains(event.target)) backToCell();
    else if (state.find) { change({ find: "" }); by("find").focus(); }
    return;
  }
  if (typing) return;
  const keys = {
    "/": () => by("find").focus(),
    "?": () => by("keys").showModal(),
    m: backToCell,
    p: () => by("policies").querySelector("summary")?.focus(),
  };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});

let stored = null;
try { stored = localStorage.getItem("podwall-theme"); } catch { /* likewise */ }
setTheme(stored);
drawAll();
follow();
