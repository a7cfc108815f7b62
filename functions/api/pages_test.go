package api_test

import (
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// TestPages holds lists to: newest first, none twice or missed while others are made, and the way back.
func TestPages(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true, Limits: api.Limits{OpenJobs: 1000}})
	var want []string // newest first
	for i := range 250 {
		want = append([]string{string(c.Draw(m{"prompt": fmt.Sprint(i)}).ID)}, want...)
	}
	get := func(url string) (ids []string, p events.Page) {
		a := c.Do("GET", url, nil)
		if a.Status != 200 {
			t.Fatalf("%s: %d %s", url, a.Status, a.Body)
		}
		a.JSON(t, &p)
		for _, r := range p.Results {
			ids = append(ids, r.(map[string]any)["id"].(string))
		}
		return ids, p
	}
	first, page := get("/v1/predictions")
	if page.Previous != nil || page.Next == nil || len(first) != 100 {
		t.Fatalf("first page: %d, %v, %v", len(first), page.Previous, page.Next)
	}
	for range 7 {
		c.Draw(m{"prompt": "newer"})
	}
	second, page2 := get(*page.Next)
	third, page3 := get(*page2.Next)
	got := append(append(append([]string{}, first...), second...), third...)
	if fmt.Sprint(got) != fmt.Sprint(want) || page3.Next != nil {
		t.Errorf("three pages hold %d ids, not the %d that were made, in their order", len(got), len(want))
	}
	back, backPage := get(*page3.Previous)
	if fmt.Sprint(back) != fmt.Sprint(second) {
		t.Error("previous of the third page is not the second")
	}
	again, againPage := get(*backPage.Previous)
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("previous of the second page is not the first: %d ids", len(again))
	}
	if forth, _ := get(*againPage.Next); fmt.Sprint(forth) != fmt.Sprint(second) {
		t.Error("from there, next is not the second")
	}
}
