package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
)

// A sheet has 4 × 2 pictures of 64 × 64 pixels.
const (
	sheetColumns = 4
	sheetCell    = 64
	sheetQuality = 72 // JPEG: a page shows several, and weighs little
)

// sheet draws the concept's prompts and lays the pictures side by side.
func sheet(ctx context.Context, lowrank, work, file, out string, c concept) error {
	rows := (len(c.cells) + sheetColumns - 1) / sheetColumns
	m := image.NewRGBA(image.Rect(0, 0, sheetColumns*sheetCell, rows*sheetCell))
	for i, cell := range c.cells {
		base := filepath.Join(work, "cell")
		err := command(ctx, lowrank, "generate", "--lora", file, "--lora-scale", fmt.Sprint(c.Scale), "--guidance", fmt.Sprint(guidance),
			"--seed", fmt.Sprint(c.seed), "--num", fmt.Sprint(max(2, cell.index+1)), "--out", base+".png", cell.prompt)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(fmt.Sprintf("%s-%d.png", base, cell.index))
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
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: sheetQuality}); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
