/**
 * Attention by cuDNN: its flash attention, as TensorFlow ops (the equations stand in packages/ops/src/attention.ts).
 *
 *   FourfoldAttention(q [B, T, H, K], k and v [B, S, G, K]; causal, scale) -> o like q, lse [B, H, T]
 *   FourfoldAttentionGrad(do, q, k, v, o, lse; causal, scale) -> dq, dk, dv
 *
 * cuDNN is told a computation as a graph of operations, and builds a plan for it, which takes a while: one is kept for
 * each shape. Heads lie beside one another in a token's row, so a head's tokens are H · K numbers apart; cuDNN takes
 * any strides, and nothing is ever transposed.
 *
 * cuDNN has bfloat16 alone. float32, and heads longer than it takes, are flash-attention.cu's.
 */
// TensorFlow's library has these headers' classes too, of another version and under the same names: without a name of
// their own the linker would take those.
#define cudnn_frontend fourfold_cudnn_frontend
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <memory>
#include <mutex>

#include "flash.h"
#include "op.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the library, which the headers ask for under this name
}

namespace fourfold::cuda {

namespace fe = cudnn_frontend;

/** Throws cuDNN's own words. */
static void Good(fe::error_t error) {
    if (!error.is_good()) throw Error("cuDNN says: " + error.get_message());
}

static cudnnHandle_t Handle() {
    static const cudnnHandle_t handle = [] {
        cudnnHandle_t made;
        fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
        if (fe::cudnn_dlhandle == nullptr) throw Error(std::string("cuDNN can't be opened: ") + dlerror());
        CheckCode("cudnnCreate", fe::detail::create_handle(&made));
        return made;
    }();
    return handle;
}

/** Numbers for the tensors of a graph. */
enum Uid : int64_t { Q = 1, KEYS, V, O, LSE, DO, DQ, DK, DV };

/** A graph with cuDNN's plan for it. */
struct Plan {
    fe::graph::Graph graph;
    int64_t workspace = 0;

    Plan() {
        graph.set_io_data_type(fe::DataType_t::BFLOAT16)
            .set_intermediate_data_type(fe::DataType_t::FLOAT)
            .set_compute_data_type(fe::DataType_t::FLOAT);
    }

    std::shared_ptr<fe::graph::Tensor_attributes> Input(Uid uid, const std::vector<int64_t>& sides,
                                                        const std::vector<int64_t>& strides) {
        return graph.tensor(
            fe::graph::Tensor_attributes().set_uid(uid).set_dim(sides).set_stride(strides));
    }

    /** cuDNN's own rules choose, so that every run takes the same way. */
    void Build() {
        Good(graph.validate());
        Good(graph.build_operation_graph(Handle()));
        Good(graph.create_execution_plans({fe::HeurMode_t::A}));
        Good(graph.check_support(Handle()));
        Good(graph.build_plans(Handle()));
        Good(graph.get_workspace_size(workspace));
    }
};

/** [B, tokens, heads, K] as cuDNN has it: sides in the order B, heads, tokens, K, wherever they lie in memory. */
static std::vector<int64_t> Sides(const Tensor& x) {
    return {x.dim_size(0), x.dim_size(2), x.dim_size(1), x.dim_size(3)};
}

static std::vector<int64_t> Strides(const Tensor& x) {
    const int64_t T = x.dim_size(1), H = x.dim_size(2), K = x.dim_size(3);
    return {T * H * K, K, H * K, 1};
}

// ## The ops

class Attention : public GpuOp {
  public:
    explicit Attention(OpKernelConstruction* c)
        : GpuOp(c), causal_(Attribute<bool>(c, "causal")), scale_(Attribute<float>(c, "scale")) {}

  protected:
    using Key = std::vector<int64_t>;

    /** Whether k and v belong to q; throws what is needed where they don't. */
    static void CheckShapes(OpKernelContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v, bool causal) {
        const bool four = q.dims() == 4 && k.dims() == 4 && k.shape() == v.shape();
        const bool fits = four && k.dim_size(0) == q.dim_size(0) && k.dim_size(3) == q.dim_size(3) &&
                          k.dim_size(1) > 0 && k.dim_size(2) > 0 && q.dim_size(2) % k.dim_size(2) == 0 &&
                          (!causal || k.dim_size(1) == q.dim_size(1));
        Require(ctx, fits, "q [B, T, H, K], k and v [B, S, G, K], G dividing H, S above 0, and T = S if causal");
    }

    static bool ByCudnn(const Tensor& q) {
        return q.dtype() == DT_BFLOAT16 && q.dim_size(3) % 8 == 0 && q.dim_size(3) <= 128;
    }

    /** The plan for such tensors, made by `build` where there is none yet. */
    template <class Build>
    Plan& PlanFor(const Tensor& q, const Tensor& k, Build build) {
        std::lock_guard<std::mutex> lock(mutex_);
        Key key = Sides(q);
        for (int64_t side : Sides(k)) key.push_back(side);
        std::unique_ptr<Plan>& plan = plans_[key];
        if (!plan) {
            auto made = std::make_unique<Plan>();
            build(*made);
            made->Build();
            plan = std::move(made);
        }
        return *plan;
    }

    static void Execute(OpKernelContext* ctx, Plan& plan, std::unordered_map<int64_t, void*> tensors) {
        const Tensor workspace = Scratch(ctx, DT_FLOAT, plan.workspace / 4 + 1);
        CheckCode("cudnnSetStream", fe::detail::set_stream(Handle(), static_cast<cudaStream_t>(StreamOf(ctx))));
        Good(plan.graph.execute(Handle(), tensors, Data(workspace)));
    }

    void Run(OpKernelContext* ctx) override {
        const Tensor &q = ctx->input(0), &k = ctx->input(1), &v = ctx->input(2);
        CheckShapes(ctx, q, k, v, causal_);
        const Tensor o = Output(ctx, 0, q.shape());
        const Tensor lse = Output(ctx, 1, TensorShape({q.dim_size(0), q.dim_size(2), q.dim_size(1)}));
        if (!ByCudnn(q)) return Flash(ctx, {q, k, v, causal_, scale_}, o, lse);
        Plan& plan = PlanFor(q, k, [&](Plan& made) { Describe(made, q, k); });
        Execute(ctx, plan, {{Q, Data(q)}, {KEYS, Data(k)}, {V, Data(v)}, {O, Data(o)}, {LSE, Data(lse)}});
    }

    const bool causal_;
    const float scale_;

  private:
    std::mutex mutex_;
    std::map<Key, std::unique_ptr<Plan>> plans_;

    void Describe(Plan& plan, const Tensor& q, const Tensor& k) const {
        const auto options = fe::graph::SDPA_attributes()
                                 .set_name("attention")
                                 .set_generate_stats(true)
                                 .set_causal_mask(causal_)
                                 .set_attn_scale(scale_);
        const auto queries = plan.Input(Q, Sides(q), Strides(q));
        const auto keys = plan.Input(KEYS, Sides(k), Strides(k)), values = plan.Input(V, Sides(k), Strides(k));
        const auto [o, lse] = plan.graph.sdpa(queries, keys, values, options);
        o->set_output(true).set_uid(O).set_dim(Sides(q)).set_stride(Strides(q));
        lse->set_output(true).set_uid(LSE).set_data_type(fe::DataType_t::FLOAT);
    }
};

/** Deterministic: cuDNN adds up dq's parts in order, where its fastest way adds them as they come. */
class AttentionGrad : public Attention {
  public:
    using Attention::Attention;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dO = ctx->input(0), &q = ctx->input(1), &k = ctx->input(2), &v = ctx->input(3);
        const Tensor &o = ctx->input(4), &lse = ctx->input(5);
        CheckShapes(ctx, q, k, v, causal_);
        const bool fits = Same(ctx, 0, 1) && Same(ctx, 4, 1) &&
                          lse.shape() == TensorShape({q.dim_size(0), q.dim_size(2), q.dim_size(1)});
        Require(ctx, fits, "do and o like q, and lse [B, H, T]");
        const Tensor dq = Output(ctx, 0, q.shape()), dk = Output(ctx, 1, k.shape()), dv = Output(ctx, 2, k.shape());
        if (!ByCudnn(q)) return FlashGrad(ctx, {q, k, v, causal_, scale_}, {dO, o, lse}, {dq, dk, dv});
        Plan& plan = PlanFor(q, k, [&](Plan& made) { Describe(made, q, k, lse); });
        Execute(ctx, plan,
                {{Q, Data(q)}, {KEYS, Data(k)}, {V, Data(v)}, {O, Data(o)}, {LSE, Data(lse)}, {DO, Data(dO)},
                 {DQ, Data(dq)}, {DK, Data(dk)}, {DV, Data(dv)}});
    }

  private:
    void Describe(Plan& plan, const Tensor& q, const Tensor& k, const Tensor& lse) const {
        const auto sides = Sides(q), strides = Strides(q), key_sides = Sides(k), key_strides = Strides(k);
        const int64_t B = q.dim_size(0), H = q.dim_size(2), T = q.dim_size(1);
        const auto stats = plan.Input(LSE, {B, H, T, 1}, {H * T, T, 1, 1});
        stats->set_data_type(fe::DataType_t::FLOAT);
        const auto options = fe::graph::SDPA_backward_attributes()
                                 .set_name("attention_grad")
                                 .set_causal_mask(causal_)
                                 .set_attn_scale(scale_)
                                 .set_deterministic_algorithm(true);
        const auto queries = plan.Input(Q, sides, strides), keys = plan.Input(KEYS, key_sides, key_strides);
        const auto values = plan.Input(V, key_sides, key_strides), o = plan.Input(O, sides, strides);
        const auto dO = plan.Input(DO, sides, strides);
        const auto [dq, dk, dv] = plan.graph.sdpa_backward(queries, keys, values, o, dO, stats, options);
        dq->set_output(true).set_uid(DQ).set_dim(sides).set_stride(strides);
        dk->set_output(true).set_uid(DK).set_dim(key_sides).set_stride(key_strides);
        dv->set_output(true).set_uid(DV).set_dim(key_sides).set_stride(key_strides);
    }
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAttention"), Attention);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAttentionGrad"), AttentionGrad);

}  // namespace fourfold::cuda
