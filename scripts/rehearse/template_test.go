package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDroppedTypes says what ManageCapacity=false leaves out of a rehearsal. The
// rehearsal itself checks that the emulator lacks each of them.
func TestDroppedTypes(t *testing.T) {
	want := []string{
		"AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy",
		"AWS::ECS::CapacityProvider", "AWS::ECS::ClusterCapacityProviderAssociations",
	}
	if got := conditional(read(t, "infra/runners.yaml"), "Managed"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// No other condition drops anything: the rehearsal gives an address for alarms.
	parts, err := filepath.Glob("../../infra/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(parts, "../../template.yaml") {
		for _, m := range regexp.MustCompile(`(?m)^    Condition: (\w+)`).FindAllStringSubmatch(read(t, strings.TrimPrefix(part, "../../")), -1) {
			if m[1] != "Managed" && m[1] != "Mails" {
				t.Errorf("%s has resources on condition %s, of which the rehearsal knows nothing", part, m[1])
			}
		}
	}
}

// TestNothingExpires holds the bucket's lifecycle to parts of unfinished uploads.
func TestNothingExpires(t *testing.T) {
	text := read(t, "template.yaml")
	for _, word := range []string{"Expiration", "Transition", "NoncurrentVersion"} {
		if strings.Contains(text, word) {
			t.Errorf("template.yaml has a rule with %s: outputs stay until their owner deletes them", word)
		}
	}
	for _, resource := range []string{"Bucket", "Table"} {
		_, rest, _ := strings.Cut(text, "\n  "+resource+":\n")
		head, _, _ := strings.Cut(rest, "Properties:")
		if strings.Count(head, ": Retain") != 2 {
			t.Errorf("%s is not retained when the stack is deleted or the resource replaced", resource)
		}
	}
}
