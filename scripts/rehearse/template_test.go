package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// TestEventSources: a queue hides a message from others for six times as long as the
// function that reads it may take, as Lambda asks for, and no function reads by an
// event of its own, for which SAM adds a policy on every queue or table there is.
func TestEventSources(t *testing.T) {
	text := read(t, "template.yaml")
	if m := regexp.MustCompile(`Type: (SQS|DynamoDB)\b[^:]`).FindString(text); m != "" {
		t.Errorf("template.yaml has an event with %q; an AWS::Lambda::EventSourceMapping needs no policy on everything", m)
	}
	number := func(pattern, text string) int {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("template.yaml has no %s where it is looked for", pattern)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	timeout := number(`(?s)Globals:.*?Timeout: (\d+)`, text)
	for _, name := range []string{"Objects", "Webhooks"} {
		if !strings.Contains(text, "EventSourceArn: !GetAtt "+name+".Arn") {
			t.Errorf("no function reads %s", name)
		}
		_, queue, _ := strings.Cut(text, "\n  "+name+":\n")
		if hidden := number(`VisibilityTimeout: (\d+)`, queue); hidden < 6*timeout {
			t.Errorf("%s hides messages for %d s, its function may take %d", name, hidden, timeout)
		}
	}
}

// TestScaling: runners go only when no job waits and none is in flight. The alarm acts
// once a minute for as long as it lasts: without the first half it would send back
// each runner that is on its way to the first job after a pause.
func TestScaling(t *testing.T) {
	text := read(t, "infra/runners.yaml")
	for _, kind := range []string{"Prediction", "Training"} {
		_, alarm, _ := strings.Cut(text, "\n  "+kind+"sDone:")
		alarm, _, _ = strings.Cut(alarm, kind+"Least]")
		queue := "Dimensions: [{Name: QueueName, Value: !Ref " + kind + "Queue}]"
		for _, want := range []string{
			`"waiting + FILL(running, 0)"`, "MetricName: ApproximateNumberOfMessagesVisible, " + queue, "MetricName: ApproximateNumberOfMessagesNotVisible, " + queue,
			"Threshold: 1\n", "ComparisonOperator: LessThanThreshold\n",
		} {
			if !strings.Contains(alarm, want) {
				t.Errorf("%ssDone lacks %s", kind, want)
			}
		}
	}
}

// TestCommands: what docs/aws.md tells people to type are parameters, outputs and
// files that there are.
func TestCommands(t *testing.T) {
	text := read(t, "docs/aws.md")
	parameters, outputs, _ := strings.Cut(read(t, "template.yaml")+read(t, "infra/consumer.yaml"), "\nOutputs:\n")
	find := func(pattern string) (names []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		if len(names) < 2 {
			t.Errorf("docs/aws.md has %d times %s", len(names), pattern)
		}
		return names
	}
	_, consumer, _ := strings.Cut(outputs, "\nParameters:\n")
	for _, name := range append(find(`\b([A-Z][a-z]\w+)=[^=]`), find(`(?m)^\| ([A-Z][a-z]\w+)`)...) {
		if !strings.Contains(parameters+consumer, "\n  "+name+":") {
			t.Errorf("there is no parameter %s", name)
		}
	}
	for _, name := range find(`(?:OutputKey==\'|the outputs? )(\w+)`) {
		if !strings.Contains("\n"+outputs, "\n  "+name+": {") {
			t.Errorf("there is no output %s", name)
		}
	}
	for _, path := range find(`(?m)(?:file |^)((?:infra/|scripts/|template\.)\S+)`) {
		if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
			t.Error(err)
		}
	}
	// These two the rehearsal gives as they stand there.
	for _, template := range []string{"template.yaml", "infra/consumer.yaml"} {
		if c := documented(text, "sam deploy --template-file "+template+" "); !strings.Contains(c, " --resolve-s3 ") || !strings.Contains(c, " --parameter-overrides ") {
			t.Errorf("no command deploys %s: %q", template, c)
		}
	}
}
