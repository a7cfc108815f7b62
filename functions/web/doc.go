// Package web is the web page: train and draw from the browser. It renders HTML on the server
// (html/template) and adds to it with small ES modules; there is no build step, no framework, and no
// request to another host. Reading works without JavaScript, and so do the forms.
//
// # How it is mounted
//
// New returns one http.Handler that stands in front of the API:
//
//	h := web.New(web.Config{Ports: ports, Catalogue: catalogue, API: api.New(…), PublicURL: publicURL, Log: log})
//
// It owns the paths of pages (/, /sign-in, /sign-out, /examples, /predictions…, /concepts, /{owner}/{model}…)
// and everything under /-/ (its assets and what its scripts ask), and gives all else to API: /v1/…, /pbxt/…,
// /serving/…, /openapi.json, and / for whoever does not ask for text/html. Paths whose handler must come
// before (the store's /_put/) are mounted in front, or handed in with API.
//
// # How it works
//
// Whatever changes something goes through the API, asked in this process with the token that the browser
// signed in with, so that the rules stand once. Reading goes to infra/predictions and infra/registry, held to
// the owner of the token.
//
// A session is a random cookie; what is stored under its hash is the token, sealed with a key that only the
// cookie gives (session.go). Signing out, revoking the token and time end it. Every POST is held to the same
// origin and to a token of the session; the Content-Security-Policy allows our own files and nothing inline.
//
// Forms are made from the input schemas (form.go), read back into typed inputs (decode.go), and errors of the
// API are put beside their fields (errors.go). A running job's panel is rendered here and fetched again by
// live.js part by part; the loss curve and the time left are read from the log's progress lines (progress.go).
//
// What a job puts under its output prefix is shown as soon as it is there: out-*.png before the job has ended,
// and of a training (gpurunner/models) preview-*.png on its way and loss.csv at its end, which are no outputs:
// clients do not hear of them. Room for what is still to come is kept, so that nothing moves.
//
// # How it is tested
//
// Most tests ask the handler as a browser without JavaScript does. scripts/browser/run drives the pages in a real
// Chromium, with axe-core, over a test service and, once, over the real `lowrank serve`; TestBrowserStates has every
// page and state arrive in pieces, so that what moves is seen. It also runs the API tab's code with the clients that
// the code names. -screens DIR keeps pictures of the pages, those in docs/screens. functions/gateway takes the pages
// through Lambda's events.
//
// # What it is not
//
// It is no API: nothing here is promised to programs. It runs no job.
package web
