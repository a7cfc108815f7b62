package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
)

var baseName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// checkBaseName refuses names that are no safe folder names.
func checkBaseName(name string) error {
	if !baseName.MatchString(name) {
		return fmt.Errorf("base name %q: use small letters, digits, dots, dashes and underscores, beginning with a letter or digit", name)
	}
	return nil
}

func baseCommand() *cobra.Command {
	var data, stackName string
	cmd := &cobra.Command{
		Use:   "base",
		Short: "Keep base models for the service",
		Long: `Keep base models for the service: diffusers folders of SD 1.x, 2.x, inpainting or SDXL, or single .safetensors files of SD 1.x.
A running service finds them within seconds.`,
		Example: "  lowrank base add sd15 ./stable-diffusion-v1-5\n  lowrank base list",
	}
	cmd.PersistentFlags().StringVar(&data, "data", "", dataHelp)
	cmd.PersistentFlags().StringVar(&stackName, "aws", "", awsHelp)
	cmd.MarkFlagsMutuallyExclusive("data", "aws")
	dir := func() (string, error) {
		d, err := dataDir(data)
		return basesDir(d), err
	}
	isDefault := false
	add := &cobra.Command{
		Use: "add NAME PATH", Short: "Copy a base model into the data folder, or to AWS", Args: takes("a name", "the folder or file to copy"),
		Example: "  lowrank base add sd15 ./stable-diffusion-v1-5\n  lowrank base add --aws lowrank --default sd15 ./stable-diffusion-v1-5",
		RunE: func(cmd *cobra.Command, args []string) error {
			if stackName != "" {
				return addStackBase(cmd, stackName, args[0], args[1], isDefault)
			}
			if isDefault {
				return errors.New("--default is for --aws; `lowrank serve --base` says which is the default here")
			}
			d, err := dir()
			if err != nil {
				return err
			}
			return addBase(cmd, d, args[0], args[1])
		},
	}
	add.Flags().BoolVar(&isDefault, "default", false, "with --aws: draw with it when a job names no base")
	cmd.AddCommand(
		add,
		&cobra.Command{
			Use: "list", Short: "List the base models", Args: takes(), Example: "  lowrank base list",
			RunE: func(cmd *cobra.Command, _ []string) error {
				if stackName != "" {
					return listStackBases(cmd, stackName)
				}
				if data != "" {
					if _, err := existingData(data); err != nil {
						return err
					}
				}
				d, err := dir()
				if err != nil {
					return err
				}
				return listBases(cmd, d)
			},
		},
		&cobra.Command{
			Use: "remove NAME", Short: "Remove a base model from the data folder, or from AWS", Args: takes("a name, as `lowrank base list` shows it"), Example: "  lowrank base remove sd15",
			RunE: func(cmd *cobra.Command, args []string) error {
				if stackName != "" {
					return removeStackBase(cmd, stackName, args[0])
				}
				d, err := dir()
				if err != nil {
					return err
				}
				return removeBase(d, args[0])
			},
		},
	)
	return verbs(cmd)
}

// addBase copies a model beside its place, opens the copy to see that it is
// whole, and moves it there.
func addBase(cmd *cobra.Command, dir, name, from string) error {
	if err := checkBaseName(name); err != nil {
		return err
	}
	if name == embedded.Name {
		return fmt.Errorf("%s is the embedded base model's name; choose another", name)
	}
	b, err := base.Open(from, base.Options{})
	if err != nil {
		return err
	}
	kind := b.Card.Kind
	if err := b.Close(); err != nil {
		return err
	}
	ext := ""
	if info, err := os.Stat(from); err != nil {
		return err
	} else if !info.IsDir() {
		ext = ".safetensors"
	}
	target := filepath.Join(dir, name+ext)
	for _, taken := range []string{filepath.Join(dir, name), filepath.Join(dir, name+".safetensors")} {
		if _, err := os.Stat(taken); err == nil {
			return fmt.Errorf("there is a base model %s already; `lowrank base remove %s` first, or choose another name", name, name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, ".adding-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	copied := filepath.Join(temp, name+ext)
	if ext == "" {
		err = copyFolder(copied, from)
	} else {
		err = copyFile(copied, from)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	c, err := base.Open(copied, base.Options{})
	if err != nil {
		return err
	}
	if err := c.Close(); err != nil {
		return err
	}
	if err := os.Rename(copied, target); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "added %s (%s)\n", name, kind)
	return nil
}

// copyFolder copies the files that a base model is read from.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		switch filepath.Ext(path) {
		case ".json", ".txt", ".safetensors":
			return copyFile(target, path) // follows links, as caches of downloads have them
		}
		return nil
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func listBases(cmd *cobra.Command, dir string) error {
	o := base.Options{Folders: []string{dir}}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tSIZE\tDESCRIPTION")
	for _, name := range base.Names(o) {
		if checkBaseName(name) != nil {
			continue // what a removal that was cut off has left
		}
		b, err := base.Open(name, o)
		if err != nil {
			fmt.Fprintf(w, "%s\t\t\tcannot be opened: %v\n", name, err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", name, b.Card.Kind, b.Card.NativeSize, b.Card.Description)
		if err := b.Close(); err != nil {
			return err
		}
	}
	return w.Flush()
}

func removeBase(dir, name string) error {
	if err := checkBaseName(name); err != nil {
		return err
	}
	for _, path := range []string{filepath.Join(dir, name), filepath.Join(dir, name+".safetensors")} {
		if _, err := os.Stat(path); err == nil {
			// Gone in one step for everybody who looks, then piece by piece.
			doomed := filepath.Join(dir, ".removing-"+filepath.Base(path))
			if err := os.Rename(path, doomed); err != nil {
				return err
			}
			return os.RemoveAll(doomed)
		}
	}
	return fmt.Errorf("there is no base model %s in %s", name, dir)
}
