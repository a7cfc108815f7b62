package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/infra/registry"
)

func TestPages(t *testing.T) {
	svc, err := apitest.Start(t.TempDir(), apitest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	h := web.New(web.Config{Ports: svc.Ports, Catalogue: svc.Catalogue, API: svc.Handler})
	for _, p := range []string{"/", "/sign-in", "/examples", "/replicate/lora", "/replicate/lora-training", "/replicate/lora-advanced-training", "/replicate/lora/api", "/replicate/lora-training/api", "/replicate/lora/versions", "/replicate/lora/examples"} {
		r := httptest.NewRequest("GET", p, nil)
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		t.Log(p, w.Code, w.Body.Len())
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", p, w.Code, w.Body)
		}
	}
	_ = registry.DefaultOwner
}
