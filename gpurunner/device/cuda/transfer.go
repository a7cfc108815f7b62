//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
)

// stage is page-locked memory that copies between host and GPU go through:
// the driver copies asynchronously only from and to such memory.
type stage struct {
	memory []byte
	used   int // bytes that queued copies may still read
}

const stageBytes = 16 << 20

func (s *stage) open(d *driver) (err error) {
	if s.memory == nil {
		s.memory, err = d.pinned(stageBytes)
	}
	return err
}

func (s *stage) close(d *driver) {
	if s.memory != nil {
		d.freePinned(s.memory)
		*s = stage{}
	}
}

// up queues a copy to the GPU. host may change as soon as it returns.
func (s *stage) up(d *driver, dst uint64, host []byte) error {
	if err := s.open(d); err != nil {
		return err
	}
	for len(host) > 0 {
		if s.used == len(s.memory) {
			if err := d.synchronize(); err != nil {
				return err
			}
			s.used = 0
		}
		n := copy(s.memory[s.used:], host)
		if err := s.copyUp(d, dst, s.memory[s.used:s.used+n]); err != nil {
			return err
		}
		// Copies start at multiples of 64 bytes.
		s.used = min((s.used+n+63)/64*64, len(s.memory))
		dst += uint64(n)
		host = host[n:]
	}
	return nil
}

func (s *stage) copyUp(d *driver, dst uint64, from []byte) error {
	defer d.enter()()
	return explain("copy to the GPU", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&from[0]), int64(len(from)), d.stream))
}

// down copies from the GPU after all that is queued.
func (s *stage) down(d *driver, host []byte, src uint64) error {
	if err := s.open(d); err != nil {
		return err
	}
	for len(host) > 0 {
		// What is on its way up leaves first.
		n := min(len(host), len(s.memory))
		if s.used > 0 {
			if err := d.synchronize(); err != nil {
				return err
			}
			s.used = 0
		}
		if err := s.copyDown(d, s.memory[:n], src); err != nil {
			return err
		}
		if err := d.synchronize(); err != nil {
			return err
		}
		copy(host, s.memory[:n])
		src += uint64(n)
		host = host[n:]
	}
	return nil
}

func (s *stage) copyDown(d *driver, to []byte, src uint64) error {
	defer d.enter()()
	return explain("copy from the GPU", cu.MemcpyDtoHAsync(unsafe.Pointer(&to[0]), cu.DevicePtr(src), int64(len(to)), d.stream))
}

// Upload implements device.Memory.
func (d *Device) Upload(dst device.Array, host []byte) {
	p := d.place("Upload", "dst", dst)
	if n := dst.Len * dst.Type.Size(); n != len(host) {
		badTransfer("Upload", len(host), n)
	}
	if d.err != nil || len(host) == 0 {
		return
	}
	if len(host) <= mostUpload {
		d.noteUpload(p, host)
		return
	}
	d.flush()
	if err := d.stage.up(&d.driver, p, host); err != nil {
		d.lose(err)
	}
}

// Download implements device.Memory.
func (d *Device) Download(host []byte, src device.Array) {
	p := d.place("Download", "src", src)
	if n := src.Len * src.Type.Size(); n != len(host) {
		badTransfer("Download", len(host), n)
	}
	d.flush()
	if d.err != nil {
		return
	}
	if err := d.stage.down(&d.driver, host, p); err != nil {
		d.lose(err)
	}
}

// Copy implements device.Memory.
func (d *Device) Copy(dst, src device.Array) {
	if dst.Type != src.Type {
		badType("Copy", "src", src, dst.Type)
	}
	if dst.Len != src.Len {
		badLen("Copy", "src", src, dst.Len)
	}
	d.copyBytes(d.place("Copy", "dst", dst), d.place("Copy", "src", src), dst.Len*dst.Type.Size())
}

func (d *Device) copyBytes(dst, src uint64, n int) {
	if n == 0 || d.err != nil {
		return
	}
	d.note(opCopy, dst, src, uint64(n))
}

// Fill implements device.Memory.
func (d *Device) Fill(dst device.Array, v float32) {
	p := d.place("Fill", "dst", dst)
	if dst.Len == 0 || d.err != nil {
		return
	}
	n := uint64(dst.Len)
	switch dst.Type {
	case device.F16:
		d.note(opFill16, p, uint64(half.ToF16(v)), n)
	case device.BF16:
		d.note(opFill16, p, uint64(half.ToBF16(v)), n)
	case device.I32:
		d.note(opFill32, p, uint64(uint32(int32(v))), n)
	default:
		d.note(opFill32, p, uint64(math.Float32bits(v)), n)
	}
}

func badTransfer(op string, host, dev int) {
	panic(fmt.Sprintf("cuda: %s: %d bytes on the host, %d on the device", op, host, dev))
}
