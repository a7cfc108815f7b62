package api

import "net/http"

func (s *server) openAPI(c *call) error { return c.writeJSON(http.StatusOK, map[string]any{}) }
