package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// The ids that the announcement of 2023-02-07 prints. They name the default base's latest version of
// replicate/lora-training and replicate/lora. The first has 62 digits, as printed.
const (
	AnnouncedTrainingID = "b2a308762e36ac48d16bfadc03a65493fe6e799f429f7941639a6ac5b276cc"
	AnnouncedLoraID     = "97ec1b97e5e6a6476e45ba7211d368509bbf39c30a927e39637f3cb98b36ac91"
)

// BuiltIn is a model of the catalogue.
type BuiltIn struct {
	Owner, Name string
	Program     Program
	Description string
	announced   string
}

// BuiltIns are the models that every server has.
var BuiltIns = []BuiltIn{
	{"replicate", "lora-training", ProgramTraining, "Train a LoRA concept from a zip of images: a face, an object or a style.", AnnouncedTrainingID},
	{"replicate", "lora-advanced-training", ProgramAdvancedTraining, "Train a LoRA concept from a zip of images, with all options.", ""},
	{"replicate", "lora", ProgramLora, "Draw with Stable Diffusion and any number of LoRA concepts.", AnnouncedLoraID},
	{"cloneofsimo", "lora", ProgramLora, "Draw with Stable Diffusion and any number of LoRA concepts.", AnnouncedLoraID},
}

// Catalogue is the built-in models on the configured bases. It is made once and only read.
type Catalogue struct {
	bases    []BaseLimits // the first is the default
	versions map[Program][]CatalogueVersion
}

// CatalogueVersion is a program on one base.
type CatalogueVersion struct {
	ID        string // shown; the announced one where there is one, else derived
	DerivedID string // 64 hex digits of schema and base
	Program   Program
	Base      BaseLimits
	Schema    Schema
	inputs    *inputValidator
}

// NewCatalogue builds the catalogue. Bases need distinct names, the first is the default. An error says
// which card is wrong.
func NewCatalogue(bases ...BaseLimits) (*Catalogue, error) {
	if len(bases) == 0 {
		return nil, fmt.Errorf("catalogue: no base model is configured")
	}
	c := &Catalogue{versions: map[Program][]CatalogueVersion{}}
	var names []string
	for _, b := range bases {
		if b.Name == "" || slices.Contains(names, b.Name) {
			return nil, fmt.Errorf("catalogue: base model name %q is empty or used twice", b.Name)
		}
		b = b.WithDefaults()
		if !slices.Contains(b.Sizes, b.Width) || !slices.Contains(b.Sizes, b.Height) {
			return nil, fmt.Errorf("catalogue: base %q: the default size %d×%d is not one of its sizes", b.Name, b.Width, b.Height)
		}
		names = append(names, b.Name)
		c.bases = append(c.bases, b)
	}
	for _, p := range []Program{ProgramTraining, ProgramAdvancedTraining, ProgramLora} {
		for i, b := range c.bases {
			v := CatalogueVersion{Program: p, Base: b, Schema: InputSchema(p, b, names)}
			var err error
			if v.DerivedID, err = deriveID(p, b); err != nil {
				return nil, err
			}
			if v.inputs, err = newInputValidator(v.Schema); err != nil {
				return nil, fmt.Errorf("catalogue: base %q: %w", b.Name, err)
			}
			v.ID = v.DerivedID
			for _, m := range BuiltIns {
				if i == 0 && m.Program == p && m.announced != "" {
					v.ID = m.announced
				}
			}
			c.versions[p] = append(c.versions[p], v)
		}
	}
	return c, nil
}

// deriveID hashes the program's schema, without the names of other bases, and the base: adding a base
// changes no other version's id.
func deriveID(p Program, b BaseLimits) (string, error) {
	s, err := Marshal(InputSchema(p, b, nil))
	if err != nil {
		return "", err
	}
	h := sha256.Sum256([]byte(fmt.Sprintf("lowrank version 1\n%s\n%s\n%s\n%s", p, b.Name, b.SHA256, s)))
	return hex.EncodeToString(h[:]), nil
}

// Bases returns the bases, the default first.
func (c *Catalogue) Bases() []BaseLimits { return c.bases }

// Model finds a built-in model.
func (c *Catalogue) Model(owner, name string) (BuiltIn, bool) {
	i := slices.IndexFunc(BuiltIns, func(m BuiltIn) bool { return m.Owner == owner && m.Name == name })
	if i < 0 {
		return BuiltIn{}, false
	}
	return BuiltIns[i], true
}

// Versions returns a program's versions, the default base's first: clients take the first for the latest.
func (c *Catalogue) Versions(p Program) []CatalogueVersion { return c.versions[p] }

// Version finds a program's version by its shown or derived id.
func (c *Catalogue) Version(p Program, id string) (CatalogueVersion, bool) {
	for _, v := range c.versions[p] {
		if id != "" && (v.ID == id || v.DerivedID == id) {
			return v, true
		}
	}
	return CatalogueVersion{}, false
}

// On returns a program's version on the base with that name.
func (c *Catalogue) On(p Program, base string) (CatalogueVersion, bool) {
	for _, v := range c.versions[p] {
		if v.Base.Name == base {
			return v, true
		}
	}
	return CatalogueVersion{}, false
}

// FindVersion finds the built-in model and version that a bare id names. lora's is replicate/lora.
func (c *Catalogue) FindVersion(id string) (BuiltIn, CatalogueVersion, bool) {
	for _, m := range BuiltIns {
		if v, ok := c.Version(m.Program, id); ok {
			return m, v, true
		}
	}
	return BuiltIn{}, CatalogueVersion{}, false
}

// TrainedVersionID is the id of the version that a training makes: 64 hex digits, the same whenever the same
// job makes it.
func TrainedVersionID(j *Job, weightsSHA256 string) string {
	h := sha256.Sum256([]byte(fmt.Sprintf("lowrank trained version 1\n%s\n%s\n%s\n%s", j.ID, j.Base, weightsSHA256, j.Destination)))
	return hex.EncodeToString(h[:])
}

// Ref is a reference to a model's version as clients write it.
type Ref struct {
	Owner, Name string // both "" when only an id was given
	ID          string // "" for the latest
}

// ParseRef reads "id", "owner/name" or "owner/name:id". Whether it exists is for others to say.
func ParseRef(s string) (Ref, bool) {
	owner, rest, slash := strings.Cut(s, "/")
	if !slash {
		return Ref{ID: s}, s != "" && !strings.Contains(s, ":")
	}
	name, id, colon := strings.Cut(rest, ":")
	if owner == "" || name == "" || strings.Contains(name, "/") || colon && id == "" {
		return Ref{}, false
	}
	return Ref{Owner: owner, Name: name, ID: id}, true
}
