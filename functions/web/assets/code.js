// The API tab: code that carries the values of the form as it stands in this tab.
import { ask, fill } from "./parts.js";

const section = document.getElementById("code");
const from = new URLSearchParams(location.search).get("from");
let draft = null;
try {
  draft = JSON.parse(sessionStorage.getItem("draft " + section.dataset.model));
} catch { /* no draft: the defaults stand there */ }

if (draft && (!from || draft.at === "/predictions/" + from)) { // else another prediction's values are asked for
  document.querySelector('[data-tab="demo"]').href = draft.at;
  const response = await ask(section.dataset.src + location.search, { method: "POST", body: new URLSearchParams(draft.values) });
  if (response.ok) fill(section, await response.text());
}

// The language stays chosen.
const last = localStorage.getItem("language");
if (last) document.getElementById("lang-" + last)?.click();
section.addEventListener("change", (e) => {
  if (e.target.name === "language") localStorage.setItem("language", e.target.value);
});
