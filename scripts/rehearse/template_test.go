package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDroppedTypes says what ManageCapacity=false leaves out of a rehearsal. The
// rehearsal itself checks that the emulator lacks each of them.
func TestDroppedTypes(t *testing.T) {
	text, err := os.ReadFile("../../infra/runners.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy",
		"AWS::ECS::CapacityProvider", "AWS::ECS::ClusterCapacityProviderAssociations",
	}
	if got := conditional(string(text), "Managed"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestNothingExpires holds the bucket's lifecycle to parts of unfinished uploads.
func TestNothingExpires(t *testing.T) {
	text, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"Expiration", "Transition", "NoncurrentVersion"} {
		if strings.Contains(string(text), word) {
			t.Errorf("template.yaml has a rule with %s: outputs stay until their owner deletes them", word)
		}
	}
	for _, resource := range []string{"Bucket", "Table"} {
		_, rest, _ := strings.Cut(string(text), "\n  "+resource+":\n")
		head, _, _ := strings.Cut(rest, "Properties:")
		if strings.Count(head, ": Retain") != 2 {
			t.Errorf("%s is not retained when the stack is deleted or the resource replaced", resource)
		}
	}
}
