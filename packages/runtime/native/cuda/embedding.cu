/**
 * The embedding: x[n] is row ids[n] of the table [V, D]. And its gradient: row ids[n] of grad [V, D] gets dx[n] added.
 * A table may be a part of a vocabulary, with the rows of ids `first` to first + V - 1: x is 0 for the others.
 *
 * A token that occurs twice gets the sum of both. Atomic additions would be done in any order, and give other bits each
 * time. So the host, which knows the ids, sorts the tokens by id: a block has one id, adds up the rows of its tokens in
 * the order of n, and is alone with its row of grad.
 *
 * The version before it had no such list: each token's block compared its id with all others', 4.6 ms for 65,536
 * tokens.
 */
#include "types.cuh"

// A block copies a row.
extern "C" __global__ void embedding(const T* table, const int* ids, int first, int V, T* x) {
    const int64_t n = blockIdx.x, id = ids[n] - first;
    for (int d = threadIdx.x * WIDTH; d < D; d += THREADS * WIDTH) {
        Pack<T, WIDTH> row = {};
        if (id >= 0 && id < V) row = load<WIDTH>(table + id * D + d);
        store(x + n * D + d, row);
    }
}

// Block b has tokens order[starts[b]] up to order[starts[b + 1]], whose id is that of the first.
extern "C" __global__ void __launch_bounds__(THREADS)
    embedding_grad(const T* dx, const int* ids, const int* order, const int* starts, int first_id, G* grad) {
    const int first = starts[blockIdx.x], last = starts[blockIdx.x + 1];
    const int64_t id = ids[order[first]] - first_id;
    for (int d = threadIdx.x * WIDTH; d < D; d += THREADS * WIDTH) {
        float sums[WIDTH];
        for (int i = 0; i < WIDTH; i++) sums[i] = wide(grad[id * D + d + i]);
#pragma unroll 8  // rows on their way at a time; they are added in order
        for (int place = first; place < last; place++) {
            const auto row = load<WIDTH>(dx + static_cast<int64_t>(order[place]) * D + d);
            for (int i = 0; i < WIDTH; i++) sums[i] += wide(row[i]);
        }
        for (int i = 0; i < WIDTH; i++) grad[id * D + d + i] = narrow<G>(sums[i]);
    }
}
