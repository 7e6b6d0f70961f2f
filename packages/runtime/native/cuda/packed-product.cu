/**
 * Products with packed weights, y = [onto +] w · x (../ops/packed-kernels.h has the arithmetic): a few rows of x at a
 * time, and a panel of 16 rows of w.
 *
 *   ROUNDED   x is q and d of prepare-rows.cu; whole numbers, 4 products an instruction (dp4a)
 *   else      x is floats, and w becomes floats in registers
 *   ROWS      of x in one pass over the panel: 1, 2, 4 or 8
 *   ROUTED    each row has a matrix of its own, by `order` and `starts` (experts.cu)
 *
 * One row is a matter of memory's speed: every byte of w is read once, by 16-byte loads that lie side by side. A panel
 * has THREADS threads: each has 4 of its rows (`quad`) and one word of a block (`word`), and goes from block to block:
 *
 *     block 0 | word 0: quad 0 1 2 3 | word 1: quad 0 1 2 3 | ...   threads 0, 1, 2, ...
 *     block 1 | ...                                                 the next 4 · WORDS threads
 *
 * so its 4 · ROWS sums stay in its registers, and the threads of one quad are added up at the end, always in the same
 * order: the bits of a row's result depend on the matrix and on that row. They are not the processor's, which adds
 * block after block.
 *
 * Many rows read w again for every 8 of them, but from the second-level cache, and x from the first: products are then
 * the limit. Tensor cores would do more of them, in other bits.
 */
#include "packed.cuh"

constexpr bool NIBBLES = FORMAT == Q40 || FORMAT == Q41;
constexpr int WORDS = number_bytes(FORMAT) / 4;      // of a row's block
constexpr int NUMBERS = BLOCK / WORDS;               // of a word
constexpr int SCALES = PANEL * scale_bytes(FORMAT);  // bytes before a block's words
constexpr int AT_ONCE = THREADS / (4 * WORDS);       // blocks
constexpr unsigned LOW = 0x0f0f0f0f, ONES = 0x01010101;
static_assert(THREADS % (4 * WORDS) == 0, "a thread keeps its word");

// Rows of x: floats, or whole numbers with a scale for each 32.
struct X {
    const float* floats;
    const unsigned* q;  // four at a time
    const float* d;
};

// Which rows of x a pass takes, by the number of their first block; beyond the last row that one again.
struct Pass {
    int blocks[ROWS];
};

// The scales of this thread's 4 rows, the first of them in `from`.
__device__ inline void read_scales(const byte* from, float (&d)[4]) {
    const auto halves = load<4>(reinterpret_cast<const unsigned short*>(from));
    for (int i = 0; i < 4; i++) d[i] = half_to_float(halves[i]);
}

// ## One block of 4 rows of w times ROWS rows of x

// Which of 32 columns number c of word `word` is.
__device__ inline int column(int word, int c) {
    return NIBBLES ? 4 * word + c % 4 + (c < 4 ? 0 : 16) : NUMBERS * word + c;
}

__device__ inline float number(unsigned w, int c, float d, float m) {
    if (FORMAT == F32) return __uint_as_float(w);
    if (FORMAT == BF16) return __uint_as_float(c == 0 ? w << 16 : w & 0xffff0000u);
    if (FORMAT == Q80) return d * static_cast<signed char>(w >> 8 * c);
    const int q = w >> (8 * (c % 4) + (c < 4 ? 0 : 4)) & 15;
    return FORMAT == Q40 ? d * (q - 8) : __fmaf_rn(d, static_cast<float>(q), m);
}

__device__ inline void add_floats(const Pack<unsigned, 4>& w, const float (&d)[4], const float (&m)[4], int word,
                                  const X& x, const Pass& rows, int b, float (&sums)[ROWS][4]) {
    float floats[4][NUMBERS];
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < NUMBERS; c++) floats[i][c] = number(w[i], c, d[i], m[i]);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const float* from = x.floats + static_cast<int64_t>(rows.blocks[r] + b) * BLOCK;
#pragma unroll
        for (int c = 0; c < NUMBERS; c++) {
            const float value = from[column(word, c)];
            for (int i = 0; i < 4; i++) sums[r][i] = __fmaf_rn(floats[i][c], value, sums[r][i]);
        }
    }
}

__device__ inline void add_integers(const Pack<unsigned, 4>& w, const float (&d)[4], const float (&m)[4], int word,
                                    const X& x, const Pass& rows, int b, float (&sums)[ROWS][4]) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const int block = rows.blocks[r] + b;
        const unsigned* q = x.q + static_cast<int64_t>(block) * (BLOCK / 4);
        const unsigned low = q[word], high = NIBBLES ? q[4 + word] : 0;
        const float scale = x.d[block];
        const int total = dot4(ONES, low, dot4(ONES, high, 0));
        for (int i = 0; i < 4; i++) {
            int s = dot4(NIBBLES ? w[i] & LOW : w[i], low, FORMAT == Q40 ? -8 * total : 0);
            if (NIBBLES) s = dot4(w[i] >> 4 & LOW, high, s);
            sums[r][i] = __fmaf_rn(static_cast<float>(s), d[i] * scale, sums[r][i]);
            if (FORMAT == Q41) sums[r][i] = __fmaf_rn(m[i], scale * static_cast<float>(total), sums[r][i]);
        }
    }
}

// ## A panel

// This thread's part of the products.
__device__ inline void multiply(const byte* panel, const X& x, const Pass& rows, int blocks, float (&sums)[ROWS][4]) {
    const int quad = threadIdx.x % 4, word = threadIdx.x / 4 % WORDS;
#pragma unroll 2
    for (int b = threadIdx.x / (4 * WORDS); b < blocks; b += AT_ONCE) {
        const byte* block = panel + static_cast<int64_t>(b) * PANEL * block_bytes(FORMAT);
        const auto w = load<4>(reinterpret_cast<const unsigned*>(block + SCALES) + 16 * word + 4 * quad);
        float d[4] = {}, m[4] = {};
        if (SCALES > 0) read_scales(block + 8 * quad, d);
        if (FORMAT == Q41) read_scales(block + 2 * PANEL + 8 * quad, m);
        if (ROUNDED) add_integers(w, d, m, word, x, rows, b, sums);
        else add_floats(w, d, m, word, x, rows, b, sums);
    }
}

// Adds up the threads of each quad and writes 16 columns of y, from `first` on, of rows `at` and on.
__device__ inline void finish(const float (&sums)[ROWS][4], int at, int last, const int* order, int first, int O,
                              const float* onto, float* y) {
    __shared__ float parts[THREADS / 32][ROWS][PANEL];
    const int quad = threadIdx.x % 4, lane = threadIdx.x % 32;
    __syncthreads();  // whoever still reads the parts of the pass before
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < 4; i++) {
            float sum = sums[r][i];
            for (int step = 16; step >= 4; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
            if (lane == quad) parts[threadIdx.x / 32][r][4 * quad + i] = sum;
        }
    __syncthreads();
    for (int i = threadIdx.x; i < min(ROWS, last - at) * PANEL; i += THREADS) {
        const int row = ROUTED ? order[at + i / PANEL] : at + i / PANEL, o = first + i % PANEL;
        float sum = 0;
        for (int warp = 0; warp < THREADS / 32; warp++) sum += parts[warp][i / PANEL][i % PANEL];
        const int64_t to = static_cast<int64_t>(row) * O + o;
        if (o < O) y[to] = onto ? onto[to] + sum : sum;
    }
}

// Block (p, t): panel p and rows ROWS · t and on of N; ROUTED: those whose matrix is t, `each` rows of y for one of x.
extern "C" __global__ void __launch_bounds__(THREADS)
    packed_product(const byte* w, const float* floats, const unsigned* q, const float* d, int blocks, int O, int N,
                   const int* order, const int* starts, int each, const float* onto, float* y) {
    const int first = ROUTED ? starts[blockIdx.y] : blockIdx.y * ROWS;
    const int last = ROUTED ? starts[blockIdx.y + 1] : min(N, first + ROWS);
    const int64_t panel = (ROUTED ? static_cast<int64_t>(blockIdx.y) * gridDim.x : 0) + blockIdx.x;
    const X x{floats, q, d};
    for (int at = first; at < last; at += ROWS) {
        Pass rows;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const int row = min(at + r, last - 1);
            rows.blocks[r] = (ROUTED ? order[row] / each : row) * blocks;
        }
        float sums[ROWS][4] = {};
        multiply(w + panel * blocks * PANEL * block_bytes(FORMAT), x, rows, blocks, sums);
        finish(sums, at, last, order, blockIdx.x * PANEL, O, onto, y);
    }
}
