// Package demo does the project's main job as a user would: it starts the
// service as a process, uploads pictures, trains a style and a mascot, draws
// with them, and puts what came out on one sheet. All of it goes over HTTP; the
// package imports nothing of the engine, nor of the service.
package demo
