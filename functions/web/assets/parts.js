// Parts of pages that the server rendered, and requests in the session's name.

// Pages may make HTML only here, and only of what this server sent.
const policy = window.trustedTypes?.createPolicy("lowrank", { createHTML: (s) => s }) ?? { createHTML: (s) => s };

/** Fills an element with a part that this server rendered. */
export function fill(element, html) {
  element.innerHTML = policy.createHTML(html);
}

/** Reads a part into a detached element. */
export function parse(html) {
  const t = document.createElement("template");
  t.innerHTML = policy.createHTML(html);
  return t.content;
}

const token = document.querySelector('meta[name="form-token"]')?.content ?? "1";

/** Asks the server; X-Lowrank says that a script asks, and carries the session's form token. */
export async function ask(path, options = {}) {
  return fetch(path, { ...options, headers: { "X-Lowrank": token, ...options.headers }, credentials: "same-origin" });
}

/** What went wrong, in the server's words. */
export async function problem(response) {
  try {
    return await response.json();
  } catch {
    return { error: `The server answered ${response.status}. Try again.` };
  }
}

/** A link to sign in and come back. */
export function signInLink() {
  const a = document.createElement("a");
  a.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
  a.textContent = "Sign in again";
  return a;
}
