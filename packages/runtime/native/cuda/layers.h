/** The layers' ops on the GPU: they check shapes, allocate, and launch the kernels of the .cu files of like names. */
#pragma once
#include "op.h"

namespace fourfold::cuda {

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

class Swiglu : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &gate = ctx->input(0), &up = ctx->input(1);
        Require(ctx, Same(ctx, 0, 1), "gate and up of one shape");
        const int64_t count = gate.NumElements();
        const Tensor y = Output(ctx, 0, gate.shape());
        const int width = WidthFor(gate.dtype(), count);
        const CUfunction kernel = Find("swiglu.cu", "swiglu", {Type("T", gate.dtype()), Constant("WIDTH", width)});
        Launch(ctx, kernel, {Blocks(count / width, 256)}, 256, Data(gate), Data(up), count, Data(y));
    }
};

class SwigluGrad : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dy = ctx->input(0), &gate = ctx->input(1), &up = ctx->input(2);
        Require(ctx, Same(ctx, 0, 1) && Same(ctx, 0, 2), "dy, gate and up of one shape");
        const int64_t count = gate.NumElements();
        const Tensor dgate = Output(ctx, 0, gate.shape()), dup = Output(ctx, 1, gate.shape());
        const int width = WidthFor(gate.dtype(), count);
        const CUfunction kernel = Find("swiglu.cu", "swiglu_grad", {Type("T", gate.dtype()), Constant("WIDTH", width)});
        Launch(ctx, kernel, {Blocks(count / width, 256)}, 256, Data(dy), Data(gate), Data(up), count, Data(dgate),
               Data(dup));
    }
};

class Rope : public GpuOp {
  public:
    explicit Rope(OpKernelConstruction* c) : GpuOp(c), sign_(Attribute<bool>(c, "inverse") ? -1.0f : 1.0f) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &q = ctx->input(0), &k = ctx->input(1), &cos = ctx->input(2), &sin = ctx->input(3);
        const bool four = q.dims() == 4 && k.dims() == 4 && cos.dims() == 2 && Same(ctx, 2, 3);
        const bool fits = four && k.dim_size(0) == q.dim_size(0) && k.dim_size(1) == q.dim_size(1) &&
                          cos.dim_size(0) == q.dim_size(1) && cos.dim_size(1) == q.dim_size(3) &&
                          k.dim_size(3) == q.dim_size(3) && q.dim_size(3) > 0 && q.dim_size(3) % 2 == 0;
        Require(ctx, fits, "q [B, T, H, K], k [B, T, G, K], cos and sin [T, K], with K even");
        const int64_t N = q.dim_size(0) * q.dim_size(1), T = q.dim_size(1), K = q.dim_size(3);
        const int64_t H = q.dim_size(2), G = k.dim_size(2);
        const Tensor q_turned = Output(ctx, 0, q.shape()), k_turned = Output(ctx, 1, k.shape());
        const int width = WidthFor(q.dtype(), K / 2);
        const Given given{Type("T", q.dtype()), Constant("K", K), Constant("H", H), Constant("G", G),
                          Constant("WIDTH", width)};
        const int64_t pieces = N * (H + G) * (K / 2 / width);
        Launch(ctx, Find("rope.cu", "rope", given), {Blocks(pieces, 256)}, 256, Data(q), Data(k), Data(cos), Data(sin),
               sign_, N, T, Data(q_turned), Data(k_turned));
    }

  private:
    const float sign_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRmsNorm"), RmsNorm);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRmsNormGrad"), RmsNormGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldSwiglu"), Swiglu);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldSwigluGrad"), SwigluGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldRope"), Rope);

}  // namespace fourfold::cuda
