"use strict";
// What is shown of what is there already: views, sorting, filters, and the prices of a profile.
// Without this script everything is on the page, one below the other.
const facts = JSON.parse(document.getElementById("data").textContent);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
document.documentElement.classList.add("scripted");

// --- views: of a group, what agrees with every choice made in it
function choices(group) {
  return all("[data-axis]", group).map((one) => [one.dataset.axis, one.value, "any" in one.dataset]);
}

function show(group) {
  const made = choices(group);
  for (const view of all(".view", group)) {
    const on = made.every(([axis, value, any]) =>
      !(axis in view.dataset) || view.dataset[axis] === value || (any && value === ""));
    view.classList.toggle("on", on);
  }
}

for (const group of all(".views")) {
  for (const control of all("[data-axis]", group)) control.addEventListener("input", () => show(group));
  show(group);
}

// --- a slider goes no further than the network it shows has layers
for (const group of all("[data-slider]")) {
  const slider = group.querySelector("input[type=range]");
  const network = group.querySelector("[data-axis=network]");
  if (slider) {
    network.addEventListener("input", () => {
      slider.max = facts.spikes[network.value].layers.length - 1;
      show(group);
    });
    slider.max = facts.spikes[network.value].layers.length - 1;
  }
}

// --- a cell opens its set: the histogram and ROC, and the curve of its shift
const opened = document.getElementById("open");
const homes = new Map();
function take(node) {
  if (!homes.has(node)) {
    const mark = document.createComment(node.id);
    node.before(mark);
    homes.set(node, mark);
  }
  opened.append(node);
}

function close() {
  for (const node of [...opened.children]) homes.get(node)?.after(node);
  for (const cell of all("a.on")) cell.classList.remove("on");
  opened.hidden = true;
}

function open(link) {
  const detail = document.querySelector(link.getAttribute("href"));
  close();
  take(detail);
  if (detail.dataset.curve) take(document.getElementById(detail.dataset.curve));
  link.classList.add("on");
  opened.hidden = false;
}

const links = all('a[href^="#d-"]');
for (const link of links) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    if (link.classList.contains("on")) return close();
    open(link);
    opened.scrollIntoView({ block: "nearest" });
  });
}
// What hurts the first network most is open from the start.
const worst = all(".heat.accuracy_ood", document)[0];
const cells = worst ? all("td a", worst) : links;
if (cells.length) open(cells.reduce((a, b) => (Number(b.textContent) < Number(a.textContent) ? b : a)));

// --- tables are sorted by the column whose heading is pressed
function key(cell) {
  const text = cell.textContent.trim();
  const number = Number(text.replaceAll(",", "").replace("−", "-").replace(/^< /, "").replace(/[^0-9.e+-].*$/, ""));
  if (text === "–" || text === "") return [2, 0, ""];
  return /^[−+<\d]/.test(text) && !Number.isNaN(number) ? [0, number, text] : [1, 0, text];
}

function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, i) => [key(row.cells[column]), i, row]);
  rows.sort(([a, i], [b, j]) => {
    if (a[0] === 2 || b[0] === 2) return a[0] - b[0] || i - j;  // what is not known comes last
    const order = a[0] - b[0] || a[1] - b[1] || a[2].localeCompare(b[2], "en");
    return (descending ? -order : order) || i - j;
  });
  body.append(...rows.map((one) => one[2]));
}

for (const table of all("table.sortable")) {
  all("thead th", table).forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
  });
}

// --- energy: counts × prices of the profile that is chosen
const nanojoule = (pj) => (pj / 1e3).toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",");
const shown = (part) => (part === "synapses" || part === "neurons" ? part : "rest");

function price(name) {
  const missing = [];
  facts.energy.networks.forEach((network, i) => {
    const prices = network.prices[name];
    const layers = new Map(), operations = new Map();
    let total = 0;
    network.lines.forEach((line, k) => {
      const pj = prices[k] === null ? null : line.count * prices[k];
      total += pj ?? 0;
      const layer = layers.get(line.layer) ?? { synapses: 0, neurons: 0, rest: 0, total: 0 };
      layer[shown(line.part)] += pj ?? 0;
      layer.total += pj ?? 0;
      layers.set(line.layer, layer);
      const operation = JSON.stringify([line.part, line.operation, line.detail]);
      if (pj !== null) operations.set(operation, (operations.get(operation) ?? 0) + pj);
    });
    const top = Math.max(...[...layers.values()].map((one) => one.total)) || 1;
    const view = document.querySelector(`#priced .view[data-network="${i}"]`);
    for (const row of all("tr[data-layer]", view)) {
      const layer = layers.get(row.dataset.layer);
      row.querySelector(".sum").textContent = nanojoule(layer.total);
      for (const bar of all(".bar span", row)) bar.style.width = `${(100 * layer[bar.className]) / top}%`;
    }
    for (const row of all("tr[data-operation]", view)) {
      const pj = operations.get(JSON.stringify([row.dataset.part, row.dataset.operation, row.dataset.detail]));
      row.querySelector(".sum").textContent = pj === undefined ? "–" : nanojoule(pj);
      const counted = network.unpriced[name].includes(`${row.dataset.operation} of ${row.dataset.part}`);
      row.hidden = pj === undefined && !counted;  // another profile's way to count
    }
    const sum = document.querySelector(`[data-total="${i}"]`);
    sum.firstElementChild.textContent = nanojoule(total);
    sum.firstElementChild.dataset.v = `energy.networks.${i}.totals_pj.${name}`;
    if (network.unpriced[name].length) missing.push(`${network.label}: ${network.unpriced[name].join(", ")}`);
  });
  const profile = facts.energy.profiles[name];
  document.getElementById("of-profile").textContent = `${name}: ${profile.includes}. Source: ${profile.source}.`;
  document.getElementById("unpriced").textContent = missing.length ? `; without a price in ${name}: ${missing.join("; ")}` : "";
}

document.getElementById("profile").addEventListener("input", (event) => price(event.target.value));
price(facts.energy.profile);

// --- what can be taken along
async function copy(text, button) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = said; }, 1200);
}

function csv(rows) {
  const names = [...new Set(rows.flatMap(Object.keys))];
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : Array.isArray(value) ? value.join(" ") : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\n");
}

for (const button of all("[data-copy]"))
  button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy).textContent, button));
document.getElementById("csv").addEventListener("click", (event) =>
  copy(csv([...facts.ood.id, ...facts.ood.rows, ...facts.ood.means]), event.currentTarget));
document.getElementById("json").addEventListener("click", (event) =>
  copy(document.getElementById("data").textContent, event.currentTarget));

// --- light or dark
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
