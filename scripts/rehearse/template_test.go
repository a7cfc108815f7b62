package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/infra"
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

// TestQueues: every queue has dead letters after as many receives as the code
// expects, and every queue of dead letters an alarm.
func TestQueues(t *testing.T) {
	text, alarms := read(t, "template.yaml"), read(t, "infra/alarms.yaml")
	queues := regexp.MustCompile(`(?m)^  (\w+):.*\n    Type: AWS::SQS::Queue\n    Properties: (.*)$`).FindAllStringSubmatch(text, -1)
	names := map[string]string{"Predictions": infra.PredictionQueue, "Trainings": infra.TrainingQueue, "Objects": infra.ObjectQueue, "Webhooks": infra.WebhookQueue}
	living := 0
	for _, q := range queues {
		name, properties := q[1], q[2]
		if !strings.Contains(properties, "SqsManagedSseEnabled: true") {
			t.Errorf("%s is not encrypted", name)
		}
		if strings.HasSuffix(name, "Dead") {
			if !strings.Contains(alarms, "\n  "+name+"Alarm:\n") {
				t.Errorf("%s has no alarm", name)
			}
			continue
		}
		living++
		want := fmt.Sprintf("RedrivePolicy: {deadLetterTargetArn: !GetAtt %sDead.Arn, maxReceiveCount: %d}", name, infra.MaxReceives(names[name]))
		if !strings.Contains(properties, want) {
			t.Errorf("%s lacks %s", name, want)
		}
	}
	if living != len(names) {
		t.Errorf("%d queues of messages, want %d", living, len(names))
	}
}

// TestPolicies: nothing is allowed on everything, and no service's every action.
func TestPolicies(t *testing.T) {
	for _, path := range []string{"template.yaml", "infra/runners.yaml", "infra/content.yaml", "infra/consumer.yaml", "infra/alarms.yaml"} {
		text := read(t, path)
		if regexp.MustCompile(`Resource: ["'[]*\*`).MatchString(text) {
			t.Errorf("%s has a policy on every resource", path)
		}
		for _, statement := range strings.Split(text, "Effect: ")[1:] {
			action := regexp.MustCompile(`"[a-z0-9]+:\*"`).FindString(statement)
			if action != "" && !strings.HasPrefix(statement, "Deny") {
				t.Errorf("%s allows %s", path, action)
			}
		}
	}
}
