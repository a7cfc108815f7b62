package train_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/train"
	"github.com/lowrank/lowrank/samples"
)

// BenchmarkMethod sets low-rank adapters beside full fine-tuning on one base and
// zip: the time of a tuning step, the device memory at its peak, and the size of
// what comes out.
func BenchmarkMethod(b *testing.B) {
	for _, method := range []string{train.MethodLoRA, train.MethodDreamBooth} {
		b.Run(method, func(b *testing.B) {
			base := enginetest.Base(b, embedded.Name)
			pool := enginetest.Pool(b)
			m, err := diffusion.Open(pool, base)
			if err != nil {
				b.Fatal(err)
			}
			o, err := train.ForCard(train.TaskObject, base.Card)
			if err != nil {
				b.Fatal(err)
			}
			o.Method, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = method, 0, b.N+1
			zip, err := samples.Zip(samples.Lowie)
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			data, err := dataset.LoadZip(ctx, bytes.NewReader(zip), int64(len(zip)), o.LoadOptions(16))
			if err != nil {
				b.Fatal(err)
			}
			job := train.Job{Model: m, Layers: generate.Layers(embedded.Name, m), Options: o, Data: data}
			job.Progress = func(p train.Progress) {
				if p.Step == 1 {
					b.ResetTimer() // loading and the first pictures are behind
				}
			}
			result, err := train.Run(ctx, job)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			var out bytes.Buffer
			if method == train.MethodLoRA {
				err = lora.Write(&out, result.Set, lora.Cloneofsimo)
			} else {
				err = safetensors.Write(&out, result.UNet, nil)
			}
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(pool.Device.Stats().Peak)/(1<<20), "peak-MB")
			b.ReportMetric(float64(out.Len())/(1<<20), "file-MB")
		})
	}
}
