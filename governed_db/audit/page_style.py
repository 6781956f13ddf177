"""The style sheet of the report: screen and paper, light and dark, without anything from elsewhere."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2330; --soft: #5b6576; --line: #dfe3ea; --panel: #f5f7fa; --accent: #2457a6;
  --allow: #3f7fbf; --approved: #3a9d78; --observed: #9aa3b2; --needs: #e0a32e; --block: #c8452f;
  --bad-paper: #fdf0ed; --wait-paper: #fdf6e6; --good-paper: #edf7f2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181f; --ink: #e4e8ef; --soft: #98a3b5; --line: #2c3442; --panel: #1b212b; --accent: #8ab4f2;
    --allow: #5b9bd8; --approved: #4fb88f; --observed: #7a8496; --needs: #e5b04a; --block: #e5705a;
    --bad-paper: #2e1d1b; --wait-paper: #2c2619; --good-paper: #18281f;
  }
}
* { box-sizing: border-box; }
html { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
body { margin: 0; background: var(--paper); color: var(--ink); }
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 44px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 52px 0 6px; padding-top: 14px; border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 26px 0 4px; }
p { margin: 6px 0 12px; max-width: 46rem; }
a { color: var(--accent); }
.lede { font-size: 1.07rem; color: var(--soft); }
.note { color: var(--soft); font-size: 0.9rem; }
code, .code { font: 0.86em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Noto Sans Mono", monospace; overflow-wrap: anywhere; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 18px 0 0; padding: 0; font-size: 0.92rem; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 20px 0 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 12px; margin: 26px 0 6px; padding: 0; list-style: none; }
.cards li { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.cards b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.cards span { color: var(--soft); font-size: 0.88rem; }
.findings { list-style: none; margin: 12px 0; padding: 0; }
.findings li { border-left: 4px solid var(--observed); background: var(--panel); padding: 9px 14px; margin: 8px 0; border-radius: 0 6px 6px 0; }
.findings .bad { border-color: var(--block); background: var(--bad-paper); }
.findings .wait { border-color: var(--needs); background: var(--wait-paper); }
.findings .good { border-color: var(--approved); background: var(--good-paper); }
.findings b { margin-right: 6px; }
.scroll { overflow-x: auto; margin: 10px 0 4px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 0.8rem; border-bottom: 1px solid var(--soft); }
th, td { padding: 6px 12px 6px 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; min-width: 3.5rem; }
td.time, td.number, td.word, td.word code { overflow-wrap: normal; }
td:last-child, th:last-child { padding-right: 0; }
.number, td.number { padding-right: 20px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { min-width: 13rem; }
ul.plain { list-style: none; margin: 0; padding: 0; }
.mark { display: inline-block; padding: 0 7px; border-radius: 9px; font-size: 0.82em; border: 1px solid currentColor; white-space: nowrap; }
.mark.block { color: var(--block); } .mark.needs_approval { color: var(--needs); } .mark.bad { color: var(--block); }
.mark.approved, .mark.allow { color: var(--approved); }
@media (prefers-color-scheme: light) { .mark.needs_approval { color: #94650b; } .mark.approved, .mark.allow { color: #237557; } }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0; padding: 0; font-size: 0.88rem; color: var(--soft); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 7px; }
.swatch.allow { background: var(--allow); } .swatch.approved { background: var(--approved); }
.swatch.observed { background: var(--observed); } .swatch.needs_approval { background: var(--needs); }
.swatch.block { background: var(--block); }
svg { display: block; width: 100%; min-width: 620px; height: auto; margin: 12px 0; overflow: visible; }
svg text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
svg .value { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .end, svg .name { text-anchor: end; }
svg .panel { font-weight: 600; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .allow { fill: var(--allow); } svg .approved { fill: var(--approved); } svg .observed { fill: var(--observed); }
svg .needs_approval { fill: var(--needs); } svg .block { fill: var(--block); }
footer { color: var(--soft); font-size: 0.85rem; padding-top: 40px; padding-bottom: 60px; }
@media (max-width: 640px) { main, header, footer { padding-left: 16px; padding-right: 16px; } h1 { font-size: 1.6rem; } }
@page { margin: 15mm 13mm; }
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --ink: #000000; --soft: #444c58; --line: #cfd4db; --panel: #f6f7f9; --accent: #000000;
    --allow: #3f7fbf; --approved: #3a9d78; --observed: #9aa3b2; --needs: #d9971a; --block: #b83a25;
    --bad-paper: #fdf0ed; --wait-paper: #fdf6e6; --good-paper: #edf7f2;
  }
  html { font-size: 10.5px; }
  main, header, footer { max-width: none; padding: 0; }
  header { padding-top: 0; }
  nav { display: none; }
  h2 { margin-top: 26px; }
  h2, h3 { break-after: avoid; }
  tr, li, svg, .facts { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  svg { min-width: 0; }
  .wide { min-width: 0; }
  .cards { grid-template-columns: repeat(7, 1fr); gap: 7px; }
  .cards li { padding: 8px 9px; }
  .findings li, .cards li, svg, .swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""  # noqa: E501 - a rule of CSS reads best on one line
