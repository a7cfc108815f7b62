package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
)

// A sheet has 4 × 2 pictures of 64 × 64 pixels.
const (
	sheetColumns = 4
	sheetCell    = 64
)

// sheet draws the concept's prompts and lays the pictures side by side.
func sheet(ctx context.Context, lowrank, work, file, out string, c concept) error {
	rows := (len(c.Prompts) + sheetColumns - 1) / sheetColumns
	m := image.NewRGBA(image.Rect(0, 0, sheetColumns*sheetCell, rows*sheetCell))
	cell := filepath.Join(work, "cell.png")
	for i, prompt := range c.Prompts {
		err := command(ctx, lowrank, "generate", "--lora", file, "--lora-scale", fmt.Sprint(c.Scale), "--guidance", fmt.Sprint(guidance), "--seed", fmt.Sprint(c.seed), "--out", cell, prompt)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(cell)
		if err != nil {
			return err
		}
		p, err := png.Decode(bytes.NewReader(b))
		if err != nil {
			return err
		}
		draw.Draw(m, image.Rect(0, 0, sheetCell, sheetCell).Add(image.Pt(i%sheetColumns*sheetCell, i/sheetColumns*sheetCell)), p, image.Point{}, draw.Src)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, m); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
