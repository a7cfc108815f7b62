// The concepts to draw with: rows with a name and a slider in place of two lists of addresses and numbers.

/** Turns the field of addresses and scales into rows. */
export function concepts(field, prompt) {
  if (!field) return;
  const urls = field.querySelector("[name=lora_urls]");
  const scales = field.querySelector("[name=lora_scales]");
  const list = field.querySelector(".chosen");
  const select = field.querySelector("select");
  const known = new Map([...select.options].filter((o) => o.dataset.name).map((o) => [o.value, o]));
  const parts = (s) => s.split("|").map((p) => p.trim()).filter(Boolean);
  let rows = [];

  function read() {
    const numbers = parts(scales.value);
    rows = parts(urls.value).map((url, i) => ({ url, scale: numbers[i] ?? numbers[0] ?? "0.5" }));
  }

  function write() {
    urls.value = rows.map((r) => r.url).join("|");
    if (rows.length) scales.value = rows.map((r) => r.scale).join("|");
    urls.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function make(tag, props = {}, ...children) {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  }

  function nameOf(url) {
    if (known.has(url)) return known.get(url).dataset.name;
    try {
      const last = decodeURIComponent(new URL(url).pathname.split("/").pop());
      return last.replace(/^tmp[a-z2-7]{8}/, "").replace(/\.safetensors$/, "") || url;
    } catch {
      return url;
    }
  }

  function insert(token) {
    if (!prompt) return;
    const at = prompt.selectionEnd ?? prompt.value.length;
    prompt.setRangeText(token, prompt.selectionStart ?? at, at, "end");
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
    prompt.focus();
  }

  function draw() {
    list.replaceChildren(...rows.map((row, i) => {
      const name = nameOf(row.url);
      const number = make("input", { type: "number", step: "any", value: row.scale, className: "scale" });
      number.setAttribute("aria-label", `Scale of ${name}`);
      const range = make("input", { type: "range", min: "0", max: "1.5", step: "0.05", value: row.scale, tabIndex: -1 });
      range.setAttribute("aria-hidden", "true");
      range.addEventListener("input", () => { number.value = row.scale = range.value; write(); });
      number.addEventListener("input", () => { range.value = row.scale = number.value; write(); });
      const token = make("button", { type: "button", className: "token", textContent: `<${i + 1}>`, title: "Put into the prompt" });
      token.setAttribute("aria-label", `Put ${name} into the prompt as <${i + 1}>`);
      token.addEventListener("click", () => insert(`<${i + 1}>`));
      const remove = make("button", { type: "button", className: "quiet remove", textContent: "Remove" });
      remove.setAttribute("aria-label", `Remove ${name}`);
      remove.addEventListener("click", () => { rows.splice(i, 1); write(); draw(); select.focus(); });
      const label = row.typed
        ? make("input", { type: "text", value: row.url, placeholder: "https://… .safetensors", inputMode: "url", className: "name" })
        : make("b", { className: "name", textContent: name, title: row.url });
      if (row.typed) {
        label.setAttribute("aria-label", "Address of the concept");
        label.addEventListener("input", () => { row.url = label.value.trim(); write(); });
      }
      return make("li", {}, token, label, range, number, remove);
    }));
  }

  function add(url, scale, typed = false) {
    rows.push({ url, scale: scale || "0.7", typed });
    if (!typed) write();
    draw();
    if (typed) list.lastElementChild.querySelector("input.name").focus();
  }

  select.addEventListener("change", () => {
    const o = select.selectedOptions[0];
    if (o.value === "address") add("", "0.7", true);
    else if (o.value) add(o.value, Number(o.dataset.scale) ? o.dataset.scale : "0.7");
    select.value = "";
  });
  read();
  draw();
}
