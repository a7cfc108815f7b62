package events

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCatalogueVersions(t *testing.T) {
	c := testCatalogue(t)
	t.Run("AnnouncedIsTheDefaultBases", func(t *testing.T) {
		m, v, ok := c.FindVersion(AnnouncedTrainingID)
		if !ok || m.Name != "lora-training" || v.Base.Name != "small" || len(AnnouncedTrainingID) != 62 {
			t.Errorf("got %v %v %v", m, v.Base.Name, ok)
		}
		m, v, ok = c.FindVersion(AnnouncedLoraID)
		if !ok || m.Owner != "replicate" || m.Name != "lora" || v.Base.Name != "small" {
			t.Errorf("got %v %v %v", m, v.Base.Name, ok)
		}
	})
	t.Run("DerivedResolvesToo", func(t *testing.T) {
		for _, p := range []Program{ProgramTraining, ProgramAdvancedTraining, ProgramLora} {
			for _, v := range c.Versions(p) {
				got, ok := c.Version(p, v.DerivedID)
				if !ok || got.Base.Name != v.Base.Name || len(v.DerivedID) != 64 || strings.Trim(v.DerivedID, "0123456789abcdef") != "" {
					t.Errorf("%s on %s: %q", p, v.Base.Name, v.DerivedID)
				}
			}
		}
	})
	t.Run("AnotherBaseChangesNoOthersID", func(t *testing.T) {
		one, err := NewCatalogue(c.Bases()[0])
		if err != nil {
			t.Fatal(err)
		}
		if a, b := one.Versions(ProgramLora)[0].DerivedID, c.Versions(ProgramLora)[0].DerivedID; a != b {
			t.Errorf("%s became %s", a, b)
		}
	})
	t.Run("OtherWeightsAreAnotherVersion", func(t *testing.T) {
		b := c.Bases()[0]
		b.SHA256 = strings.Repeat("9", 64)
		other, err := NewCatalogue(b)
		if err != nil {
			t.Fatal(err)
		}
		if other.Versions(ProgramLora)[0].DerivedID == c.Versions(ProgramLora)[0].DerivedID {
			t.Error("the same id for other weights")
		}
	})
	t.Run("NotUnderOtherModels", func(t *testing.T) {
		if _, ok := c.Version(ProgramLora, AnnouncedTrainingID); ok {
			t.Error("lora has lora-training's version")
		}
		if _, ok := c.Version(ProgramAdvancedTraining, ""); ok {
			t.Error("the empty id names a version")
		}
	})
	for name, bases := range map[string][]BaseLimits{
		"ErrNoBase": nil, "ErrNoName": {{}}, "ErrTwice": {{Name: "a"}, {Name: "a"}}, "ErrDefaultSize": {{Name: "a", Width: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewCatalogue(bases...); err == nil {
				t.Error("no error")
			}
		})
	}
}

// TestSchemas holds the schemas that are shown to golden samples: whoever changes one sees that all
// derived version ids change with it.
func TestSchemas(t *testing.T) {
	b := BaseLimits{Name: "sd15", SHA256: strings.Repeat("1", 64)}
	for _, p := range []Program{ProgramTraining, ProgramAdvancedTraining, ProgramLora} {
		t.Run(string(p), func(t *testing.T) {
			s, err := Marshal(InputSchema(p, b, []string{"sd15", "other"}))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "openapi-schema-"+string(p), s)
			id, err := deriveID(p, b.WithDefaults())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("samples", "version-id-"+string(p)+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if id+"\n" != string(want) {
				t.Errorf("version id %s, want %s", id, want)
			}
		})
	}
}

func TestSchemaShape(t *testing.T) {
	c := testCatalogue(t)
	for _, p := range []Program{ProgramTraining, ProgramAdvancedTraining, ProgramLora} {
		s := c.Versions(p)[0].Schema
		seen := map[int]bool{}
		for name, v := range s.Input()["properties"].(map[string]any) {
			order, ok := v.(map[string]any)["x-order"].(int)
			if !ok || seen[order] {
				t.Errorf("%s.%s: x-order %v is missing or used twice", p, name, order)
			}
			seen[order] = true
			if pr := s.Property(name); pr["type"] == nil || pr["description"] == nil {
				t.Errorf("%s.%s has no type or no description", p, name)
			}
		}
	}
	out := c.Versions(ProgramLora)[0].Schema.schemas()["Output"].(map[string]any)
	if out["type"] != "array" || out["x-cog-array-type"] != nil {
		t.Errorf("lora's Output is %v: an iterator would lose items in replicate 0.4.0", out)
	}
	with := c.Versions(ProgramLora)[0].Schema.WithDefault("lora_urls", "https://x")
	if with.Property("lora_urls")["default"] != "https://x" || c.Versions(ProgramLora)[0].Schema.Property("lora_urls")["default"] != "" {
		t.Error("WithDefault changes the original, or not the copy")
	}
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string]Ref{
		"abc": {ID: "abc"}, "o/n": {Owner: "o", Name: "n"}, "o/n:abc": {"o", "n", "abc"}, AnnouncedTrainingID: {ID: AnnouncedTrainingID},
	} {
		if got, ok := ParseRef(in); !ok || got != want {
			t.Errorf("%q: got %v, %v", in, got, ok)
		}
	}
	for _, bad := range []string{"", "/", "o/", "/n", "o/n/x", "o/n:", "a:b", ":"} {
		if got, ok := ParseRef(bad); ok {
			t.Errorf("%q was taken as %v", bad, got)
		}
	}
}
