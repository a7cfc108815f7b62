// Package emulator runs MiniStack, an emulator of AWS, as a child process: for the
// tests of infra/aws and for scripts/rehearse. Signatures and policies are enforced
// for every key but the root's (RootKey), so what is tested runs under a role.
//
// It is installed by scripts/rehearse/install into .cache/aws; where it is not,
// Find says so.
package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The root key, which passes every check, and the only account and region there are.
const (
	RootKey = "test"
	Region  = "us-east-1"
	Account = "000000000000"
)

// PythonEnv names the interpreter that has MiniStack, if it is not where the
// project's own script puts it.
const PythonEnv = "LOWRANK_EMULATOR"

// Options say how to run it. The zero value works.
type Options struct {
	Port     int         // 0 is a free one
	TLS      *TLS        // nil is plain HTTP
	Endpoint string      // what Lambda functions are told to call; "" is the emulator itself
	Log      *os.File    // its output; nil is dropped
	Dir      string      // for its state, removed by nobody; "" is a temporary folder, removed by Stop
	Client   http.Client // asks for its health; needs the certificate's authority with TLS
}

// TLS names PEM files.
type TLS struct{ Cert, Key, CA string }

// Emulator is a running one.
type Emulator struct {
	URL string // "http://127.0.0.1:port" or "https://localhost:port"
	PID int

	cmd  *exec.Cmd
	done chan error
	temp string
}

// Find returns the interpreter that has MiniStack, or an error that says how to install it.
func Find() (python string, err error) {
	if python = os.Getenv(PythonEnv); python != "" {
		return python, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	python = filepath.Join(root, ".cache", "aws", "emulator", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return "", errors.New("the AWS emulator is not installed; run scripts/rehearse/install emulator")
	}
	return python, nil
}

// Root is the checkout that the working folder is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working folder is in no Go module")
		}
		dir = parent
	}
}

// Start runs the emulator and returns once it answers.
func Start(ctx context.Context, o Options) (*Emulator, error) {
	python, err := Find()
	if err != nil {
		return nil, err
	}
	if o.Port == 0 {
		if o.Port, err = freePort(); err != nil {
			return nil, err
		}
	}
	e := &Emulator{URL: fmt.Sprintf("http://127.0.0.1:%d", o.Port), done: make(chan error, 1)}
	if o.TLS != nil {
		e.URL = fmt.Sprintf("https://localhost:%d", o.Port)
	}
	if o.Endpoint == "" {
		o.Endpoint = e.URL
	}
	dir := o.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "lowrank-emulator-"); err != nil {
			return nil, err
		}
		e.temp = dir
	}
	// Functions inherit the environment, so it holds nothing of the machine's.
	e.cmd = exec.Command(python, "-m", "ministack")
	e.cmd.Dir = dir
	e.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LANG=C.UTF-8", "LOG_LEVEL=WARNING",
		fmt.Sprintf("GATEWAY_PORT=%d", o.Port), "MINISTACK_HOST=localhost", "MINISTACK_REGION=" + Region, "AUTH=true", "IOT_MTLS_ENABLED=0",
		"LAMBDA_WARM_TTL_SECONDS=86400", // none is taken down between calls
		"STATE_DIR=" + filepath.Join(dir, "state"), "S3_DATA_DIR=" + filepath.Join(dir, "s3"),
		"AWS_ACCESS_KEY_ID=" + RootKey, "AWS_SECRET_ACCESS_KEY=" + RootKey, "AWS_DEFAULT_REGION=" + Region,
		"AWS_ENDPOINT_URL=" + o.Endpoint, "AWS_EC2_METADATA_DISABLED=true",
	}
	if o.TLS != nil {
		e.cmd.Env = append(e.cmd.Env, "USE_SSL=1", "MINISTACK_SSL_CERT="+o.TLS.Cert, "MINISTACK_SSL_KEY="+o.TLS.Key, "AWS_CA_BUNDLE="+o.TLS.CA, "SSL_CERT_FILE="+o.TLS.CA)
	}
	e.cmd.Stdout, e.cmd.Stderr = o.Log, o.Log
	if err := e.cmd.Start(); err != nil {
		return nil, errors.Join(err, e.clean())
	}
	e.PID = e.cmd.Process.Pid
	go func() { e.done <- e.cmd.Wait() }()
	for ctx.Err() == nil {
		select {
		case err := <-e.done:
			e.done <- err
			return nil, errors.Join(fmt.Errorf("the emulator ended at once: %v", err), e.clean())
		case <-time.After(50 * time.Millisecond):
		}
		if resp, err := o.Client.Get(e.URL + "/_ministack/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return e, nil
			}
		}
	}
	return nil, errors.Join(ctx.Err(), e.Stop())
}

// Stop ends the emulator with all it holds.
func (e *Emulator) Stop() error {
	_ = e.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-e.done:
	case <-time.After(5 * time.Second):
		_ = e.cmd.Process.Kill()
		<-e.done
	}
	return e.clean()
}

func (e *Emulator) clean() error {
	if e.temp == "" {
		return nil
	}
	return os.RemoveAll(e.temp)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Required reports whether LOWRANK_REQUIRE names the feature, so that skipping it is a failure.
func Required(feature string) bool {
	for name := range strings.SplitSeq(os.Getenv("LOWRANK_REQUIRE"), ",") {
		if name == feature {
			return true
		}
	}
	return false
}
