// Elements without markup: every text that comes from a cluster becomes a text node.

/** An element. Properties are set by name; `on` holds listeners, `data` and `aria` attributes. */
function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, what] of Object.entries(value)) node.addEventListener(event, what);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "aria") for (const [key, text] of Object.entries(value)) node.setAttribute(`aria-${key}`, text);
    else if (name === "class") node.className = value;
    else if (name in node && name !== "list" && name !== "role") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element of an id. */
function by(id) {
  return document.getElementById(id);
}

/** Replace what an element holds. */
function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter(Boolean));
  return node;
}

/** Tell a screen reader what happened. */
function announce(text) {
  by("announce").textContent = text;
}

/** "1 pod", "2 pods". */
function counted(number, word, many) {
  return `${number} ${number === 1 ? word : many || word + "s"}`;
}
