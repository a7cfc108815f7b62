// Package fetch downloads what users name (instance_data, lora_urls, image) and
// makes the client that posts their webhooks, without letting a user reach what
// only this machine can reach.
//
// Only http, https and data: are read. The address is judged at the moment of
// dialing, after names were resolved, so neither a redirect nor a DNS answer that
// changes gets round it; there is no proxy. Downloads have a limit in size and in
// time and a least pace (see pace.go), and are judged by their first bytes: a web
// page where a file should be is said to be one. Files lie in a cache by their
// content, under a size limit, least recently used out first; several runners share
// its folder.
//
// URLs of our own (serving, file and output URLs) never come here: whoever calls
// resolves them in the store first, since they may need a token over HTTP.
//
// Errors are sentences for the user, permanent (infra.ErrInvalid) after the tries
// that make sense; the cause is behind them. A URL is in neither: it may hold a
// secret, and errors reach logs.
package fetch
