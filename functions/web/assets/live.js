// Follows a running job: fetches its panel again and puts in what changed.
import { ask, parse, problem, signInLink } from "./parts.js";

let current = 0; // only the newest panel is followed

/** Follows the job of a panel until it has ended. */
export function follow(panel) {
  const mine = ++current;
  const seen = new Map();
  for (const part of panel.querySelectorAll("[data-part]")) seen.set(part.dataset.part, part.innerHTML);
  const title = document.title.replace(/^\d+ % · /, "");
  let failures = 0;
  const log = panel.querySelector('[data-part="log"]');
  log.scrollTop = log.scrollHeight; // its newest lines

  const later = (ms) => setTimeout(look, document.hidden ? Math.max(ms * 4, 3000) : ms);
  name(panel, title);
  if (Number(panel.dataset.poll)) later(Number(panel.dataset.poll));

  async function look() {
    if (mine !== current || !panel.isConnected) return;
    let response;
    try {
      response = await ask(panel.dataset.panel);
    } catch {
      lost(panel, "The connection is lost; the job goes on. Trying again…");
      later(Math.min(15000, 1000 * 2 ** failures++));
      return;
    }
    if (response.status === 401) return lost(panel, "You are signed out; the job goes on. ", signInLink());
    if (response.status === 404) return lost(panel, "This was deleted.");
    if (!response.ok) {
      lost(panel, (await problem(response)).error);
      later(Math.min(15000, 1000 * 2 ** failures++));
      return;
    }
    failures = 0;
    const next = parse(await response.text()).querySelector("[data-panel]");
    if (mine !== current || !next) return;
    update(panel, next, seen);
    lost(panel, "");
    name(panel, title);
    if (Number(panel.dataset.poll)) later(Number(panel.dataset.poll));
  }
}

function update(panel, next, seen) {
  for (const key of ["poll", "status", "percent"]) panel.dataset[key] = next.dataset[key];
  for (const part of next.querySelectorAll("[data-part]")) {
    const name = part.dataset.part;
    const html = part.innerHTML;
    if (seen.get(name) === html) continue;
    seen.set(name, html);
    const here = panel.querySelector(`[data-part="${name}"]`);
    if (!here) continue;
    here.className = part.className;
    const atEnd = here.scrollHeight - here.scrollTop - here.clientHeight < 40;
    const focused = here.contains(document.activeElement);
    here.replaceChildren(...part.childNodes);
    if (name === "log" && atEnd) here.scrollTop = here.scrollHeight;
    if (focused && !here.contains(document.activeElement)) (here.querySelector("a, button") ?? document.getElementById("result"))?.focus();
  }
}

function lost(panel, ...words) {
  const p = panel.querySelector("[data-lost]");
  p.hidden = words.join("") === "";
  p.replaceChildren(...words);
}

function name(panel, title) {
  const running = panel.dataset.status === "processing" || panel.dataset.status === "starting";
  document.title = running && Number(panel.dataset.percent) ? `${panel.dataset.percent} % · ${title}` : title;
}
