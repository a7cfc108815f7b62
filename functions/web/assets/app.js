// On every page: copying, deleting with a question, posting small forms, following a running job.
import { ask, problem, signInLink } from "./parts.js";
import { follow } from "./live.js";

const live = document.createElement("p");
live.className = "toast";
live.setAttribute("role", "status");
document.body.append(live);

/** Says something for a moment. */
export function say(text, ...more) {
  live.replaceChildren(text, ...more);
  live.classList.add("on");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => live.classList.remove("on"), more.length ? 12000 : 2500);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    const box = document.createElement("textarea"); // pages that came without TLS have no clipboard
    box.value = text;
    document.body.append(box);
    box.select();
    say(document.execCommand("copy") ? "Copied" : "It could not be copied");
    box.remove();
  }
}

/** Asks before something goes for good. */
function confirmDelete(name) {
  const dialog = document.createElement("dialog");
  dialog.className = "question";
  const title = document.createElement("h2");
  title.id = "question";
  title.tabIndex = -1;
  title.autofocus = true; // no button: the Enter that asked must not answer
  title.textContent = "Delete it?";
  dialog.setAttribute("aria-labelledby", "question");
  const text = document.createElement("p");
  text.textContent = (name ? `“${name}”: ` : "") + "record, log and outputs go for good. What uses its addresses will no longer find them.";
  const form = document.createElement("form");
  form.method = "dialog";
  for (const [value, label, kind] of [["no", "Keep it", "button"], ["yes", "Delete", "button danger"]]) {
    const b = document.createElement("button");
    b.value = value;
    b.textContent = label;
    b.className = kind;
    form.append(b);
  }
  dialog.append(title, text, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      done(dialog.returnValue === "yes");
      dialog.remove();
    });
  });
}

async function post(path) {
  try {
    const response = await ask(path, { method: "POST" });
    if (response.ok) return await response.json();
    const p = await problem(response);
    say(p.error, ...(p.sign_in ? [" ", signInLink()] : []));
  } catch {
    say("The server could not be reached. Try again.");
  }
  return null;
}

document.addEventListener("click", async (e) => {
  const target = e.target.closest("[data-copy], [data-copy-code], [data-delete]");
  if (!target) return;
  e.preventDefault();
  if (target.dataset.copy !== undefined) copy(target.dataset.copy);
  else if (target.dataset.copyCode !== undefined) copy(target.parentElement.querySelector("pre").textContent);
  else {
    const item = target.closest("[data-item]");
    if (!(await confirmDelete(item?.querySelector("h2")?.textContent.trim()))) return;
    if (!(await post(target.dataset.delete))) return;
    if (item) {
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      (next?.querySelector("h2 a") ?? document.getElementById("main")).focus();
      say("Deleted");
    } else location.assign(target.dataset.then);
  }
});

document.addEventListener("submit", async (e) => {
  if (new URL(e.target.action).pathname === "/sign-out") sessionStorage.clear(); // drafts are no one else's business
  const form = e.target.closest("form[data-post]");
  if (!form) return;
  e.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  if (!(await post(new URL(form.action).pathname))) button.disabled = false;
});

const panel = document.querySelector("[data-panel]");
if (panel) follow(panel);
