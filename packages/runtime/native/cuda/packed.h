/**
 * Products with packed weights on the GPU (../ops/packed-product.h has the ops and their numbers).
 *
 * The bytes of a matrix are the processor's panels: packed.cuh says why they suit a GPU as well. A product is two
 * kernels, x made ready (prepare-rows.cu) and the product itself (packed-product.cu).
 */
#pragma once
#include "../shapes/packed-shape.h"
#include "op.h"
#include "transfer.h"

namespace fourfold::cuda {

/** How rows of x become rows of I numbers. */
struct Preparation {
    Prepare kind = Prepare::kNothing;
    void* gain = nullptr;  // I numbers, for kNorm
    float epsilon = 0;
};

/** Prepared rows of x on the GPU: floats, or integers with their scales. */
struct PreparedRows {
    Tensor memory, scales;  // whose memory the pointers are, where it isn't x's
    void *floats = nullptr, *q = nullptr, *d = nullptr;
};

/** Which matrix each row is multiplied with, where there are several: experts.cu has the lists. */
struct Route {
    void *order = nullptr, *starts = nullptr;
    int64_t matrices = 1;
    int each = 1;  // rows of y for one of x
};

/** A matrix and how it is multiplied. */
struct Factor {
    Panels panels{};
    bool rounded = false;  // whether x is rounded to Q80: for formats in blocks

    Factor() = default;
    Factor(const Panels& w, bool round) : panels(w), rounded(round && InBlocks(w.format)) {}

    /** N rows of x made ready. Rows that need nothing stay where they are. */
    PreparedRows Ready(OpKernelContext* ctx, const Preparation& prepare, void* x, int64_t N) const {
        const int64_t blocks = panels.Blocks();
        PreparedRows rows;
        if (prepare.kind == Prepare::kNothing && !rounded && panels.columns % kBlock == 0) {
            rows.floats = x;
            return rows;
        }
        const int64_t padded = N * blocks * kBlock;
        rows.memory = Memory(ctx, rounded ? padded / 4 : padded);
        (rounded ? rows.q : rows.floats) = Data(rows.memory);
        if (rounded) rows.scales = Memory(ctx, N * blocks), rows.d = Data(rows.scales);
        const Given given{Constant("KIND", static_cast<int>(prepare.kind)), Constant("ROUNDED", rounded)};
        const int threads = std::min<int64_t>(1024, blocks * kBlock);
        Launch(ctx, Find("prepare-rows.cu", "prepare_rows", given), {N}, threads, x, prepare.gain, prepare.epsilon,
               static_cast<int>(panels.columns), rows.floats, rows.q, rows.d);
        return rows;
    }

    /** y [N, O] = [onto +] w · x, N rows of x that are ready; with a route, N rows of y. */
    void Times(OpKernelContext* ctx, void* w, const PreparedRows& x, int64_t N, void* onto, void* y,
               const Route& route = {}) const {
        const bool routed = route.order != nullptr;
        const int64_t rows = routed ? std::max<int64_t>(1, N / route.matrices) : N;  // of one matrix, about
        const int64_t at_once = rows >= 5 ? 8 : rows >= 3 ? 4 : std::max<int64_t>(rows, 1);
        const int threads = panels.Blocks() >= 64 ? 256 : 128;
        const Given given{Constant("FORMAT", static_cast<int>(panels.format)), Constant("ROUNDED", rounded),
                          Constant("ROWS", at_once), Constant("THREADS", threads), Constant("ROUTED", routed)};
        const Grid grid{panels.Count(), N == 0 ? 0 : routed ? route.matrices : Blocks(N, at_once)};
        Launch(ctx, Find("packed-product.cu", "packed_product", given), grid, threads, w, x.floats, x.q, x.d,
               static_cast<int>(panels.Blocks()), static_cast<int>(panels.rows), static_cast<int>(N), route.order,
               route.starts, route.each, onto, y);
    }

    /** Both. */
    void Times(OpKernelContext* ctx, void* w, const Preparation& prepare, void* x, int64_t N, void* onto,
               void* y) const {
        Times(ctx, w, Ready(ctx, prepare, x, N), N, onto, y);
    }

    /** Memory of so many floats for the time of the op. */
    static Tensor Memory(OpKernelContext* ctx, int64_t floats) {
        Tensor memory;
        const absl::Status status = ctx->allocate_temp(DT_FLOAT, TensorShape({floats}), &memory);
        if (!status.ok()) throw Error(std::string(status.message()));
        return memory;
    }
};

class PackedProduct : public GpuOp {
  public:
    explicit PackedProduct(OpKernelConstruction* c) : GpuOp(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        OP_REQUIRES(c, numbers_.variant == 0, absl::InvalidArgumentError("a GPU has no variants of instructions"));
        w_ = Factor(numbers_.w, numbers_.rounded);
    }

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, numbers_.Fits(ctx), "x [N, I] or [N, 2I], w, a gain [I] for a norm, onto [N, O]");
        const int64_t N = ctx->input(0).dim_size(0);
        const Tensor y = Output(ctx, 0, TensorShape({N, numbers_.w.rows}));
        void* const gain = numbers_.Norms() ? Data(ctx->input(2)) : nullptr;
        void* const onto = numbers_.onto ? Data(ctx->input(ctx->num_inputs() - 1)) : nullptr;
        w_.Times(ctx, Data(ctx->input(1)), {numbers_.prepare, gain, numbers_.epsilon}, Data(ctx->input(0)), N, onto,
                 Data(y));
    }

  private:
    ProductNumbers numbers_;
    Factor w_;
};

class PackedRows : public GpuOp {
  public:
    explicit PackedRows(OpKernelConstruction* c) : GpuOp(c) {
        std::vector<int32_t> shape;
        OP_REQUIRES_OK(c, ReadInts(c, "shape", 3, &shape));
        OP_REQUIRES_OK(c, ReadPanels(shape, 0, &w_));
    }

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor& ids = ctx->input(1);
        Require(ctx, ids.dims() == 1 && HoldsPanels(ctx, 0, w_), "w and ids [N]");
        const int64_t N = ids.dim_size(0);
        const int32_t* id = ids.flat<int32_t>().data();
        for (int64_t n = 0; n < N; n++)
            if (id[n] < 0 || id[n] >= w_.rows)
                throw Error("id " + std::to_string(id[n]) + " is not one of " + std::to_string(w_.rows) + " rows");
        const Tensor x = Output(ctx, 0, TensorShape({N, w_.columns})), there = Uploaded(ctx, id, N);
        const Given given{Constant("FORMAT", static_cast<int>(w_.format))};
        Launch(ctx, Find("packed-rows.cu", "packed_rows", given), {N}, 256, Data(ctx->input(0)), Data(there),
               static_cast<int>(w_.Blocks()), static_cast<int>(w_.columns), Data(x));
    }

  private:
    Panels w_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldPackedProduct"), PackedProduct);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldPackedRows").HostMemory("ids"), PackedRows);

}  // namespace fourfold::cuda
