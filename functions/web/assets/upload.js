// Files are sent as soon as they are chosen, straight to where the server keeps them; the form carries the
// address. So a reload loses nothing that has arrived.
import { ask, problem } from "./parts.js";

const going = new Set();

/** A promise of all uploads' end, null when there are none. */
export function uploading() {
  return going.size ? Promise.allSettled([...going]) : null;
}

/** Makes the drop zones of a form send what is put into them. */
export function dropZones(form, keep) {
  const signedIn = form.dataset.signedIn === "yes";
  for (const zone of form.querySelectorAll("[data-drop]")) {
    const file = zone.querySelector("input[type=file]");
    const address = zone.parentElement.querySelector(".address input");
    const details = zone.parentElement.querySelector(".address");
    const field = zone.closest("[data-field]");
    const held = zone.querySelector(".held");
    const bar = held.querySelector("progress");
    const state = held.querySelector(".file-state");
    const picture = held.querySelector("img");
    let request = null;
    if (zone.dataset.zip !== undefined) {
      file.multiple = true;
      file.accept += ",image/png,image/jpeg,image/webp";
    }
    const show = (name, text) => {
      held.hidden = !name;
      zone.classList.toggle("full", Boolean(name));
      held.querySelector(".file-name").textContent = name;
      state.textContent = text;
    };
    const fail = (text) => {
      show("", "");
      field.classList.add("bad");
      const error = field.querySelector(".error");
      error.textContent = text;
      error.hidden = false;
      file.setAttribute("aria-invalid", "true");
      file.value = "";
    };
    // The server has shown what its own page holds; a draft may hold another upload.
    let name = "";
    try { name = decodeURIComponent(new URL(address.value).pathname.split("/").pop()); } catch { /* no address */ }
    if (address.value.includes("/serving/") && name && held.hidden) {
      show(name, "uploaded");
      details.open = false;
    }
    for (const on of ["dragenter", "dragover"]) zone.addEventListener(on, () => zone.classList.add("over"));
    for (const off of ["dragleave", "drop"]) zone.addEventListener(off, () => zone.classList.remove("over"));
    held.querySelector(".remove").addEventListener("click", () => {
      request?.abort();
      picture.hidden = true;
      address.value = "";
      file.value = "";
      show("", "");
      keep();
      file.focus();
    });
    file.addEventListener("change", () => {
      const files = [...file.files];
      if (!files.length) return;
      field.classList.remove("bad");
      field.querySelector(".error").hidden = true;
      file.removeAttribute("aria-invalid");
      if (!signedIn) return fail("Sign in first; then it can be uploaded.");
      const work = send(files).catch((e) => { if (e) fail(e.message); }).finally(() => {
        going.delete(work);
        bar.hidden = true;
        request = null;
      });
      going.add(work);
    });

    async function send(files) {
      address.value = "";
      let one = files[0];
      if (zone.dataset.zip !== undefined && !(files.length === 1 && isZip(one))) {
        if (files.some(isZip)) throw new Error("Drop one zip, or the pictures themselves, not both.");
        const { zip } = await import("./zip.js");
        show(`${files.length} pictures`, "packing…");
        one = await zip(files, "pictures.zip");
      }
      show(one.name, "uploading…");
      if (one.type.startsWith("image/")) {
        picture.src = URL.createObjectURL(one);
        picture.hidden = false;
      }
      bar.value = 0;
      bar.hidden = false;
      const place = await ask("/-/upload/" + encodeURIComponent(one.name), { method: "POST" }).catch(() => { throw new Error("The server could not be reached. Try again."); });
      if (!place.ok) throw new Error((await problem(place)).error);
      const { upload_url, serving_url } = await place.json();
      await put(upload_url, one);
      address.value = serving_url;
      show(one.name, size(one.size));
      file.value = ""; // it has arrived: the form need not carry it
      address.dispatchEvent(new Event("input", { bubbles: true }));
      keep();
    }

    // fetch tells nothing of an upload's progress.
    function put(url, body) {
      return new Promise((done, failed) => {
        request = new XMLHttpRequest();
        request.open("PUT", url);
        request.upload.addEventListener("progress", (e) => {
          if (!e.lengthComputable) return;
          bar.value = (100 * e.loaded) / e.total;
          state.textContent = `${size(e.loaded)} of ${size(e.total)}`;
        });
        request.addEventListener("load", () => {
          if (request.status < 300) return done();
          let detail = "The upload was refused. Try again.";
          try { detail = JSON.parse(request.responseText).detail || detail; } catch { /* not ours */ }
          failed(new Error(detail));
        });
        request.addEventListener("error", () => failed(new Error("The connection broke while uploading. Choose the file again.")));
        request.addEventListener("abort", () => failed(null));
        request.send(body);
      });
    }
  }
}

const isZip = (f) => f.type.includes("zip") || /\.zip$/i.test(f.name);

function size(n) {
  if (n < 1e6) return `${Math.max(1, Math.round(n / 1e3))} KB`;
  return `${(n / 1e6).toFixed(1)} MB`;
}
