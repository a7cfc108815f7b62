package api

import (
	"net/http"

	"github.com/lowrank/lowrank/events"
)

// What the clients may look at beside models: hardware, collections, deployments, and the way in.

// hardware is a bare list, unlike the others.
func (s *server) hardware(c *call) error { return c.writeJSON(http.StatusOK, s.Hardware) }

func loraCollection() events.Collection {
	return events.Collection{Name: "LoRA", Slug: "lora", Description: "Train a concept from a few images and draw with it."}
}

func (s *server) collections(c *call) error {
	return c.writeJSON(http.StatusOK, events.Page{Results: []any{loraCollection()}})
}

func (s *server) collection(c *call) error {
	l := loraCollection()
	if c.PathValue("slug") != l.Slug {
		return notFound()
	}
	for _, m := range events.BuiltIns {
		l.Models = append(l.Models, s.showBuiltInModel(c, m))
	}
	return c.writeJSON(http.StatusOK, l)
}

// deployments: there are none, every model is always ready.
func (s *server) deployments(c *call) error {
	return c.writeJSON(http.StatusOK, events.Page{Results: []any{}})
}

// webhookSecret is what receivers check signatures with.
func (s *server) webhookSecret(c *call) error {
	key, err := s.reg.WebhookSecret(c.Context(), c.owner)
	if err != nil {
		return err
	}
	c.Header().Set("Cache-Control", "no-store")
	return c.writeJSON(http.StatusOK, map[string]string{"key": key})
}

// index says what this is to whoever opens the address itself.
func (s *server) index(c *call) error {
	return c.writeJSON(http.StatusOK, map[string]string{"name": "lowrank", "api": c.links.API + "/v1", "openapi": c.links.API + "/openapi.json"})
}
