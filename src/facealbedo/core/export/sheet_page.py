"""Style and script of the contact sheet: plain CSS and JavaScript, nothing loaded from anywhere."""

from __future__ import annotations

STYLE = """
:root { color-scheme: dark; --page: #232323; --panel: #2c2c2c; --line: #3c3c3c; --text: #dedede; --dim: #9a9a9a;
  --tile: #191919; --stage: #4d4d4d; --good: #8fb996; --mid: #c9b37e; --bad: #c98b84; --s: 150px; --n: 54px; }
:root[data-theme="light"] { color-scheme: light; --page: #dcdcdc; --panel: #e9e9e9; --line: #c2c2c2; --text: #222222;
  --dim: #666666; --tile: #cfcfcf; --stage: #8f8f8f; --good: #2f6b3c; --mid: #7a5c12; --bad: #8f3a30; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 13px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
a { color: inherit; }
a:focus-visible, button:focus-visible, input:focus-visible, select:focus-visible {
  outline: 2px solid var(--dim); outline-offset: 2px; }
header { display: flex; flex-wrap: wrap; gap: 8px 28px; align-items: baseline; padding: 20px 24px 12px; }
h1 { font-size: 19px; font-weight: 600; margin: 0; letter-spacing: .01em; overflow-wrap: anywhere; }
.counts { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--dim); }
.counts b { color: var(--text); font-weight: 600; font-variant-numeric: tabular-nums; }
.tools { margin-left: auto; display: flex; flex-wrap: wrap; gap: 12px; align-items: center; color: var(--dim); }
.tools input[type=search], .tools select, .tools button { font: inherit; color: var(--text); background: var(--panel);
  border: 1px solid var(--line); border-radius: 4px; padding: 4px 8px; }
.tools input[type=range] { width: 110px; vertical-align: middle; accent-color: var(--dim); }
.tools label { display: inline-flex; gap: 6px; align-items: center; }
.sheet { min-width: max-content; padding: 0 24px 40px; }
.row { display: grid; grid-template-columns: var(--columns); column-gap: 8px; align-items: center; padding: 8px 0;
  border-top: 1px solid var(--line); }
.body .row { content-visibility: auto; contain-intrinsic-size: auto calc(var(--s) + 16px); }
.head { position: sticky; top: 0; z-index: 2; background: var(--page); border-top: 0; padding: 6px 0; color: var(--dim);
  align-items: end; }
.head button { font: inherit; line-height: inherit; color: inherit; background: none; border: 0;
  padding: 0; cursor: pointer; text-align: inherit; width: 100%; display: block; }
.head button:hover { color: var(--text); }
.head [aria-sort=ascending] button::after { content: " \\2191"; color: var(--text); }
.head [aria-sort=descending] button::after { content: " \\2193"; color: var(--text); }
.unit { display: block; font-size: 11px; opacity: .8; min-height: 1.45em; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.missing { color: var(--dim); }
.who { overflow: hidden; align-self: center; padding-right: 4px; }
.who .id { font-weight: 600; overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 3; overflow: hidden; }
.who .photo { color: var(--dim); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.status-done { color: var(--good); } .status-rejected { color: var(--mid); } .status-failed { color: var(--bad); }
.links { display: flex; gap: 4px 12px; margin-top: 4px; flex-wrap: wrap; }
.links a { text-decoration-color: var(--dim); text-underline-offset: 3px; }
.tile { display: block; width: var(--s); height: var(--s); background: var(--tile); border-radius: 3px;
  overflow: hidden; cursor: zoom-in; }
.tile img { width: 100%; height: 100%; object-fit: cover; object-position: var(--x) 0; display: block; }
.tile.whole { cursor: default; }
.tile.whole img { object-position: center; }
.strip { display: grid; grid-template-columns: repeat(var(--across), 1fr); gap: 2px; cursor: zoom-in;
  width: calc(var(--s) * var(--across) / 2 + 6px); border-radius: 3px; overflow: hidden; }
.strip img { width: 100%; aspect-ratio: 1; object-fit: cover; object-position: var(--x) 0; display: block; }
.reason { color: var(--text); max-width: 70ch; padding: 0 12px; overflow-wrap: anywhere; }
.tone { display: flex; gap: 8px; align-items: center; }
.swatch { width: 34px; height: 34px; border-radius: 3px; flex: none; }
.tone small { display: block; color: var(--dim); font-size: 11px; }
footer { color: var(--dim); padding: 0 24px 32px; max-width: 100ch; }
footer h2 { font-size: 13px; font-weight: 600; color: var(--text); margin: 16px 0 4px; }
footer ul { margin: 0; padding-left: 18px; }
dialog { border: 0; padding: 0; margin: 0; width: 100vw; height: 100vh; max-width: none; max-height: none;
  background: var(--stage); color: #fff; }
dialog[open] { display: grid; grid-template-rows: auto minmax(0, 1fr); }
dialog .bar { display: flex; gap: 20px; align-items: baseline; padding: 10px 18px; background: rgba(0, 0, 0, .38); }
dialog .bar b { font-weight: 600; overflow-wrap: anywhere; }
dialog .bar span { opacity: .85; }
dialog .bar .keys { margin-left: auto; font-size: 12px; white-space: nowrap; }
dialog button { font: inherit; color: inherit; background: none; border: 1px solid rgba(255, 255, 255, .4);
  border-radius: 4px; padding: 2px 10px; cursor: pointer; }
dialog img { width: 100%; height: 100%; object-fit: contain; display: block; padding: 12px; }
.hidden { display: none; }
@media print { .tools, dialog { display: none; } .body .row { content-visibility: visible; break-inside: avoid; } }
"""

SCRIPT = """
"use strict";
(function () {
  const body = document.querySelector(".body");
  const rows = Array.from(body.children);
  const heads = Array.from(document.querySelectorAll(".head [data-sort]"));
  const find = document.getElementById("find");
  const only = document.getElementById("only");
  const shown = document.getElementById("shown");

  function key(row, name) { return row.querySelector('[data-key="' + name + '"]').dataset.value; }

  function sortBy(head) {
    const name = head.dataset.sort;
    const numeric = head.dataset.kind === "number";
    const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(function (other) { other.setAttribute("aria-sort", "none"); });
    head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const keyed = rows.map(function (row, place) { return { row: row, value: key(row, name), place: place }; });
    keyed.sort(function (a, b) {
      if ((a.value === "") !== (b.value === "")) { return a.value === "" ? 1 : -1; }
      const order = numeric ? Number(a.value) - Number(b.value)
        : a.value.localeCompare(b.value, undefined, { numeric: true });
      return order * direction || a.place - b.place;
    });
    keyed.forEach(function (entry) { body.appendChild(entry.row); });
  }

  heads.forEach(function (head) {
    head.querySelector("button").addEventListener("click", function () { sortBy(head); });
  });

  function filter() {
    const text = find.value.trim().toLowerCase();
    let count = 0;
    rows.forEach(function (row) {
      const fits = row.dataset.search.toLowerCase().includes(text)
        && (only.value === "" || row.dataset.status === only.value);
      row.classList.toggle("hidden", !fits);
      count += fits ? 1 : 0;
    });
    shown.textContent = count === rows.length ? "" : count + " shown";
  }
  find.addEventListener("input", filter);
  only.addEventListener("change", filter);
  filter();

  const root = document.documentElement;
  document.getElementById("size").addEventListener("input", function (event) {
    root.style.setProperty("--s", event.target.value + "px");
  });
  document.getElementById("theme").addEventListener("click", function () {
    root.dataset.theme = root.dataset.theme === "light" ? "" : "light";
  });
  if (window.matchMedia("(prefers-color-scheme: light)").matches) { root.dataset.theme = "light"; }

  const dialog = document.querySelector("dialog");
  const picture = dialog.querySelector("img");
  let current = null;

  function visible() {
    return Array.from(body.children).filter(function (row) { return !row.classList.contains("hidden"); });
  }
  function show(link) {
    current = link;
    picture.src = link.href;
    picture.alt = link.title;
    dialog.querySelector("b").textContent = link.closest(".row").dataset.id;
    dialog.querySelector("span").textContent = link.title;
    if (!dialog.open) { dialog.showModal(); }
  }
  function pictures(row) { return Array.from(row.querySelectorAll("a[data-picture]")); }
  function step(across, down) {
    const list = visible();
    const row = current.closest(".row");
    if (across) {
      const links = pictures(row);
      show(links[(links.indexOf(current) + across + links.length) % links.length]);
      return;
    }
    for (let at = list.indexOf(row) + down; at >= 0 && at < list.length; at += down) {
      const same = list[at].querySelector('a[data-picture="' + current.dataset.picture + '"]');
      if (same) { show(same); same.scrollIntoView({ block: "center" }); return; }
    }
  }
  body.addEventListener("click", function (event) {
    const link = event.target.closest("a[data-picture]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) { return; }
    event.preventDefault();
    show(link);
  });
  dialog.addEventListener("keydown", function (event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) { event.preventDefault(); step(moves[event.key][0], moves[event.key][1]); }
  });
  dialog.querySelector("button").addEventListener("click", function () { dialog.close(); });
  picture.addEventListener("click", function () { dialog.close(); });
})();
"""
