package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// agent plays the ECS agent of an instance, without containers: for each task that
// the cluster wants it starts the runner's binary with the task definition's
// command and environment, and gives it the task role's credentials at the address
// where ECS gives them. A task that is to stop gets SIGTERM. One that dies is
// stopped, and started again if its service still wants it.
type agent struct {
	ecs     *ecs.Client
	sts     *sts.Client
	cluster string
	binary  string
	dir     string // stands for the instance's disk
	env     []string

	creds  string
	server *http.Server
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	roles   map[string]string // role by the token of a task
	running map[string]*exec.Cmd
	tasks   int // started so far
	exits   sync.WaitGroup
}

// start begins to watch the cluster.
func (a *agent) start(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.creds = "http://" + l.Addr().String() + "/credentials"
	a.server = &http.Server{Handler: http.HandlerFunc(a.serveCredentials), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(l) }() // ends with stop
	a.roles, a.running, a.done = map[string]string{}, map[string]*exec.Cmd{}, make(chan struct{})
	ctx, a.cancel = context.WithCancel(ctx)
	go func() {
		defer close(a.done)
		for ctx.Err() == nil {
			if err := a.sync(ctx); err != nil && ctx.Err() == nil {
				log.Printf("ECS agent: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}()
	return nil
}

// stop ends all tasks as ECS does and waits for them.
func (a *agent) stop() {
	a.cancel()
	<-a.done
	a.mu.Lock()
	for arn, cmd := range a.running {
		delete(a.running, arn)
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	}
	a.mu.Unlock()
	a.exits.Wait()
	a.server.Close()
}

// signal sends a signal to the runner that is at a job, as its log tells, and
// reports whether there is one.
func (a *agent) signal(job string, s os.Signal) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, cmd := range a.running {
		text, err := os.ReadFile(cmd.Stdout.(*os.File).Name())
		if err != nil {
			return false, err
		}
		if bytes.LastIndex(text, []byte("started job="+job)) > bytes.LastIndex(text, []byte("ended job="+job)) {
			return true, cmd.Process.Signal(s)
		}
	}
	return false, nil
}

func (a *agent) serveCredentials(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	role, ok := a.roles[r.Header.Get("Authorization")]
	a.mu.Unlock()
	if !ok {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	out, err := a.sts.AssumeRole(r.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("ecs-task")})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c := out.Credentials
	_ = json.NewEncoder(w).Encode(map[string]string{ // the task asks again
		"RoleArn": role, "AccessKeyId": *c.AccessKeyId, "SecretAccessKey": *c.SecretAccessKey, "Token": *c.SessionToken,
		"Expiration": c.Expiration.UTC().Format(time.RFC3339),
	})
}

// sync makes what runs the same as what the cluster wants.
func (a *agent) sync(ctx context.Context) error {
	list, err := a.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &a.cluster, DesiredStatus: types.DesiredStatusRunning})
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	var fresh []string
	a.mu.Lock()
	for _, arn := range list.TaskArns {
		wanted[arn] = true
		if a.running[arn] == nil {
			fresh = append(fresh, arn)
		}
	}
	for arn, cmd := range a.running {
		if !wanted[arn] {
			delete(a.running, arn)
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		}
	}
	a.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	tasks, err := a.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &a.cluster, Tasks: fresh})
	if err != nil {
		return err
	}
	for _, t := range tasks.Tasks {
		if err := a.run(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// run starts a task's container.
func (a *agent) run(ctx context.Context, t types.Task) error {
	out, err := a.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: t.TaskDefinitionArn})
	if err != nil {
		return err
	}
	container := out.TaskDefinition.ContainerDefinitions[0]
	random := make([]byte, 16)
	rand.Read(random)
	token, arn := hex.EncodeToString(random), *t.TaskArn
	// Volumes are folders of the instance, mounted; here they are the folders.
	args := make([]string, len(container.Command))
	for i, arg := range container.Command {
		if args[i] = arg; i > 0 && container.Command[i-1] == "--device" {
			args[i] = "cpu" // in place of the GPU of the service's instances
		}
		for _, m := range container.MountPoints {
			if arg == aws.ToString(m.ContainerPath) {
				args[i] = filepath.Join(a.dir, aws.ToString(m.SourceVolume))
			}
		}
	}
	cmd := exec.Command(a.binary, args...)
	cmd.Env = append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + a.dir, "TMPDIR=" + a.dir, "AWS_EXECUTION_ENV=AWS_ECS_EC2", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + a.creds, "AWS_CONTAINER_AUTHORIZATION_TOKEN=" + token,
	}, a.env...)
	for _, kv := range container.Environment {
		cmd.Env = append(cmd.Env, *kv.Name+"="+*kv.Value)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks++
	output, err := os.Create(filepath.Join(a.dir, fmt.Sprintf("runner-%d.log", a.tasks)))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = output, output
	a.roles[token] = aws.ToString(out.TaskDefinition.TaskRoleArn)
	if err := cmd.Start(); err != nil {
		return errors.Join(err, output.Close())
	}
	a.running[arn] = cmd
	a.exits.Go(func() { a.wait(ctx, arn, t, cmd) })
	return nil
}

// wait stops the task in the cluster's books when its process ends by itself. The
// emulator does not replace a service's tasks, so that is done here too.
func (a *agent) wait(ctx context.Context, arn string, t types.Task, cmd *exec.Cmd) {
	_ = cmd.Wait() // how it ended shows in its log
	a.mu.Lock()
	_ = cmd.Stdout.(*os.File).Close() // the process has its own
	_, died := a.running[arn]
	delete(a.running, arn)
	a.mu.Unlock()
	if !died || ctx.Err() != nil {
		return
	}
	if _, err := a.ecs.StopTask(ctx, &ecs.StopTaskInput{Cluster: &a.cluster, Task: &arn, Reason: aws.String("Essential container in task exited")}); err != nil {
		log.Printf("ECS agent: %v", err)
	}
	if service, ok := serviceOf(t); ok {
		if err := a.replace(ctx, service); err != nil && ctx.Err() == nil {
			log.Printf("ECS agent: %v", err)
		}
	}
}

// replace lets a service start the tasks that it lacks: told its count once more,
// the emulator counts.
func (a *agent) replace(ctx context.Context, service string) error {
	out, err := a.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &a.cluster, Services: []string{service}})
	if err != nil || len(out.Services) == 0 {
		return err
	}
	_, err = a.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: &a.cluster, Service: &service, DesiredCount: aws.Int32(out.Services[0].DesiredCount)})
	return err
}

// serviceOf is the service that a task belongs to.
func serviceOf(t types.Task) (string, bool) {
	const prefix = "service:"
	group := aws.ToString(t.Group)
	if len(group) <= len(prefix) || group[:len(prefix)] != prefix {
		return "", false
	}
	return group[len(prefix):], true
}
