package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestArguments: what is mistyped is refused with what was meant, and makes
// nothing.
func TestArguments(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	none := filepath.Join(dir, "none")
	for _, tt := range []struct {
		name, args, want string
	}{
		{"Command", "serv", `lowrank has no command "serv"; did you mean serve?`},
		{"FarCommand", "bananas", `lowrank has no command "bananas"; lowrank --help lists them`},
		{"Nested", "token creat", `lowrank token has no command "creat"; did you mean create?`},
		{"Base", "base lst", `did you mean list?`},
		{"Shell", "completion fishy", `did you mean fish?`},
		{"Extra", "demo x", `lowrank demo takes no arguments but flags, and was given "x"`},
		{"ExtraPictures", "train a b", `lowrank train takes the pictures, a zip or a folder, and was given "b" too`},
		{"Missing", "convert --format kohya a", `lowrank convert needs the file to write`},
		{"NoData", "token list --data " + none, "there is no data folder " + none},
		{"NoDataBases", "base list --data " + none, "there is no data folder " + none},
		{"ShortToken", "token revoke --data " + dir + " nope", `"nope" may mean several tokens or none`},
	} {
		t.Run("Err"+tt.name, func(t *testing.T) {
			cmd := root()
			cmd.SetArgs(strings.Fields(tt.args))
			cmd.SetOut(&strings.Builder{})
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a folder was made by looking into it")
	}
	for _, args := range []string{"", "token", "base", "completion"} {
		t.Run("Help/"+args, func(t *testing.T) {
			var out strings.Builder
			cmd := root()
			cmd.SetArgs(strings.Fields(args))
			cmd.SetOut(&out)
			if err := cmd.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), "Usage:") {
				t.Errorf("got %v, %q", err, out.String())
			}
		})
	}
}

// TestOutputs: files that could not be written, or would take something away,
// are refused before the work.
func TestOutputs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, f := range []string{"pictures.zip", "model.safetensors"} {
		if err := os.WriteFile(f, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, args, want string
	}{
		{"Checkpoint", "train --checkpoint model.safetensors pictures.zip", "model.safetensors is there already"},
		{"CheckpointIsOut", "train --checkpoint x.safetensors --out x.safetensors pictures.zip", "progress is kept in a file of its own"},
		{"CheckpointFolder", "train --checkpoint . pictures.zip", "--checkpoint . is a folder"},
		{"Pictures", "train --out pictures.zip pictures.zip", "would replace what the training reads"},
		{"Folder", "train --out . pictures.zip", "--out . is a folder"},
		{"NoName", "train /", "name its file with --out"},
		{"Device", "generate --out " + os.DevNull + " x", "is a device or a pipe"},
		{"ConvertDevice", "convert --format kohya model.safetensors " + os.DevNull, "is a device or a pipe"},
		{"NoFolder", "generate --out none/x.png x", "there is no folder none"},
		{"Empty", "generate --out= x", "--out is empty"},
		{"Preview", "train --preview-prompt x pictures.zip", "--preview-prompt needs --preview-every"},
	} {
		t.Run("Err"+tt.name, func(t *testing.T) {
			cmd := root()
			cmd.SetArgs(strings.Fields(tt.args))
			cmd.SetErr(&strings.Builder{})
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for _, f := range []string{"pictures.zip", "model.safetensors"} {
		if text, err := os.ReadFile(f); err != nil || string(text) != "mine" {
			t.Errorf("%s: %q, %v", f, text, err)
		}
	}
}

func TestNameOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "v1.5")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.WriteFile("a.zip", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{".": "v1.5.safetensors", dir: "v1.5.safetensors", "a.zip": "a.safetensors", "./a.zip": "a.safetensors"} {
		if got, err := nameOf(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
}
