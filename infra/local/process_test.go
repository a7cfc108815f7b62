package local_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
)

// childEnv makes the test binary a process that works on the folder it names.
const childEnv = "LOWRANK_LOCAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Getenv(childEnv+"_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child writes for ever and prints one line for each write that was answered. It
// stops when its input ends.
func child(dir, name string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); cancel() }()
	s, err := local.Open(ctx, dir, local.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	p := s.Ports()
	out := bufio.NewWriter(os.Stdout)
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		body := bytes.Repeat([]byte(id), 1+i*997%50000)
		sum := sha256.Sum256(body)
		r := infra.Record{ID: id, Owner: "alice", Kind: "prediction", CreatedAt: time.Now(), Payload: json.RawMessage(`{"i":1}`)}
		if r, err = p.Jobs.Create(ctx, r); err == nil {
			_, err = p.Jobs.Update(ctx, r)
		}
		if err == nil {
			err = p.Queues.Queue(infra.PredictionQueue).Send(ctx, []byte(id), 0)
		}
		if err == nil {
			err = p.Logs.Append(ctx, id, 0, []byte(id))
		}
		if err == nil {
			_, err = p.Documents.Put(ctx, infra.Document{Collection: "c", Key: id, Value: json.RawMessage("1")})
		}
		if err == nil {
			_, err = p.Blobs.Put(ctx, "uploads/"+id, bytes.NewReader(body), infra.PutOptions{})
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		fmt.Fprintln(out, id, hex.EncodeToString(sum[:]))
		out.Flush()
	}
	return nil
}

// start runs a child; its lines come until it ends.
func start(t *testing.T, dir, name string) (cmd *exec.Cmd, lines <-chan string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_NAME="+name)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // held open until this process ends
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ch := make(chan string, 10000)
	go func() {
		defer close(ch)
		for in := bufio.NewScanner(out); in.Scan(); {
			ch <- in.Text()
		}
	}()
	return cmd, ch
}

// Several processes write at once and are killed at any moment: everything they
// were told is stored is there, whole, and the folder opens again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	answered := map[string]string{} // id to the SHA-256 of its blob
	for round := range 4 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 2 {
			cmd, lines := start(t, dir, fmt.Sprintf("r%dp%d", round, i))
			after := 3 + rand.IntN(15)
			wg.Go(func() {
				for n := 1; ; n++ {
					line, ok := <-lines
					if !ok {
						break
					}
					id, sum, _ := strings.Cut(line, " ")
					mu.Lock()
					answered[id] = sum
					mu.Unlock()
					if n == after {
						time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
						cmd.Process.Kill()
					}
				}
				cmd.Wait()
			})
		}
		wg.Wait()
	}
	s, err := local.Open(t.Context(), dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := s.Ports()
	queued := drain(t, p.Queues.Queue(infra.PredictionQueue))
	notified := drain(t, p.Queues.Queue(infra.ObjectQueue))
	notes := strings.Join(notified, "\n")
	if len(answered) < 8*3 {
		t.Errorf("only %d answers before the kills", len(answered))
	}
	sent := map[string]bool{}
	for _, id := range queued {
		sent[id] = true
	}
	for id, sum := range answered {
		if r, err := p.Jobs.Get(t.Context(), id); err != nil || r.Version != 2 {
			t.Errorf("record %s: %+v, %v", id, r, err)
		}
		if text, err := p.Logs.Read(t.Context(), id, 0, 0); err != nil || string(text) != id {
			t.Errorf("log of %s: %q, %v", id, text, err)
		}
		if _, err := p.Documents.Get(t.Context(), "c", id); err != nil {
			t.Errorf("document %s: %v", id, err)
		}
		if !sent[id] {
			t.Errorf("message %s is lost", id)
		}
		if !strings.Contains(notes, `"uploads/`+id+`"`) {
			t.Errorf("the notification of uploads/%s is lost", id)
		}
		blob, err := p.Blobs.Get(t.Context(), "uploads/"+id, infra.GetOptions{})
		if err != nil {
			t.Errorf("blob of %s: %v", id, err)
			continue
		}
		hash := sha256.New()
		_, err = io.Copy(hash, blob.Body)
		blob.Body.Close()
		if got := hex.EncodeToString(hash.Sum(nil)); err != nil || got != sum || blob.SHA256 != sum {
			t.Errorf("blob of %s reads as %s, %v, want %s", id, got, err, sum)
		}
	}
	// Every blob that is entered can be read, answered or not.
	page, err := p.Blobs.List(t.Context(), "", "", 0)
	for _, info := range page.Items {
		blob, getErr := p.Blobs.Get(t.Context(), info.Key, infra.GetOptions{})
		if getErr != nil {
			t.Errorf("%s is listed but: %v", info.Key, getErr)
			continue
		}
		if n, copyErr := io.Copy(io.Discard, blob.Body); n != info.Size || copyErr != nil {
			t.Errorf("%s: read %d of %d bytes, %v", info.Key, n, info.Size, copyErr)
		}
		blob.Body.Close()
	}
	if err != nil {
		t.Error(err)
	}
	if _, err := p.Jobs.Get(t.Context(), "never"); infra.KindOf(err) != infra.ErrNotFound {
		t.Error(err)
	}
	// And none was invented: the feed holds exactly two changes of each record.
	feed := map[string]int{}
	for {
		batch, err := p.Changes.Read(t.Context(), "test", 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			break
		}
		for _, c := range batch {
			feed[c.ID]++
		}
		if err := p.Changes.Commit(t.Context(), "test", batch[len(batch)-1].Position); err != nil {
			t.Fatal(err)
		}
	}
	for id := range answered {
		if feed[id] != 2 {
			t.Errorf("the feed has %d changes of %s, want 2", feed[id], id)
		}
	}
}

// drain receives and acknowledges all there is.
func drain(t *testing.T, q infra.Queue) (bodies []string) {
	t.Helper()
	for {
		messages, err := q.Receive(t.Context(), infra.MaxBatch, 0, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			return bodies
		}
		for _, m := range messages {
			bodies = append(bodies, string(m.Body))
			if err := q.Ack(t.Context(), m.Receipt); err != nil {
				t.Error(err)
			}
		}
	}
}

// A message from another process wakes a receiver soon, without a time limit here:
// how long it took is in the log.
func TestLongPollAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Open(t.Context(), dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd, lines := start(t, dir, "other")
	defer cmd.Wait()
	defer cmd.Process.Kill()
	got, err := s.Ports().Queues.Queue(infra.PredictionQueue).Receive(t.Context(), 1, infra.MaxWait, time.Hour)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v, want the other process's message", got, err)
	}
	t.Logf("received %v after it was sent", time.Since(got[0].SentAt))
	<-lines
}
