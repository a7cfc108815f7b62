// A link such as /sign-in#r8_… signs in by itself. What follows # is never sent, and goes from the address bar.
const token = decodeURIComponent(location.hash.slice(1));
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.querySelector("form.sign-in");
  form.elements.token.value = token;
  form.requestSubmit();
}
