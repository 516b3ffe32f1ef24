"use strict";
const WORDS = { "1": "present", "0": "absent", "?": "perhaps", "": "unknown" };
const key = document.body.dataset.key;
const entries = [...document.querySelectorAll("li")];
const nameOf = (entry) => JSON.stringify([entry.closest(".card").dataset.id, entry.dataset.class]);
let decisions = {};
try { decisions = JSON.parse(localStorage.getItem(key)) || {}; } catch { decisions = {}; }

function show() {
  for (const entry of entries) {
    const state = decisions[nameOf(entry)];
    entry.classList.toggle("decided", state !== undefined);
    entry.querySelector("output").textContent = state === undefined ? "" : "→ " + WORDS[state];
  }
  const names = new Set(entries.map(nameOf)), made = Object.keys(decisions);
  const count = made.filter((name) => names.has(name)).length;
  const others = made.length - count ? "; " + (made.length - count) + " of another page, which are not downloaded" : "";
  document.getElementById("status").textContent = count + (count === 1 ? " decision" : " decisions") + others;
}

function save() {
  try { localStorage.setItem(key, JSON.stringify(decisions)); } catch { /* a browser that keeps nothing */ }
  show();
}

function filter() {
  const wanted = ["class", "group", "reason"].map((name) => [name, document.getElementById(name).value]);
  for (const entry of entries) {
    entry.hidden = wanted.some(([name, value]) => value !== "" && entry.dataset[name] !== value);
  }
  for (const card of document.querySelectorAll(".card")) {
    card.hidden = [...card.querySelectorAll("li")].every((entry) => entry.hidden);
  }
}

function move(entry, by) {
  const shown = entries.filter((one) => !one.hidden);
  const next = shown[shown.indexOf(entry) + by];
  if (next) { next.focus(); }
}

function csv() {
  const quoted = (text) => '"' + String(text).replaceAll('"', '""') + '"';
  const lines = ["id,class,state,was,note"];
  const seen = new Set();
  for (const entry of entries) {
    const name = nameOf(entry);
    if (seen.has(name) || decisions[name] === undefined) { continue; }
    seen.add(name);
    const fields = [entry.closest(".card").dataset.id, entry.dataset.class, decisions[name], entry.dataset.was, entry.dataset.reason];
    lines.push(fields.map(quoted).join(","));
  }
  return lines.join("\n") + "\n";
}

// Returns whether the key means something.
function press(entry, pressed) {
  const state = { "1": "1", "0": "0", "?": "?", "u": "" }[pressed];
  if (state !== undefined) {
    decisions[nameOf(entry)] = state;
    save();
    move(entry, 1);
  } else if (pressed === "Backspace") {
    delete decisions[nameOf(entry)];
    save();
  } else if (pressed === "ArrowDown" || pressed === "ArrowRight") {
    move(entry, 1);
  } else if (pressed === "ArrowUp" || pressed === "ArrowLeft") {
    move(entry, -1);
  } else {
    return false;
  }
  return true;
}

let selected = entries[0];
document.addEventListener("focusin", (event) => { selected = event.target.closest("li") || selected; });
document.addEventListener("keydown", (event) => {
  const entry = document.activeElement && document.activeElement.closest("li");
  if (!entry || event.ctrlKey || event.metaKey || event.altKey) { return; }
  if (press(entry, event.key)) { event.preventDefault(); }
});
for (const button of document.querySelectorAll("button[data-key]")) {
  button.addEventListener("click", () => {
    const entry = selected && !selected.hidden ? selected : entries.find((one) => !one.hidden);
    if (!entry) { return; }
    entry.focus();
    press(entry, button.dataset.key);
  });
}
for (const name of ["class", "group", "reason"]) { document.getElementById(name).addEventListener("change", filter); }
document.getElementById("clear").addEventListener("click", () => {
  if (confirm("Clear all decisions?")) { decisions = {}; save(); }
});
document.getElementById("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  link.download = "corrections.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
show();
if (entries.length) { entries[0].focus(); }
