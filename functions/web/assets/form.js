// The form of a model: kept while it is filled in, files sent ahead, run without leaving the page.
import { ask, fill, problem, signInLink } from "./parts.js";
import { follow } from "./live.js";
import { dropZones, uploading } from "./upload.js";
import { concepts } from "./concepts.js";

const form = document.querySelector("form.inputs");
const key = "draft " + form.dataset.model;
const here = () => location.pathname + location.search;

// The draft: what was typed survives a reload, in this tab.
function values() {
  const list = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string" && !name.startsWith("_")) list.append(name, value);
  return list;
}

function keep() {
  try {
    sessionStorage.setItem(key, JSON.stringify({ at: here(), values: values().toString() }));
  } catch { /* no room or not allowed: only the comfort is lost */ }
}

function restore() {
  let draft;
  try {
    draft = JSON.parse(sessionStorage.getItem(key));
  } catch {
    return;
  }
  if (draft?.at !== here()) return;
  const list = new URLSearchParams(draft.values);
  for (const x of form.elements) {
    if (!x.name || x.name.startsWith("_") || x.type === "file") continue;
    if (x.type === "checkbox") x.checked = list.has(x.name);
    else if (x.type === "radio") x.checked = list.get(x.name) === x.value;
    else if (list.has(x.name)) x.value = list.get(x.name);
  }
}

restore();
concepts(form.querySelector("[data-concepts]"), form.querySelector("textarea[name=prompt]"));
dropZones(form, keep);

// Sliders and their numbers.
for (const range of form.querySelectorAll("input[data-for]")) {
  const number = document.getElementById(range.dataset.for);
  const back = () => { range.value = number.value === "" ? range.min : number.value; };
  back();
  number.addEventListener("input", back);
  range.addEventListener("input", () => {
    number.value = range.value;
    number.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

// Another base has other sizes and limits: its form is loaded.
form.elements.base?.addEventListener("change", (e) => location.assign(`${new URL(form.action).pathname}?base=${encodeURIComponent(e.target.value)}`));

let timer;
form.addEventListener("input", (e) => {
  clear(e.target.closest("[data-field]"));
  clearTimeout(timer);
  timer = setTimeout(keep, 150);
});
addEventListener("pagehide", keep);
form.querySelector(".reset").addEventListener("click", (e) => {
  e.preventDefault();
  removeEventListener("pagehide", keep);
  sessionStorage.removeItem(key);
  location.assign(e.currentTarget.href);
});
addEventListener("beforeunload", (e) => { if (uploading()) e.preventDefault(); });

function clear(field) {
  if (!field) return;
  field.classList.remove("bad");
  const error = field.querySelector(".error");
  if (error) error.hidden = true;
  field.querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
}

/** Puts errors beside their fields and goes to the first. */
function complain(fields) {
  let first;
  for (const field of form.querySelectorAll("[data-field]")) {
    clear(field);
    const text = fields[field.dataset.field];
    if (!text) continue;
    field.classList.add("bad");
    const error = field.querySelector(".error");
    error.textContent = text;
    error.hidden = false;
    for (let d = field.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
    const control = field.querySelector("input:not([type=range]), textarea, select");
    control?.setAttribute("aria-invalid", "true");
    first ??= control;
  }
  whole(fields[""] ?? "");
  (first ?? form.querySelector(".form-error")).focus?.();
  first?.scrollIntoView({ block: "center", behavior: "smooth" });
}

function whole(...words) {
  const p = form.querySelector(".form-error");
  p.hidden = words.join("") === "";
  p.replaceChildren(...words);
}

const button = form.querySelector("button[type=submit]");
form.addEventListener("submit", async (e) => {
  e.preventDefault();
  if (!button || button.disabled) return;
  button.disabled = true;
  whole("");
  try {
    button.dataset.busy = uploading() ? "Uploading…" : "Sending…";
    await uploading();
    await run();
  } catch {
    whole("The server could not be reached. Look under Predictions whether it was taken before you try again.");
  } finally {
    button.disabled = false;
    delete button.dataset.busy;
  }
});

async function run() {
  const body = new URLSearchParams(values());
  body.set("_base", form.elements._base.value);
  const response = await ask(form.action, { method: "POST", body });
  if (!response.ok) {
    const p = await problem(response);
    if (p.fields) return complain(p.fields);
    return whole(p.error ?? "That went wrong.", ...(p.sign_in ? [" ", signInLink()] : []));
  }
  complain({});
  const { url } = await response.json();
  history.pushState(null, "", url);
  shown = here();
  keep();
  const tab = document.querySelector('[data-tab="api"]');
  tab.search = "?from=" + url.split("/").pop();
  const result = document.getElementById("result");
  const part = await ask(url + "/panel");
  if (!part.ok) return location.assign(url);
  fill(result, await part.text());
  result.focus({ preventScroll: true });
  if (result.getBoundingClientRect().top > innerHeight * 0.6 || result.getBoundingClientRect().top < 0) result.scrollIntoView({ block: "start", behavior: "smooth" });
  follow(result.querySelector("[data-panel]"));
}

// Going back leads to the page that was, with its own panel. A jump within the page is no such thing.
let shown = here();
addEventListener("popstate", () => { if (here() !== shown) location.reload(); });

form.addEventListener("keydown", (e) => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) form.requestSubmit();
});
