// Matrix products and convolutions on tensor cores: operands rounded to T (f16
// or bf16) on their way to shared memory, sums in float32.
//
// A block of 256 threads computes ROWS×COLUMNS elements, eight warps, two along
// the rows and four along the columns, in steps of 32 terms. Two sets of tiles
// alternate: while one is multiplied, the next is on its way, weights by
// asynchronous copies and activations, which lie in memory as float32, through
// registers.
//
// Long sums with few elements are split as in products.cu.
#pragma once
#include "epilogue.cuh"
#include "operands.cuh"

static const int DEPTH = 32; // terms per step
static const int SKEW = 8;   // halves by which rows of a tile are longer: keeps ldmatrix free of bank conflicts

// Tile holds EDGE×32 elements of an operand in T: rows along k, [EDGE][40], or
// along the edge, [32][EDGE+8].
template <int EDGE>
struct __align__(16) Tile {
  u16 at[EDGE * (DEPTH + SKEW) > DEPTH * (EDGE + SKEW) ? EDGE * (DEPTH + SKEW) : DEPTH * (EDGE + SKEW)];
};

template <bool alongK, int EDGE>
__device__ __forceinline__ u16* cell(Tile<EDGE>& t, int i, int k) {
  return alongK ? t.at + i * (DEPTH + SKEW) + k : t.at + k * (EDGE + SKEW) + i;
}

// A feed brings an operand's tiles to shared memory. fast says that runs of 4
// (float) or 8 (half) elements along the contiguous axis lie in aligned memory
// together and are all inside or all outside.
// singly is elements (i, k) … (i, k+3) or, not along k, (i, k) … (i+3, k), one by
// one.
template <class Operand>
__device__ OUT_OF_LINE Four singly(const Operand& x, int i, int k, int end) {
  Four f;
  for (int j = 0; j < 4; j++)
    f.v[j] = Operand::along_k ? x.at(x.outer(i), x.inner(k + j, end)) : x.at(x.outer(i + j), x.inner(k, end));
  return f;
}

// Places are where the runs of a thread are: along k they share their term, else
// their place along the edge. Its first run begins at (i, k); neighbouring ones are
// EDGES or TERMS apart.
template <class Operand, int RUNS, int EDGES, int TERMS>
struct Places {
  static const bool ALONG = Operand::along_k;
  typename Operand::Outer outer[ALONG ? RUNS : 1];
  typename Operand::Inner inner[ALONG ? 1 : RUNS];
  int k;

  __device__ __forceinline__ void start(const Operand& x, int i, int k0, int end) {
    k = k0;
#pragma unroll
    for (int j = 0; j < (ALONG ? RUNS : 1); j++) outer[j] = x.outer(i + EDGES * j);
#pragma unroll
    for (int j = 0; j < (ALONG ? 1 : RUNS); j++) inner[j] = x.inner(k + TERMS * j, end);
  }
  __device__ __forceinline__ const typename Operand::Element* address(const Operand& x, int j) const {
    return x.address(outer[ALONG ? j : 0], inner[ALONG ? 0 : j]);
  }
  __device__ __forceinline__ void next(const Operand& x, int end) {
    k += DEPTH;
#pragma unroll
    for (int j = 0; j < (ALONG ? 1 : RUNS); j++) x.step(inner[j], k + TERMS * j, DEPTH, end);
  }
};

// Floats is how an operand of float32 is fed: through registers, to be rounded.
template <class T, class Operand, int EDGE>
struct Floats {
  static const int RUNS = EDGE * DEPTH / 4 / 256;
  static const bool ALONG = Operand::along_k;
  static const int EDGES = ALONG ? 256 / (DEPTH / 4) : 0, TERMS = ALONG ? 0 : 256 / (EDGE / 4);
  Places<Operand, RUNS, EDGES, TERMS> places;
  Four next[RUNS];

  __device__ __forceinline__ static int edge() { return ALONG ? threadIdx.x / (DEPTH / 4) : threadIdx.x % (EDGE / 4) * 4; }
  __device__ __forceinline__ static int term() { return ALONG ? threadIdx.x % (DEPTH / 4) * 4 : threadIdx.x / (EDGE / 4); }
  __device__ __forceinline__ void start(const Operand& x, int i0, int k0, int end) { places.start(x, i0 + edge(), k0 + term(), end); }
  __device__ __forceinline__ void begin(const Operand& x, Tile<EDGE>&, int i0, int end, bool fast) {
#pragma unroll
    for (int j = 0; j < RUNS; j++)
      if (fast) {
        const float* p = places.address(x, j);
        next[j] = p ? load4(p) : Four{};
      } else {
        next[j] = singly(x, i0 + edge() + EDGES * j, places.k + TERMS * j, end);
      }
    places.next(x, end);
  }
  __device__ __forceinline__ void end(Tile<EDGE>& t) {
#pragma unroll
    for (int j = 0; j < RUNS; j++) {
      u32* p = (u32*)cell<ALONG>(t, edge() + EDGES * j, term() + TERMS * j);
      p[0] = pack(T(), next[j].v[0], next[j].v[1]);
      p[1] = pack(T(), next[j].v[2], next[j].v[3]);
    }
  }
};

// Halves is how an operand that is stored in T is fed: by asynchronous copies.
template <class T, class Operand, int EDGE>
struct Halves {
  static const int RUNS = EDGE * DEPTH / 8 / 256;
  static const bool ALONG = Operand::along_k;
  static const int EDGES = ALONG ? 256 / (DEPTH / 8) : 0, TERMS = ALONG ? 0 : 256 / (EDGE / 8);
  Places<Operand, RUNS, EDGES, TERMS> places;

  __device__ __forceinline__ static int edge() { return ALONG ? threadIdx.x / (DEPTH / 8) : threadIdx.x % (EDGE / 8) * 8; }
  __device__ __forceinline__ static int term() { return ALONG ? threadIdx.x % (DEPTH / 8) * 8 : threadIdx.x / (EDGE / 8); }
  __device__ __forceinline__ void start(const Operand& x, int i0, int k0, int end) { places.start(x, i0 + edge(), k0 + term(), end); }
  __device__ __forceinline__ void begin(const Operand& x, Tile<EDGE>& t, int i0, int end, bool fast) {
#pragma unroll
    for (int j = 0; j < RUNS; j++) {
      u16* to = cell<ALONG>(t, edge() + EDGES * j, term() + TERMS * j);
      if (fast) {
        const T* p = places.address(x, j);
        copy_async(to, p ? p : x.base(), p != 0);
        continue;
      }
      int i = i0 + edge() + EDGES * j, k = places.k + TERMS * j;
#pragma unroll 1
      for (int n = 0; n < 8; n++) {
        float v = ALONG ? x.at(x.outer(i), x.inner(k + n, end)) : x.at(x.outer(i + n), x.inner(k, end));
        T h;
        narrow(h, v); // exact: it came from T
        to[n] = h.bits;
      }
    }
    places.next(x, end);
  }
  __device__ __forceinline__ void end(Tile<EDGE>&) {}
};

template <class T, class Operand, int EDGE, class Element>
struct Kind {
  typedef Floats<T, Operand, EDGE> Feed;
};
template <class T, class Operand, int EDGE>
struct Kind<T, Operand, EDGE, T> {
  typedef Halves<T, Operand, EDGE> Feed;
};

// Fragments of the operands as mma wants them. Lane l names row l%8 of tile l/8.
template <bool alongK, int EDGE>
__device__ __forceinline__ void fragmentA(u32 (&a)[4], Tile<EDGE>& t, int m, int k) {
  int j = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  if (alongK)
    ldmatrix(a, cell<true>(t, m + (j & 1) * 8 + r, k + (j >> 1) * 8));
  else
    ldmatrix_transposed(a, cell<false>(t, m + (j & 1) * 8, k + (j >> 1) * 8 + r));
}

// fragmentB is two blocks of eight columns: b[0], b[1] of the first.
template <bool alongK, int EDGE>
__device__ __forceinline__ void fragmentB(u32 (&b)[4], Tile<EDGE>& t, int n, int k) {
  int j = threadIdx.x % 32 / 8, r = threadIdx.x % 8;
  if (alongK)
    ldmatrix(b, cell<true>(t, n + (j >> 1) * 8 + r, k + (j & 1) * 8));
  else
    ldmatrix_transposed(b, cell<false>(t, n + (j >> 1) * 8, k + (j & 1) * 8 + r));
}

template <int ROWS, int COLUMNS>
struct Tiles {
  Tile<ROWS> a[2];
  Tile<COLUMNS> b[2];
};

template <int ROWS, int COLUMNS>
struct Sums {
  static const int M = ROWS / 2 / 16, N = COLUMNS / 4 / 8; // blocks of 16 rows and of 8 columns of a warp
  float c[M][N][4];
};

template <class T, int ROWS, int COLUMNS, class A, class B>
__device__ __forceinline__ void accumulate(Sums<ROWS, COLUMNS>& s, Tiles<ROWS, COLUMNS>& t, const A& a, const B& b, int m0, int n0, int from, int to,
                                           bool fastA, bool fastB) {
  const int M = Sums<ROWS, COLUMNS>::M, N = Sums<ROWS, COLUMNS>::N;
  typename Kind<T, A, ROWS, typename A::Element>::Feed feedA;
  typename Kind<T, B, COLUMNS, typename B::Element>::Feed feedB;
  int warp = threadIdx.x / 32, wm = warp / 4 * (ROWS / 2), wn = warp % 4 * (COLUMNS / 4);
  if (from >= to) return;
  feedA.start(a, m0, from, to);
  feedB.start(b, n0, from, to);
  __syncthreads(); // the tiles of another sum have been read
  feedA.begin(a, t.a[0], m0, to, fastA);
  feedB.begin(b, t.b[0], n0, to, fastB);
  feedA.end(t.a[0]);
  feedB.end(t.b[0]);
  copy_async_wait();
  __syncthreads();
  int now = 0;
  for (int k = from; k < to; k += DEPTH) {
    bool more = k + DEPTH < to;
    if (more) {
      feedA.begin(a, t.a[now ^ 1], m0, to, fastA);
      feedB.begin(b, t.b[now ^ 1], n0, to, fastB);
    }
    __syncwarp(); // lanes that fetched and lanes that were outside: ldmatrix and mma want all of them together
#pragma unroll
    for (int d = 0; d < DEPTH; d += 16) {
      u32 x[2][4], w[N / 2][4];
#pragma unroll
      for (int j = 0; j < N / 2; j++) fragmentB<B::along_k>(w[j], t.b[now], wn + 16 * j, d);
      fragmentA<A::along_k>(x[0], t.a[now], wm, d);
#pragma unroll
      for (int i = 0; i < M; i++) {
        if (i + 1 < M) fragmentA<A::along_k>(x[(i + 1) % 2], t.a[now], wm + 16 * (i + 1), d);
#pragma unroll
        for (int j = 0; j < N; j++) {
          u32 two[2] = {w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]};
          mma(T(), s.c[i][j], x[i % 2], two);
        }
      }
    }
    if (more) {
      feedA.end(t.a[now ^ 1]);
      feedB.end(t.b[now ^ 1]);
      copy_async_wait();
    }
    __syncthreads();
    now ^= 1;
  }
}

// singles stores count elements from (m, n) on, one by one. Out of line, for most
// products never come here: written out, it would take registers from all of them.
template <class End>
__device__ OUT_OF_LINE void singles(End e, int m, int n, int count, const float* v) {
#pragma unroll 1
  for (int j = 0; j < count; j++) store(e, m, n + j, v[j]);
}

// finish goes through shared memory, 16 rows of each warp at a time, so that
// neighbouring lanes store neighbouring columns, four each.
template <int ROWS, int COLUMNS, class End>
__device__ __forceinline__ void finish(const Sums<ROWS, COLUMNS>& s, Tiles<ROWS, COLUMNS>& t, const End& e, int m0, int n0, int rows, int columns) {
  const int WIDTH = COLUMNS / 4, STRIDE = WIDTH + 4;
  static_assert(sizeof t >= 8 * 16 * STRIDE * 4, "the tiles hold 16 rows of every warp");
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float* mine = (float*)&t + warp * 16 * STRIDE;
  bool quads = in_quads(e);
#pragma unroll
  for (int i = 0; i < Sums<ROWS, COLUMNS>::M; i++) {
    __syncwarp();
#pragma unroll
    for (int j = 0; j < Sums<ROWS, COLUMNS>::N; j++)
#pragma unroll
      for (int r = 0; r < 4; r++) mine[(lane / 4 + r / 2 * 8) * STRIDE + 8 * j + lane % 4 * 2 + r % 2] = s.c[i][j][r];
    __syncwarp();
    int m = m0 + warp / 4 * (ROWS / 2) + 16 * i, n = n0 + warp % 4 * WIDTH;
#pragma unroll 1
    for (int at = lane; at < 16 * (WIDTH / 4); at += 32) {
      int row = at / (WIDTH / 4), column = at % (WIDTH / 4) * 4;
      if (m + row >= rows || n + column >= columns) continue;
      if (quads) {
        store(e, m + row, n + column, *(const Four*)(mine + row * STRIDE + column));
        continue;
      }
      singles(e, m + row, n + column, least(4, columns - n - column), mine + row * STRIDE + column);
    }
  }
}

// fast has bit 0 for A, 1 for B, 2 and 3 for the low-rank term's.
template <class T, int ROWS, int COLUMNS, class A, class B, bool lowAlongK, class End>
__device__ __forceinline__ void product(Tiles<ROWS, COLUMNS>& t, const A& a, const B& b, int rows, int columns, int terms, float* part, int perSplit,
                                        int fast, const float* low, int lowStride, const float* up, int upStride, int rank, const End& e) {
  Sums<ROWS, COLUMNS> s = {};
  if (ROWS == 128) fast = 15; // large tiles are for such operands alone: no calls in their loop
  int m0 = blockIdx.x * ROWS, n0 = blockIdx.y * COLUMNS, begin = blockIdx.z * perSplit;
  accumulate<T, ROWS, COLUMNS>(s, t, a, b, m0, n0, begin, least(begin + perSplit, terms), fast & 1, fast & 2);
  if (rank > 0 && blockIdx.z == gridDim.z - 1)
    accumulate<T, ROWS, COLUMNS>(s, t, Matrix<float, true>{low, rows, lowStride}, Matrix<float, lowAlongK>{up, columns, upStride}, m0, n0, 0, rank,
                                 fast & 4, fast & 8);
  if (part)
    finish<ROWS, COLUMNS>(s, t, Partial{part + (i64)blockIdx.z * rows * columns, columns}, m0, n0, rows, columns);
  else
    finish<ROWS, COLUMNS>(s, t, e, m0, n0, rows, columns);
}

#define PRODUCT_PARAMS int rows, int columns, int terms, float *part, int perSplit, int fast
#define LOW_PARAMS const float *low, int lowStride, const float *up, int upStride, int rank
#define LOW low, lowStride, up, upStride, rank
#define NO_LOW 0, 0, 0, 0, 0

// The products of products.cu with a frozen weight: blocks of ROWS×COLUMNS, so many
// of them at once on a multiprocessor, their tiles in memory that TILES declares.
// NAME ends the kernels' names.
#define WEIGHTED(T, NAME, ROWS, COLUMNS, BLOCKS, TILES) \
  KERNEL_OF(256, BLOCKS) mma_linear_##T##_##NAME(PRODUCT_PARAMS, const float* x, int xStride, const T* w, LOW_PARAMS, EPILOGUE_PARAMS) { \
    TILES(ROWS, COLUMNS); \
    product<T, ROWS, COLUMNS, Matrix<float, true>, Matrix<T, true>, true>(tiles, {x, rows, xStride}, {w, columns, terms}, rows, columns, terms, \
                                                                         part, perSplit, fast, LOW, EPILOGUE(columns)); \
  } \
  KERNEL_OF(256, BLOCKS) mma_linear_back_##T##_##NAME(PRODUCT_PARAMS, const float* x, int xStride, const T* w, LOW_PARAMS, EPILOGUE_PARAMS) { \
    TILES(ROWS, COLUMNS); \
    product<T, ROWS, COLUMNS, Matrix<float, true>, Matrix<T, false>, false>(tiles, {x, rows, xStride}, {w, columns, columns}, rows, columns, terms, \
                                                                           part, perSplit, fast, LOW, EPILOGUE(columns)); \
  } \
  KERNEL_OF(256, BLOCKS) mma_conv_##T##_##NAME(PRODUCT_PARAMS, const float* x, const T* kernel, GEOMETRY_PARAMS, LOW_PARAMS, EPILOGUE_PARAMS) { \
    TILES(ROWS, COLUMNS); \
    product<T, ROWS, COLUMNS, Pixels, Matrix<T, true>, true>(tiles, {x, GEOMETRY}, {kernel, columns, terms}, rows, columns, terms, part, perSplit, \
                                                            fast, LOW, EPILOGUE(columns)); \
  } \
  KERNEL_OF(256, BLOCKS) mma_conv_back_##T##_##NAME(PRODUCT_PARAMS, const float* dy, const T* kernel, GEOMETRY_PARAMS, float* dx, float beta) { \
    TILES(ROWS, COLUMNS); \
    Epilogue e = {1, 0, 0, 0, 0, IDENTITY, {}, 0, 0, beta, dx, c, c}; \
    product<T, ROWS, COLUMNS, Gradients, Mirrored<T>, true>(tiles, {dy, GEOMETRY}, {kernel, c, o, kh * kw}, rows, columns, terms, part, perSplit, \
                                                           fast, NO_LOW, e); \
  }
#define STATIC_TILES(ROWS, COLUMNS) __shared__ Tiles<ROWS, COLUMNS> tiles
#define DYNAMIC_TILES(ROWS, COLUMNS) \
  DYNAMIC_SHARED(u16, memory); \
  Tiles<ROWS, COLUMNS>& tiles = *(Tiles<ROWS, COLUMNS>*)memory
