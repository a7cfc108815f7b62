package device

import (
	"context"
	"errors"
)

// ErrOutOfMemory is wrapped by the failure of an Alloc.
var ErrOutOfMemory = errors.New("device: out of memory")

// ErrLost is wrapped by failures after which a device does nothing more: a GPU
// that fell off the bus, a kernel that failed. The process that used it must end.
var ErrLost = errors.New("device: lost")

// Stepper is a device that runs work faster which it has seen before.
type Stepper interface {
	// Step says that a step begins or ends here: what follows may come again with
	// the same arguments, memory included.
	Step()
}

// Trainer is a device that may not be fit for training.
type Trainer interface {
	// CheckTraining says in one sentence why gradients would be lost here, and what
	// to choose instead.
	CheckTraining() error
}

// Precise is a device that rounds the operands of products.
type Precise interface {
	// Precision is what they are rounded to: F32 where they are not.
	Precision() DType
}

// PeakMeter is a device whose Stats.Peak can be measured anew, for a job.
type PeakMeter interface {
	// ResetPeak makes the peak what is held now.
	ResetPeak()
}

// Separate is a device that can evaluate several users' samples at once.
type Separate interface {
	// Separate says that a row of a product, and a sample of any other forward
	// operation, has the same bits whatever else is in the call and however much of
	// it: how sums are cut depends on a sample's shape alone.
	Separate() bool
}

// Roomy is a device that knows how much memory it has left.
type Roomy interface {
	// Room returns the most bytes that callers may get beyond what they hold;
	// known is false where the machine does not tell.
	Room() (bytes int64, known bool)
}

// Device is a machine that runs the engine's kernels.
type Device interface {
	Memory
	Products
	Convolutions
	Attentions
	Norms
	Elementwise
	Training
}

// Memory allocates and moves. See the package comment for its contract.
type Memory interface {
	// Name tells device and kernels, for logs: "cpu avx512", "cuda sm_90".
	Name() string
	// Bind makes ctx the one whose end abandons queued work: results are
	// undefined from then on and Sync returns the context's error. It is
	// looked at within kernels too.
	Bind(ctx context.Context)
	// Alloc returns at least size bytes, contents undefined. The error wraps
	// ErrOutOfMemory. Release gives it back to the pool at once for the next
	// Alloc; kernels queued before may still use it.
	Alloc(size int) (Buffer, error)
	Release(b Buffer)
	// Upload copies little-endian elements to dst, Download from src.
	// len(host) must be Len·Type.Size().
	Upload(dst Array, host []byte)
	Download(host []byte, src Array)
	Copy(dst, src Array)
	Fill(dst Array, v float32)
	// Freeze packs a weight. The host bytes are not needed afterwards.
	Freeze(w HostWeight) (Weight, error)
	// Repack replaces w's contents by src, f32 in the order of HostWeight; w
	// must have been frozen as F32.
	Repack(w Weight, src Array)
	// Thaw gives back a weight's memory.
	Thaw(w Weight)
	// Sync waits for all queued work and returns the first failure.
	Sync() error
	Stats() Stats
}

// Products multiply matrices.
type Products interface {
	// Linear computes y [M,N] = epi(x [M,K]·Wᵀ + Σ h·upᵀ), W frozen [N,K].
	Linear(y, x Matrix, w Weight, low []Low, epi Epilogue)
	// LinearBack computes dx [M,K] = dy [M,N]·W + Σ dh·down + beta·dx, where
	// a term of low is {H: dh [M,r], Up: down [r,K]}.
	LinearBack(dx, dy Matrix, w Weight, low []Low, beta float32)
	// MatMul computes c [M,N] = epi(alpha · op(a)·op(b)), both operands live,
	// op(a) is [M,K] and op(b) [K,N]; a transposed operand is stored [K,M] or
	// [N,K].
	MatMul(c, a, b Matrix, transA, transB bool, alpha float32, epi Epilogue)
}

// Convolutions work on pictures [N,H,W,C].
type Convolutions interface {
	// Conv computes y [N,OutH,OutW,O] = epi(conv(x, W) + Σ h·upᵀ), h
	// [N·OutH·OutW, r] and up [O,r].
	Conv(y, x Array, w Weight, g ConvGeom, low []Low, epi Epilogue)
	// ConvBack computes dx = backward-data of Conv + beta·dx.
	ConvBack(dx, dy Array, w Weight, g ConvGeom, beta float32)
	// ConvWeightGrad computes dw [O,I,kh,kw] = gradient of the kernel + beta·dw.
	ConvWeightGrad(dw, x, dy Array, g ConvGeom, beta float32)
	// Upsample stretches x [N,H,W,C] to y [N,UpH,UpW,C] by nearest neighbour;
	// UpsampleBack sums dy back into dx (+ beta·dx). Only N, H, W, C, UpH, UpW
	// of g are read.
	Upsample(y, x Array, g ConvGeom)
	UpsampleBack(dx, dy Array, g ConvGeom, beta float32)
}

// Attentions never hold a TQ×TK matrix.
type Attentions interface {
	// Attention computes o = softmax(scale·q·kᵀ)·v per sample and head. lse
	// f32 [Batch,Heads,TQ] gets the log of the sum of exponentials of each row
	// (for AttentionBack); it may be absent.
	Attention(o Matrix, lse Array, q, k, v Matrix, g AttentionGeom)
	// AttentionBack overwrites dq, dk, dv.
	AttentionBack(dq, dk, dv, do, o, q, k, v Matrix, lse Array, g AttentionGeom)
}

// Norms normalise; stats are f32 pairs (mean, 1/√(var+eps)).
type Norms interface {
	// GroupNorm computes y = γ·(x−mean)·rstd + β, then SiLU if silu. stats
	// [N,Groups,2]. x and y are [N,Pixels,C].
	GroupNorm(y, stats, x, gamma, beta Array, g NormGeom, silu bool)
	// GroupNormBack computes dx = gradient + acc·dx, and adds to dgamma and
	// dbeta [C] where they are present.
	GroupNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, beta Array, g NormGeom, silu bool, acc float32)
	// LayerNorm normalises each row of x. stats [Rows,2].
	LayerNorm(y Matrix, stats Array, x Matrix, gamma, beta Array, eps float32)
	LayerNormBack(dx Matrix, dgamma, dbeta Array, dy, x Matrix, stats, gamma Array, acc float32)
}

// Elementwise kernels move and map.
type Elementwise interface {
	// Combine computes y = Σ coef[i]·x[i], coef f32 in device memory; y may be
	// one of x.
	Combine(y, coef Array, x ...Array)
	// Add computes y = a + b; y may be a or b.
	Add(y, a, b Array)
	// Mul computes y = a·b.
	Mul(y, a, b Array)
	// Activate computes y = f(x); ActivateBack dx = f'(x)·dy + acc·dx.
	Activate(f Activation, y, x Array)
	ActivateBack(f Activation, dx, dy, x Array, acc float32)
	// GEGLU computes y [M,H] = x[:, :H]·GELU(x[:, H:]), x [M,2H].
	// GEGLUBack overwrites dx.
	GEGLU(y, x Matrix)
	GEGLUBack(dx, dy, x Matrix)
	// CopyRows copies src over dst (acc 0) or adds it (acc 1): concatenation,
	// splits, padding.
	CopyRows(dst, src Matrix, acc float32)
	// ColumnSum computes y [images,N] = Σ over each image's rowsPerImage rows
	// of x [images·rowsPerImage, N], + acc·y.
	ColumnSum(y, x Matrix, rowsPerImage int, acc float32)
	// DropoutMask computes y = mask(d)·x, the factor that an Epilogue's Drop
	// applied to a matrix of this many columns.
	DropoutMask(y, x Matrix, d Dropout)
	// Cast converts between f32, f16 and bf16, rounding to nearest even.
	Cast(dst, src Array)
	// Gather computes y[i] = table[ids[i]]; ids i32. ScatterAddRows adds
	// dy[i] to table[ids[i]], in the order of i.
	Gather(y, table Matrix, ids Array)
	ScatterAddRows(table, dy Matrix, ids Array)
}

// Training kernels see a whole step's loss or parameters.
type Training interface {
	// Loss writes to loss f32 [N] each sample's weight[n]·mean((mask·(pred−
	// target))²)/N, and to dpred (optional) the gradient of their sum. mask
	// [N,Pixels] and weight [N] are optional. pred, target, dpred [N,Pixels,C].
	Loss(loss, dpred, pred, target, mask, weight Array, g LossGeom)
	// SumSquares computes out[0] = Σ x² + acc·out[0].
	SumSquares(out, x Array, acc float32)
	// ClipFactor computes factor[0] = min(1, maxNorm/(√sum[0]+1e-6)).
	ClipFactor(factor, sum Array, maxNorm float32)
	// AdamW scales the gradients by clip[0] (if present) and steps each
	// segment: decay first, then lr/bias1·m/(√v/√bias2+eps).
	AdamW(s Slab, segments []AdamWSegment, clip Array)
	// Normal fills dst with standard normal numbers, element i being number i
	// of d.
	Normal(dst Array, d Draw)
}
