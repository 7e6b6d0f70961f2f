/** The layers' ops on the GPU: they check shapes, allocate, and launch the kernels of the .cu files of like names. */
#pragma once
#include "op.h"

namespace fourfold::cuda {

/** y and r of x: 8 rows, a warp each, a block. */
class RmsNorm : public GpuOp {
  public:
    explicit RmsNorm(OpKernelConstruction* c) : GpuOp(c), epsilon_(Attribute<float>(c, "epsilon")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &x = ctx->input(0), &w = ctx->input(1);
        const bool fits = x.dims() == 2 && w.shape() == TensorShape({x.dim_size(1)});
        Require(ctx, fits, "x [N, D] and w [D]");
        const int64_t N = x.dim_size(0), D = x.dim_size(1);
        const Tensor y = Output(ctx, 0, x.shape()), r = Output(ctx, 1, TensorShape({N}));
        const Given given{Type("T", x.dtype()), Constant("D", D), Constant("WIDTH", WidthFor(x.dtype(), D))};
        const CUfunction kernel = Find("rms-norm.cu", "rms_norm", given);
        Launch(ctx, kernel, {Blocks(N, 8)}, 256, Data(x), Data(w), epsilon_, N, Data(y), Data(r));
    }

  private:
    const float epsilon_;
};

/**
 * dx and dw, with the residual stream's gradient added: as many blocks as the GPU runs at once, so that few sums are
 * left to add.
 */
class RmsNormGrad : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dy = ctx->input(0), &x = ctx->input(1), &w = ctx->input(2), &r = ctx->input(3);
        const bool onto = ctx->num_inputs() > 4;
        const bool fits = x.dims() == 2 && Same(ctx, 0, 1) && w.shape() == TensorShape({x.dim_size(1)}) &&
                          r.shape() == TensorShape({x.dim_size(0)}) && (!onto || Same(ctx, 0, 4));
        Require(ctx, fits, "dy and x [N, D], w [D], r [N], and perhaps onto [N, D]");
        const int64_t N = x.dim_size(0), D = x.dim_size(1);
        const Tensor dx = Output(ctx, 0, x.shape()), dw = Output(ctx, 1, w.shape());
        const Columns columns(x.dtype(), D);
        const int at_once = std::clamp(1024 / columns.threads, 4, 16);  // blocks of a multiprocessor
        const int blocks = std::min<int64_t>(N, at_once * Multiprocessors());
        const Tensor parts = Scratch(ctx, DT_FLOAT, blocks * D);
        const Given given = columns.With({Type("T", x.dtype()), Constant("D", D)});
        void* const base = onto ? Data(ctx->input(4)) : nullptr;
        Launch(ctx, Find("rms-norm-grad.cu", "rms_norm_grad", given), {blocks}, columns.threads, Data(dy), Data(x),
               Data(w), Data(r), base, N, Data(dx), Data(parts));
        Launch(ctx, Find("rms-norm-grad.cu", "sum_parts", given), {Blocks(D, 32)}, 1024, Data(parts), blocks, Data(dw));
    }
};

/** What swiglu.cu is compiled for, and how many threads' work N rows of F are. */
struct SwigluGrid {
    int64_t N, F;
    int width;

    explicit SwigluGrid(const Tensor& x) : N(x.dim_size(0)), F(x.dim_size(1) / 2), width(WidthFor(x.dtype(), F)) {}
    Grid Of() const { return {Blocks(N * F / width, 256)}; }
    static CUfunction Kernel(const char* name, const Tensor& x) {
        const SwigluGrid grid(x);
        return Find("swiglu.cu", name, {Type("T", x.dtype()), Constant("F", grid.F), Constant("WIDTH", grid.width)});
    }
};

/** y [N, F] of x [N, 2F]. */
class Swiglu : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor& x = ctx->input(0);
        Require(ctx, x.dims() == 2 && x.dim_size(1) % 2 == 0, "x [N, 2F]");
        const SwigluGrid grid(x);
        const Tensor y = Output(ctx, 0, TensorShape({grid.N, grid.F}));
        if (y.NumElements() == 0) return;
        Launch(ctx, grid.Kernel("swiglu", x), grid.Of(), 256, Data(x), grid.N, Data(y));
    }
};

/** dx [N, 2F] of dy and x. */
class SwigluGrad : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dy = ctx->input(0), &x = ctx->input(1);
        const bool fits = x.dims() == 2 && dy.dims() == 2 && x.dim_size(1) == 2 * dy.dim_size(1);
        Require(ctx, fits && x.dim_size(0) == dy.dim_size(0), "dy [N, F] and x [N, 2F]");
        const SwigluGrid grid(x);
        const Tensor dx = Output(ctx, 0, x.shape());
        if (dx.NumElements() == 0) return;
        Launch(ctx, grid.Kernel("swiglu_grad", x), grid.Of(), 256, Data(dy), Data(x), grid.N, Data(dx));
    }
};

/** x turned, or turned back; in place where nobody else has x's memory. */
class Rope : public GpuOp {
  public:
    explicit Rope(OpKernelConstruction* c)
        : GpuOp(c), sign_(Attribute<bool>(c, "inverse") ? -1.0f : 1.0f), turned_(Attribute<int>(c, "turned")),
          in_place_(Attribute<bool>(c, "in_place")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &x = ctx->input(0), &cos = ctx->input(1), &sin = ctx->input(2);
        const bool fits = x.dims() == 4 && cos.dims() == 2 && Same(ctx, 1, 2) && cos.dim_size(0) == x.dim_size(1) &&
                          cos.dim_size(1) == x.dim_size(3) && x.dim_size(3) > 0 && x.dim_size(3) % 2 == 0;
        Require(ctx, fits && turned_ <= x.dim_size(2), "x [B, T, J, K], cos and sin [T, K], K even, J heads or fewer");
        const int64_t N = x.dim_size(0) * x.dim_size(1), J = x.dim_size(2), K = x.dim_size(3);
        if (in_place_) ctx->set_output(0, x);
        const Tensor y = in_place_ ? x : Output(ctx, 0, x.shape());
        const int64_t heads = in_place_ ? turned_ : J;
        if (heads == 0) return;
        const int width = WidthFor(x.dtype(), K / 2), pieces = K / 2 / width;
        const Given given{Type("T", x.dtype()), Constant("K", K), Constant("J", J), Constant("HEADS", heads),
                          Constant("TURNED", turned_), Constant("WIDTH", width)};
        const int threads = pieces * std::max<int64_t>(1, std::min<int64_t>(heads, 512 / pieces));
        Launch(ctx, Find("rope.cu", "rope", given), {N}, threads, Data(x), Data(cos), Data(sin), sign_,
               static_cast<int>(x.dim_size(1)), Data(y));
    }

  private:
    const float sign_;
    const int turned_;
    const bool in_place_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRmsNorm"), RmsNorm);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRmsNormGrad"), RmsNormGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldSwiglu"), Swiglu);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldSwigluGrad"), SwigluGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRope"), Rope);

}  // namespace fourfold::cuda
