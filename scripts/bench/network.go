package main

import (
	"context"
	"time"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// network is ours.
type network struct {
	dev     *cpu.Device
	base    *base.Base
	model   *diffusion.Model
	forward func(p *autodiff.Pass) (*autodiff.Value, error)
	result  []float32
	kept    *unet.Kept // nil: a UNet's evaluations share nothing
}

func openNetwork(folder string, e evaluation, precision device.DType, threads int) (*network, error) {
	dev, err := cpu.New(cpu.Options{Threads: threads, Precision: precision})
	if err != nil {
		return nil, err
	}
	n := &network{dev: dev}
	if n.base, err = base.Open(folder, base.Options{}); err != nil {
		return nil, err
	}
	pool := tensor.NewPool(dev)
	if n.model, err = diffusion.Open(pool, n.base); err != nil {
		return nil, err
	}
	if e.part == "vae" {
		net, err := n.model.Decoder()
		if err != nil {
			return nil, err
		}
		x := autodiff.Constant(values(pool, 1, 4, e.batch, e.height, e.width, n.model.VAEConfig().LatentChannels))
		n.forward = func(p *autodiff.Pass) (*autodiff.Value, error) { return net.Decode(p, x) }
		return n, nil
	}
	net, err := n.model.UNet()
	if err != nil {
		return nil, err
	}
	config := n.model.UNetConfig()
	x := autodiff.Constant(values(pool, 1, 4, e.batch, e.height, e.width, config.InChannels))
	text := autodiff.Constant(values(pool, 2, 2, e.batch, 77, config.CrossAttention))
	condition := unet.Condition{Context: text}
	for range e.batch {
		condition.Timesteps = append(condition.Timesteps, 500)
	}
	n.forward = func(p *autodiff.Pass) (*autodiff.Value, error) {
		condition.Kept = n.kept
		return net.Forward(p, x, condition)
	}
	return n, nil
}

// values are numbers times scale, on the device.
func values(pool *tensor.Pool, seed uint32, scale float32, shape ...int) *tensor.Tensor {
	size := 1
	for _, n := range shape {
		size *= n
	}
	v := numbers(size, seed)
	for i := range v {
		v[i] *= scale
	}
	return pool.FromFloat32(v, shape...)
}

// run evaluates so many times and returns the seconds of one.
func (n *network) run(times int) (float64, error) {
	begin := time.Now()
	for i := range times {
		err := autodiff.Run(context.Background(), n.model.Pool, func(p *autodiff.Pass) error {
			y, err := n.forward(p)
			if err != nil {
				return err
			}
			if i == times-1 {
				n.result = y.T.Float32()
			}
			y.Release()
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return time.Since(begin).Seconds() / float64(times), nil
}

func (n *network) close() {
	n.dev.Close()
	n.base.Close()
}
