package api_test

import (
	"net/http/httptest"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// BenchmarkPoll is a status poll without the network: GET /v1/predictions/{id}.
func BenchmarkPoll(b *testing.B) {
	s, url, token := apitest.New(b, apitest.Options{Idle: true})
	c := &apitest.Client{T: b, URL: url, Token: token}
	var p events.Prediction
	c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{"prompt": "a cat"}}).JSON(b, &p)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("GET", "/v1/predictions/"+string(p.ID), nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			s.Handler.ServeHTTP(w, r)
			if w.Code != 200 {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
}
