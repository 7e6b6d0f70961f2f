/**
 * Products by cuBLASLt, with what is added to them inside: y = a · b, or onto + a · b.
 *
 *   FourfoldProduct(a: T, b: T, onto: M * U; transpose_a, transpose_b, in_place) -> y: U
 *
 * T is float or bfloat16, and U is T or float. Sums are taken in float32 and rounded once. So a weight's gradient is
 * added to the float32 gradient of the micro-batches before by the product itself (in_place: y is onto's memory), and
 * a layer's result to the residual stream, where another kernel would read and write both once more.
 *
 * cuBLASLt counts along columns, where TensorFlow's matrices lie in rows: a matrix of rows read so is its transpose.
 * So it's asked for yᵀ = bᵀ · aᵀ, which in its order is y in ours.
 */
#pragma once
#include <array>
#include <cmath>
#include <map>
#include <mutex>

#include "choices.h"
#include "op.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold::cuda {

/** Memory in which cuBLASLt may keep parts of sums. */
constexpr int64_t kWorkspace = 32 << 20;  // bytes: what NVIDIA recommends for Hopper

/** One product. What it needs beside the tensors is made when a product of its shape first comes, and kept. */
class Product : public GpuOp {
  public:
    explicit Product(OpKernelConstruction* c)
        : GpuOp(c), transpose_a_(Attribute<bool>(c, "transpose_a")), transpose_b_(Attribute<bool>(c, "transpose_b")),
          in_place_(Attribute<bool>(c, "in_place")), type_(Attribute<DataType>(c, "U")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &a = ctx->input(0), &b = ctx->input(1);
        const bool added = ctx->num_inputs() > 2, matrices = a.dims() == 2 && b.dims() == 2;
        Require(ctx, matrices && Depth(a, transpose_a_) == Depth(b, !transpose_b_), "matrices with one inner side");
        const TensorShape shape({a.dim_size(transpose_a_ ? 1 : 0), b.dim_size(transpose_b_ ? 0 : 1)});
        Require(ctx, !added || ctx->input(2).shape() == shape, "onto of the product's shape");
        Require(ctx, added || !in_place_, "onto, in whose place the result is to be");
        if (in_place_) ctx->set_output(0, ctx->input(2));
        const Tensor y = in_place_ ? ctx->input(2) : Output(ctx, 0, shape);
        const Tensor workspace = Scratch(ctx, DT_FLOAT, kWorkspace / 4);
        const Operands operands{a, b, added ? &ctx->input(2) : nullptr, y, workspace};
        const Plan& plan = PlanFor(ctx, operands);
        CheckCode("cublasLtMatmul", Multiply(ctx, plan, plan.way, operands));
    }

  private:
    struct Operands {
        const Tensor &a, &b;
        const Tensor* onto;  // null: nothing is added
        const Tensor &y, &workspace;
    };
    /** A product in cuBLASLt's terms, and how it is best computed on this GPU. */
    struct Plan {
        cublasLtDesc product;
        cublasLtLayout a, b, y;
        cublasLtAlgo way;
    };

    const bool transpose_a_, transpose_b_, in_place_;
    const DataType type_;
    std::mutex mutex_;
    std::map<std::array<int64_t, 5>, Plan> plans_;  // by shapes and type

    static int64_t Depth(const Tensor& x, bool transposed) { return x.dim_size(transposed ? 0 : 1); }

    static int TypeOf(DataType type) { return type == DT_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F; }

    static cublasLtHandle Handle() {
        static const cublasLtHandle handle = [] {
            cublasLtHandle made;
            CheckCode("cublasLtCreate", cublasLt().cublasLtCreate(&made));
            return made;
        }();
        return handle;
    }

    static int Multiply(OpKernelContext* ctx, const Plan& plan, const cublasLtAlgo& way, const Operands& o) {
        const float one = 1, beta = o.onto ? 1 : 0;
        return cublasLt().cublasLtMatmul(Handle(), plan.product, &one, Data(o.b), plan.b, Data(o.a), plan.a, &beta,
                                         Data(o.onto ? *o.onto : o.y), plan.y, Data(o.y), plan.y, &way,
                                         Data(o.workspace), kWorkspace, StreamOf(ctx));
    }

    // ## Plans

    const Plan& PlanFor(OpKernelContext* ctx, const Operands& o) {
        std::lock_guard<std::mutex> lock(mutex_);
        const Tensor &a = o.a, &b = o.b;
        const std::array<int64_t, 5> key{a.dim_size(0), a.dim_size(1), b.dim_size(0), b.dim_size(1), a.dtype()};
        const auto found = plans_.find(key);
        return found != plans_.end() ? found->second : plans_[key] = NewPlan(ctx, o);
    }

    Plan NewPlan(OpKernelContext* ctx, const Operands& o) const {
        Plan plan;
        const CublasLt& lt = cublasLt();
        const int turned = CUBLAS_OP_T, straight = CUBLAS_OP_N;
        const auto set = lt.cublasLtMatmulDescSetAttribute;
        CheckCode("cublasLtMatmulDescCreate",
                  lt.cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
        set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, transpose_b_ ? &turned : &straight, sizeof(int));
        set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, transpose_a_ ? &turned : &straight, sizeof(int));
        plan.a = Layout(TypeOf(o.a.dtype()), o.a);
        plan.b = Layout(TypeOf(o.b.dtype()), o.b);
        plan.y = Layout(TypeOf(type_), o.y);
        static Choices choices(CacheFolder() + "/products.txt");
        static std::mutex mutex;
        std::lock_guard<std::mutex> lock(mutex);
        const std::string name = NameOf(o);
        const cublasLtAlgo* known = choices.Find(name);
        plan.way = known ? *known : choices.Add(name, Fastest(ctx, plan, o));
        return plan;
    }

    static cublasLtLayout Layout(int type, const Tensor& x) {
        cublasLtLayout layout;
        const int64_t rows = x.dim_size(0), columns = x.dim_size(1);
        CheckCode("cublasLtMatrixLayoutCreate",
                  cublasLt().cublasLtMatrixLayoutCreate(&layout, type, columns, rows, columns));
        return layout;
    }

    /** The product in words, with the GPU's kind and the library's version. */
    std::string NameOf(const Operands& o) const {
        const auto sides = [](const Tensor& x) {
            return std::to_string(x.dim_size(0)) + "x" + std::to_string(x.dim_size(1));
        };
        const std::string form = {transpose_a_ ? 't' : 'n', transpose_b_ ? 't' : 'n'};
        return Architecture() + " cublasLt " + std::to_string(cublasLt().cublasLtGetVersion()) + " " + form + " " +
               DataTypeString(o.a.dtype()) + " " + sides(o.a) + " " + sides(o.b) + " to " + DataTypeString(type_) +
               (o.onto ? " onto" : "") + (in_place_ ? " itself" : "");
    }

    // ## Choosing

    /** The fastest of the ways that cuBLASLt's rules propose. Their first is up to a third slower. */
    static cublasLtAlgo Fastest(OpKernelContext* ctx, const Plan& plan, const Operands& o) {
        constexpr int kMost = 8;
        cublasLtHeuristic ways[kMost];
        const int found = Propose(plan, ways, kMost);
        Tensor elsewhere;  // the measured products must not change anything
        const absl::Status status = ctx->allocate_temp(o.y.dtype(), o.y.shape(), &elsewhere);
        if (found == 1 || !status.ok()) return ways[0].algo;
        const Operands trial{o.a, o.b, o.onto, elsewhere, o.workspace};
        float least = INFINITY;
        int best = 0;
        for (int i = 0; i < found; i++) {
            const float time = TimeOf(ctx, plan, ways[i].algo, trial);
            if (time < least) least = time, best = i;
        }
        return ways[best].algo;
    }

    static int Propose(const Plan& plan, cublasLtHeuristic* ways, int most) {
        const CublasLt& lt = cublasLt();
        cublasLtPreference preference;
        const size_t bytes = kWorkspace;
        int found = 0;
        CheckCode("cublasLtMatmulPreferenceCreate", lt.cublasLtMatmulPreferenceCreate(&preference));
        lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                sizeof bytes);
        const int result = lt.cublasLtMatmulAlgoGetHeuristic(Handle(), plan.product, plan.b, plan.a, plan.y, plan.y,
                                                             preference, most, ways, &found);
        lt.cublasLtMatmulPreferenceDestroy(preference);
        CheckCode("cublasLtMatmulAlgoGetHeuristic", result);
        if (found == 0) throw Error("cuBLASLt knows no way to compute this product");
        return found;
    }

    /** Milliseconds of the fastest of three rounds; infinite for a way that fails. */
    static float TimeOf(OpKernelContext* ctx, const Plan& plan, const cublasLtAlgo& way, const Operands& trial) {
        constexpr int kRounds = 3, kTimes = 4;
        if (Multiply(ctx, plan, way, trial) != 0) return INFINITY;
        const Event start(CU_EVENT_DEFAULT), end(CU_EVENT_DEFAULT);
        float least = INFINITY;
        for (int round = 0; round < kRounds; round++) {
            start.Record(StreamOf(ctx));
            for (int i = 0; i < kTimes; i++) Multiply(ctx, plan, way, trial);
            end.Record(StreamOf(ctx));
            end.Synchronize();
            least = std::min(least, end.After(start));
        }
        return least;
    }
};

REGISTER_OP("FourfoldProduct")
    .Input("a: T").Input("b: T").Input("onto: M * U").Output("y: U")
    .Attr("T: {float, bfloat16}").Attr("U: {float, bfloat16}").Attr("M: int >= 0")
    .Attr("transpose_a: bool").Attr("transpose_b: bool").Attr("in_place: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
        bool transpose_a = false, transpose_b = false;
        TF_RETURN_IF_ERROR(c->GetAttr("transpose_a", &transpose_a));
        TF_RETURN_IF_ERROR(c->GetAttr("transpose_b", &transpose_b));
        const auto rows = c->Dim(c->input(0), transpose_a ? 1 : 0), columns = c->Dim(c->input(1), transpose_b ? 0 : 1);
        c->set_output(0, c->Matrix(rows, columns));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldProduct"), Product);

}  // namespace fourfold::cuda
