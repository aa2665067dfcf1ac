"use strict";
// Only the rows on screen are in the document, so that a list of any length scrolls and sorts at once.
const { columns, rows } = JSON.parse(document.getElementById("data").textContent);
const at = Object.fromEntries(columns.map((name, index) => [name, index]));
const ROW_HEIGHT = 92;
const EXTRA_ROWS = 6;
const has = (name) => name in at;

const shown = [
  { name: "picture", title: "", width: 120 },
  { name: "score", title: "Score", width: 104, descending: true },
  { name: "findings", title: "Findings", width: 88, number: true, descending: true },
  { name: "largest_ml", title: "Largest", width: 96, number: true, descending: true },
  { name: "patient", title: "Patient and study", width: 220 },
  ...(has("patient_id") ? [{ name: "patient_id", title: "Real identifiers", width: 250 }] : []),
  { name: "kind", title: "Image", width: 170 },
  { name: "seconds", title: "Time", width: 76, number: true, descending: true },
  { name: "state", title: "State", width: 84 },
  { name: "decision", title: "Decision", width: 92 },
  { name: "reason", title: "Reason and notes" },
];

const list = document.getElementById("list");
const body = document.getElementById("body");
const head = document.getElementById("head");
const search = document.getElementById("search");
const texts = rows.map((row) =>
  ["state", "decision", "patient", "study", "series", "modality", "kind", "reason", "notes", "patient_id", "accession_number",
    "study_uid", "series_uid"].filter(has).map((name) => row[at[name]]).join(" ").toLowerCase());
const groups = {
  all: () => true,
  findings: (row) => row[at.findings] > 0,
  done: (row) => row[at.state] === "done",
  failed: (row) => row[at.state] === "failed",
  skipped: (row) => row[at.state] === "skipped",
};
let group = "all";
let sorted = { name: "score", descending: true };
let visible = rows.map((_, index) => index);

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function lines(...parts) {
  const made = element("div");
  for (const [className, text] of parts) if (text) made.append(element("div", className, text));
  return made;
}

function largest(row) {
  const millilitres = row[at.largest_ml];
  if (millilitres !== null) return `${millilitres < 10 ? millilitres.toFixed(1) : millilitres.toFixed(0)} ml`;
  return row[at.largest_pixels] ? `${row[at.largest_pixels].toLocaleString("en")} px` : "–";
}

const cells = {
  picture(row) {
    const source = row[at.picture];
    if (!source) return "";
    const image = element("img");
    image.src = source;
    image.alt = "Slice with the highest score";
    if (!row[at.report]) return image;
    const link = element("a");
    link.href = `${row[at.folder]}/report.html`;
    link.append(image);
    return link;
  },
  score(row) {
    if (row[at.score] === null) return element("span", "soft", "–");
    const made = element("div");
    const bar = element("div", "bar");
    const filled = element("i");
    filled.style.width = `${100 * row[at.score]}%`;
    bar.append(filled);
    made.append(element("span", "score", row[at.score].toFixed(3)), bar);
    return made;
  },
  findings: (row) => String(row[at.findings] ?? "–"),
  largest_ml: largest,
  patient: (row) => lines(["name", row[at.patient]], ["name soft", row[at.study]], ["name soft", row[at.series]]),
  patient_id: (row) => lines(
    ["name", row[at.patient_id]], ["name soft", row[at.accession_number]], ["name soft", row[at.study_uid]]),
  kind(row) {
    const size = row[at.columns] ? `${row[at.columns]} × ${row[at.rows]} × ${row[at.slices]}` : "";
    const kind = row[at.kind].replace(/-/g, " ").replace(/\b(ct|mr)\b/, (name) => name.toUpperCase());
    return lines(["", row[at.modality] || kind], ["soft", row[at.modality] && row[at.modality] !== kind ? kind : ""], ["soft", size]);
  },
  seconds: (row) => (row[at.seconds] ? `${row[at.seconds].toFixed(1)} s` : "–"),
  decision: (row) => row[at.decision] || "–",
  state(row) {
    const names = { done: "scored", failed: "failed", skipped: "skipped" };
    const made = element("span", `state ${row[at.state]}`, names[row[at.state]]);
    return made;
  },
  reason(row) {
    const made = element("div");
    const text = [row[at.reason], row[at.notes]].filter(Boolean).join(" ");
    const clamp = element("div", row[at.reason] ? "clamp" : "clamp soft", text);
    clamp.title = text;
    made.append(clamp);
    if (row[at.report]) {
      const link = element("a", "", "Report");
      link.href = `${row[at.folder]}/report.html`;
      made.append(link);
    }
    return made;
  },
};

function makeRow(index) {
  const made = element("tr");
  made.dataset.index = index;
  for (const column of shown) {
    const cell = element("td", column.number ? "number" : column.name === "picture" ? "picture" : "");
    cell.append(cells[column.name](rows[index]));
    made.append(cell);
  }
  return made;
}

function spacer(count) {
  const made = element("tr", "space");
  const cell = element("td");
  cell.colSpan = shown.length;
  cell.style.height = `${count * ROW_HEIGHT}px`;
  made.append(cell);
  return made;
}

let drawn = "";
function draw() {
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - EXTRA_ROWS);
  const last = Math.min(visible.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + EXTRA_ROWS);
  const state = `${first} ${last}`;
  if (state === drawn) return;
  drawn = state;
  body.replaceChildren(
    spacer(first), ...visible.slice(first, last).map(makeRow), spacer(visible.length - last));
}

function compare(left, right) {
  const a = rows[left][at[sorted.name]];
  const b = rows[right][at[sorted.name]];
  const isEmpty = (value) => value === null || value === "";
  if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b) || left - right;
  const order = typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
  return (sorted.descending ? -order : order) || left - right;
}

function update() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  visible = rows.map((_, index) => index).filter(
    (index) => groups[group](rows[index]) && words.every((word) => texts[index].includes(word)));
  visible.sort(compare);
  const of = visible.length === rows.length ? "" : ` of ${rows.length.toLocaleString("en")}`;
  document.getElementById("count").textContent = `${visible.length.toLocaleString("en")}${of} lines`;
  document.getElementById("nothing").hidden = visible.length > 0;
  list.scrollTop = 0;
  drawn = "";
  draw();
}

for (const column of shown) {
  const cell = element("th", column.number ? "number" : "");
  cell.scope = "col";
  if (column.width) cell.style.width = `${column.width}px`;
  if (column.title) {
    if (column.name === sorted.name) cell.setAttribute("aria-sort", "descending");
    const button = element("button", "", column.title);
    button.type = "button";
    button.dataset.sort = column.name;
    button.addEventListener("click", () => {
      const again = sorted.name === column.name;
      sorted = { name: column.name, descending: again ? !sorted.descending : Boolean(column.descending) };
      for (const other of head.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
      update();
    });
    cell.append(button);
  }
  head.append(cell);
}
for (const chip of document.querySelectorAll("[data-show]")) {
  chip.addEventListener("click", () => {
    group = chip.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) {
      other.setAttribute("aria-pressed", String(other === chip));
    }
    update();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
search.addEventListener("input", update);
list.addEventListener("scroll", draw, { passive: true });
window.addEventListener("resize", draw);
update();
