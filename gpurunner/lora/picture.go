package lora

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/lowrank/lowrank/gpurunner/pngtext"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// embeddingText is the keyword of the text that AUTOMATIC1111 puts into the
// pictures that it shares embeddings as.
const embeddingText = "sd-ti-embedding"

// openPicture reads the embedding in AUTOMATIC1111's PNG pictures as if it were
// a safetensors file of its .pt's keys: base64 of JSON of the same dictionary,
// with tensors as {"TORCHTENSOR": rows}.
func openPicture(path string) (*safetensors.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fail := func(format string, args ...any) (*safetensors.File, error) {
		return nil, &FileError{File: path, Reason: fmt.Sprintf(format, args...)}
	}
	text, err := pngtext.Text(f, embeddingText)
	if err != nil {
		return fail("is a picture, and no embedding lies in it as the text %q: %v; take the embedding's .pt or .safetensors file", embeddingText, err)
	}
	var d struct {
		Params map[string]struct {
			Rows [][]float32 `json:"TORCHTENSOR"`
		} `json:"string_to_param"`
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil {
		return fail("is a picture whose embedding is damaged: %v; fetch it again", err)
	}
	var entries []safetensors.Entry
	for _, key := range sorted(d.Params) {
		rows := d.Params[key].Rows
		if len(rows) == 0 || len(rows[0]) == 0 {
			continue
		}
		var values []byte
		for _, row := range rows {
			if len(row) != len(rows[0]) {
				return fail("is a picture whose embedding is damaged: its vectors are not of one length; fetch it again")
			}
			for _, x := range row {
				values = binary.LittleEndian.AppendUint32(values, math.Float32bits(x))
			}
		}
		entries = append(entries, safetensors.Entry{Data: values,
			Info: safetensors.Info{Name: "string_to_param." + key, DType: safetensors.F32, Shape: []int{len(rows), len(rows[0])}}})
	}
	if len(entries) == 0 {
		return fail("is a picture whose embedding has no vectors")
	}
	var out bytes.Buffer
	if err := safetensors.Write(&out, entries, nil); err != nil {
		return fail("%v", err)
	}
	return safetensors.OpenBytes(path, out.Bytes())
}
